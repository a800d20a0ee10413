//! Two providers, both of which are needed.
