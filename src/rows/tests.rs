//! Placeholder until the module compiles.
