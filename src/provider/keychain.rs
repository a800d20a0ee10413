//! A slot whose secret is in the desktop's keychain.
