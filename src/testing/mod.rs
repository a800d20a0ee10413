//! For authors of stores: the contract of a [`Backend`] as tests, and a store that fails on purpose. For authors of key
//! providers: [`provider`], what every provider must do.
//!
//! A `wacore` [`Backend`] is five traits and 82 methods, 25 of them with a default, and little of what a
//! client relies on is in their signatures. [`contract`] writes it down as functions that run against your
//! store: what both of upstream's stores (`InMemoryBackend` and `SqliteStore`) do, and nothing that only one
//! of them does. [`FaultyBackend`] wraps a store to test what is built *on* it: it fails the call you name,
//! before or after its effect, logs the calls, and lets a future be dropped at every await point.
//! [`full_device`] and [`device_diff`] are for round trips of the device row.
//!
//! # A store of your own
//!
//! Give [`contract::run_all`] a function that makes a fresh, empty store; it is called once per behaviour.
//!
//! ```
//! use std::sync::Arc;
//! use sealed_store::testing::contract;
//! use wacore::store::in_memory::InMemoryBackend;
//! use wacore::store::traits::Backend;
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! contract::run_all(|| async { Arc::new(InMemoryBackend::new()) as Arc<dyn Backend> }).await;
//! # });
//! ```
//!
//! # A caller that survives a failing store
//!
//! ```
//! use std::sync::Arc;
//! use sealed_store::testing::{Fault, FaultyBackend, InjectedFault, Lasting, When};
//! use wacore::store::in_memory::InMemoryBackend;
//! use wacore::store::traits::SignalStore;
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let store = FaultyBackend::new(Arc::new(InMemoryBackend::new()));
//! // The first call is lost on its way back: it takes effect, and the caller sees an error.
//! store.arm(Fault { call: 1, when: When::After, lasting: Lasting::Once });
//!
//! let error = store.put_session("5511987650001:3@c.us.0", b"ratchet").await.unwrap_err();
//! assert!(InjectedFault::of(&error).is_some());
//! assert!(store.has_session("5511987650001:3@c.us.0").await.unwrap());
//! assert_eq!(store.log(), ["put_session", "has_session"]);
//! # });
//! ```
//!
//! [`Backend`]: wacore::store::traits::Backend

// These are tests: panicking is how they report.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

pub mod contract;
mod device;
mod faulty;
mod primitives;
pub mod provider;

pub use device::{RUNTIME_ONLY, assert_same_device, device_diff, full_device};
pub use faulty::{Fault, FaultyBackend, InjectedFault, Lasting, When};
pub use primitives::Primitives;
