//! A slot whose secret is a data key of Vault's or OpenBao's Transit engine.
