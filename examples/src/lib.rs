//! How a runtime composes the three crates: what the example binaries share.
#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

pub mod accelerate;
pub mod accelerated_image;
pub mod access;
pub mod chunk_dir;
pub mod cold_start;
pub mod config;
pub mod convert;
pub mod copy_image;
pub mod document;
pub mod eager_pull;
pub mod erofs_read;
pub mod ext4_read;
pub mod fuse;
pub mod hashing;
pub mod image_files;
pub mod image_name;
pub mod image_place;
pub mod index_only_blob;
pub mod input;
pub mod lazy_image;
pub mod lazy_mount;
pub mod mapped;
pub mod measure;
pub mod nbd;
pub mod oci_image;
pub mod oci_layout;
pub mod one_line;
pub mod open_layer;
pub mod origin;

pub mod preset;
pub mod progress;
pub mod publish;
pub mod quickstart;
pub mod reference_image;
pub mod referrer;
pub mod refetching;
pub mod report;
pub mod start;
pub mod start_profile;
pub mod start_set;
pub mod tar_layer;
pub mod toolchain;
pub mod tree;
pub mod verify;
pub mod whole_file;
pub mod workers;

/// Compiles the example of the workspace's README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
