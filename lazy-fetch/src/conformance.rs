//! Suites that check an implementation against the contract of its trait, and what it takes to test
//! without a network or a clock.
//!
//! The suites are plain async functions without a runtime of their own. They report by panicking
//! with the rule that was broken, as a test does, and are meant for tests only.
//!
//! * [`blob_source`] and [`blob_source_under_fault`] for [`BlobSource`](crate::BlobSource)
//! * [`chunk_store`] and [`chunk_store_damaged`] for [`ChunkStore`](crate::ChunkStore)
//! * [`VirtualTime`], a [`Runtime`](crate::Runtime) whose clock only moves when nothing else can happen
//! * [`FaultySource`], a source that cuts, stalls, refuses or overruns as told

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a suite reports as a test does"
)]

mod faulty_source;
mod source;
mod store;
mod virtual_time;

pub use faulty_source::{Fault, FaultySource};
pub use source::{blob_source, blob_source_under_fault};
pub use store::{chunk_store, chunk_store_damaged};
pub use virtual_time::VirtualTime;
