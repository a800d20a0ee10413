//! A slot whose secret is sealed to this machine's TPM 2.0.
