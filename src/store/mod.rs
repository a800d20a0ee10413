//! A store of our own, for use alone or inside a [`SealedBackend`](crate::SealedBackend).

pub mod sqlite;
