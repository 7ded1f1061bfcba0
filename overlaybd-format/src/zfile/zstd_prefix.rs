//! A Zstandard frame cut where a read of its block ends.
//!
//! A frame is a header and blocks of its own, each decoded with what the ones before it gave. A frame of
//! only the first few is a frame again, once its header no longer says how long the content is and the
//! last of them says that it is the last:
//!
//! ```text
//!  stored   magic │ descriptor … │ block 0 │ block 1 │ block 2 │ block 3, last
//!  cut      magic │ window       │ block 0 │ block 1, last
//! ```
//!
//! [`Encoder`](super::encoder::Encoder) makes frames of several blocks. Those of other writers have one
//! block as a rule, and are decoded whole. The format is that of RFC 8878.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

/// Makes in `out` the frame of the first blocks of `frame`, which has `len` bytes of content; those that
/// hold the first `needed` bytes if all blocks hold the same. `None` if that is all of the frame, or if
/// it is of a kind that cannot be cut.
pub(super) fn cut(frame: &[u8], needed: usize, len: usize, out: &mut Vec<u8>) -> Option<()> {
    let blocks = frame.get(header_len(frame)?..)?;
    let ends = || Ends { blocks, at: 0 };
    let count = ends().count();
    let wanted = needed.checked_mul(count)?.div_ceil(len.max(1)).max(1);
    if wanted >= count {
        return None;
    }
    let start = if wanted == 1 { 0 } else { ends().nth(wanted.saturating_sub(2))? };
    let end = ends().nth(wanted.saturating_sub(1))?;

    out.clear();
    out.extend_from_slice(&MAGIC);
    out.extend([0, WINDOW]);
    let last = out.len().saturating_add(start);
    out.extend_from_slice(blocks.get(..end)?);
    *out.get_mut(last)? |= LAST;
    Some(())
}

/// Bytes before the first block; `None` for a frame with a checksum, which is one of all its content, or
/// with a dictionary.
fn header_len(frame: &[u8]) -> Option<usize> {
    let descriptor = *frame.strip_prefix(&MAGIC)?.first()?;
    if descriptor & (CHECKSUM | RESERVED | DICTIONARY) != 0 {
        return None;
    }
    let single = descriptor & SINGLE_SEGMENT != 0;
    let content_size = match descriptor >> 6 {
        0 => usize::from(single),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    let window = usize::from(!single);
    Some(MAGIC.len().saturating_add(1).saturating_add(window).saturating_add(content_size))
}

/// Where each block ends, in bytes of `blocks`; all of them, unless the frame is damaged.
struct Ends<'a> {
    blocks: &'a [u8],
    at: usize,
}

impl Iterator for Ends<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let [a, b, c] = *self.blocks.get(self.at..)?.first_chunk::<3>()?;
        let header = u32::from_le_bytes([a, b, c, 0]);
        let stored = if header >> 1 & 3 == RLE { 1 } else { usize::try_from(header >> 3).ok()? };
        let end = self.at.checked_add(3)?.checked_add(stored).filter(|&end| end <= self.blocks.len())?;
        self.at = if a & LAST == 0 { end } else { usize::MAX };
        Some(end)
    }
}

const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
const SINGLE_SEGMENT: u8 = 1 << 5;
const RESERVED: u8 = 1 << 3;
const CHECKSUM: u8 = 1 << 2;
const DICTIONARY: u8 = 3;
/// A window of 64 KiB, the largest block of a ZFile: 2 to the power of 10 and of what the upper five bits say.
const WINDOW: u8 = 6 << 3;
/// In the first byte of a block.
const LAST: u8 = 1;
/// The type of a block that is one byte, repeated.
const RLE: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zfile::encoder::{Encoder, Stored};
    use crate::zfile::{Algorithm, Compression};
    use proptest::prelude::*;

    fn frame(content: &[u8]) -> Vec<u8> {
        let compression = Compression::new(Algorithm::Zstd).with_block_size(64 << 10);
        let mut stored = Stored::default();
        Encoder::new(&compression).unwrap().encode(content, &mut stored).unwrap();
        stored.bytes().split_last_chunk::<4>().unwrap().0.to_vec()
    }

    fn decode(frame: &[u8], len: usize) -> Vec<u8> {
        zstd::bulk::decompress(frame, len).unwrap()
    }

    proptest! {
        #[test]
        fn a_cut_frame_is_the_beginning_of_the_whole(
            runs in prop::collection::vec((any::<u8>(), 1..5000usize), 1..30),
            needed in any::<prop::sample::Index>(),
        ) {
            let content: Vec<u8> =
                runs.iter().flat_map(|&(byte, len)| (0..len).map(move |n| byte ^ (n % 251) as u8)).take(60_000).collect();
            let frame = frame(&content);
            prop_assert_eq!(&decode(&frame, content.len()), &content);
            let needed = needed.index(content.len()) + 1;
            let mut cut_frame = vec![9; 7];
            match cut(&frame, needed, content.len(), &mut cut_frame) {
                Some(()) => {
                    let start = decode(&cut_frame, content.len());
                    prop_assert!(start.len() >= needed && start.len() < content.len());
                    prop_assert_eq!(&start, &content[..start.len()]);
                }
                None => prop_assert!(needed > content.len() / 2 || content.len() <= 16 << 10),
            }
        }

        #[test]
        fn any_bytes_are_cut_or_not(mut bytes in prop::collection::vec(any::<u8>(), 0..64), needed in 0..99usize, len in 0..99usize) {
            let _ = cut(&bytes, needed, len, &mut Vec::new());
            bytes.splice(0..0, MAGIC);
            let _ = cut(&bytes, needed, len, &mut Vec::new());
        }
    }

    #[test]
    fn what_has_one_block_or_a_checksum_stays_whole() {
        let content: Vec<u8> = (0..40_000_u32).map(|n| ((n * n) >> 9) as u8).collect();
        let one = zstd::bulk::compress(&content, 3).unwrap();
        assert_eq!(cut(&one, 1, content.len(), &mut Vec::new()), None);
        let mut checked = frame(&content);
        assert_eq!(cut(&checked, 1, content.len(), &mut Vec::new()), Some(()));
        checked[4] |= CHECKSUM;
        assert_eq!(cut(&checked, 1, content.len(), &mut Vec::new()), None);
    }
}
