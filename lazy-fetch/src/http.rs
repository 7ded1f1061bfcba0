//! Blobs over HTTP: ranges that are what they claim to be, redirects that leak nothing.

#![deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

mod answer;
mod client;
mod endpoint;
mod host;
mod redirect;
mod source;
mod way;

pub use client::{HttpClient, HttpOptions};
pub use endpoint::{Endpoint, Locate, Location};
pub use host::HostUsage;
pub use source::HttpSource;
