//! An OCI distribution 1.1 registry in the process, for examples, tests and benchmarks.
//!
//! It serves the whole specification – uploads in every form, ranges, the Referrers API, tags,
//! deletion – from memory or from a directory, and adds what a test of a client needs: a
//! [link](Link) that makes requests and bytes cost time, [faults](Fault) that can be switched on while
//! it runs, [credentials](Auth), redirects to a second host, and a [log](LoggedRequest) of every
//! request.
//!
//! ```text
//!            Socket           Call            Route
//!  client ◄─ link, cut ─► http/1.1 ─► faults ─► auth ─► blob · upload · manifest · referrers · tags
//!                            │                                    │
//!                            ▼                                    ▼
//!                           log                     Storage: memory | directory
//! ```
//!
//! Start with [`Registry::builder`]; what runs is a [`Server`].

#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod auth;
mod blob;
mod body;
mod builder;
mod call;
mod digest;
mod faults;
mod link;
mod log;
mod manifest;
mod name;
mod nonce;
mod range;
mod redirect;
mod referrers;
mod refusal;
mod registry;
mod route;
mod server;
mod store;
mod tags;
mod upload;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use auth::{Account, Auth, Bearer};
pub use builder::Builder;
pub use digest::{Digest, InvalidDigest};
pub use faults::{Fault, Faults, PageLink, Rule};
pub use link::Link;
pub use log::{Listener, LoggedRequest};
pub use registry::Registry;
pub use server::Server;
pub use store::Store;

/// Locks a mutex. Nothing here leaves a value half changed when it panics, so a poisoned one is good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
