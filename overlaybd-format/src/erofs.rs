//! The records of EROFS on a device, each in both directions.
//!
//! All numbers are little-endian. An inode has its place in its number: it is that many times 32 bytes
//! behind the start of the metadata. What follows it, in this order, are its extended attributes, and
//! the last bytes of its content if they are stored inline.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

pub(crate) mod directory;
pub(crate) mod inode;
pub(crate) mod superblock;
#[cfg(feature = "convert")]
pub(crate) mod xattrs;

/// Puts the fields of a record, each with its place, into `N` bytes that are otherwise zeros.
#[cfg(feature = "convert")]
fn record<const N: usize>(fields: &[(usize, &[u8])]) -> [u8; N] {
    let mut record = [0; N];
    for (at, field) in fields {
        for (byte, &value) in record.iter_mut().skip(*at).zip(*field) {
            *byte = value;
        }
    }
    record
}
