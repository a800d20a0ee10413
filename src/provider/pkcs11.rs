//! A slot whose secret is wrapped by a key in a PKCS#11 token, which never leaves it.
