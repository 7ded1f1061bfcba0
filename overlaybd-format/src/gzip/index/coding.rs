//! How windows and the table of a gzip index are stored: as they are, or as zlib streams (RFC 1950).

use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_PARSE_ZLIB_HEADER, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::header::LEVEL;

/// The zlib form of `bytes`.
pub(crate) fn encode(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec_zlib(bytes, LEVEL)
}

/// The `len` bytes in `stored`; none if it holds anything else.
pub(super) fn decode(stored: Vec<u8>, len: usize, compressed: bool) -> Option<Vec<u8>> {
    if !compressed {
        return (stored.len() == len).then_some(stored);
    }
    let mut bytes = vec![0; len];
    let flags = TINFL_FLAG_PARSE_ZLIB_HEADER | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, _, written) =
        decompress(&mut Box::<DecompressorOxide>::default(), &stored, &mut bytes, 0, flags);
    (status == TINFLStatus::Done && written == len).then_some(bytes)
}

/// Bytes that no zlib stream of `len` bytes needs to exceed: blocks stored as they are, header and
/// checksum.
pub(super) const fn max_stored(len: u64) -> u64 {
    len.saturating_add(len / 1000).saturating_add(64)
}
