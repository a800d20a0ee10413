//! A secret in shares, so many of which are needed.
