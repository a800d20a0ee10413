//! A slot whose secret is a data key of AWS KMS.
