//! ZFile: a compressed container that can be read at any position.
//!
//! ```text
//! 0        512                                      index offset          size - 512
//! ┌────────┬─────────┬─────────┬───┬───────────────┬─────────────────────┬─────────┐
//! │ header │ block 0 │ block 1 │ … │ block n-1     │ jump table, n × u32 │ trailer │
//! └────────┴─────────┴─────────┴───┴───────────────┴─────────────────────┴─────────┘
//! block = compressed bytes [ + CRC ]
//! ```
//!
//! The content is cut into blocks of equal size, each compressed on its own; the jump table has the
//! stored length of each. Blocks may carry a CRC of their compressed bytes, which is checked before
//! they are decoded.
//!
//! LZ4 needs the feature `lz4-c` or `lz4-flex`: a library in C or in Rust. With both it is the one in C;
//! without either, files that name LZ4 are unsupported.

mod blocks;
pub(crate) mod checksum;
mod codec;
mod compression;
mod encoder;
mod header;
mod jump_table;
mod layout;
#[cfg(not(any(feature = "lz4-c", feature = "lz4-flex")))]
#[path = "zfile/lz4_absent.rs"]
mod lz4;
#[cfg(feature = "lz4-c")]
#[path = "zfile/lz4_c.rs"]
mod lz4;
#[cfg(all(feature = "lz4-flex", not(feature = "lz4-c")))]
#[path = "zfile/lz4_rust.rs"]
mod lz4;
mod workers;
mod writer;
mod zstd_prefix;

pub use blocks::Blocks;
pub use compression::Compression;
pub use header::{Algorithm, Header};

pub(crate) use checksum::raw_crc32c;
pub(crate) use codec::Scratch;
pub(crate) use header::BLOCK_SIZE as HEADER_SIZE;
pub(crate) use jump_table::JumpTable;
pub(crate) use layout::Layout;
pub(crate) use writer::Writer;
