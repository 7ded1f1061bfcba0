//! Immutable stored bytes, read piece by piece.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

/// Bytes in memory or in a file.
#[derive(Debug, Clone)]
pub(crate) struct Content(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Memory(Arc<[Part]>),
    File { file: Arc<File>, size: u64 },
}

/// Bytes as they arrived, with their offset in the whole. Parts are in order, adjacent, not empty.
#[derive(Debug)]
struct Part {
    offset: u64,
    bytes: Bytes,
}

impl Content {
    /// The concatenation of `parts`, which are not copied.
    pub(super) fn of_parts(parts: impl IntoIterator<Item = Bytes>) -> Self {
        let mut offset = 0_u64;
        let parts = parts.into_iter().filter(|bytes| !bytes.is_empty()).map(|bytes| {
            let part = Part { offset, bytes };
            offset = part.end();
            part
        });
        Self(Kind::Memory(parts.collect()))
    }

    /// The content of an open file.
    pub(super) fn of_file(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self(Kind::File { file: Arc::new(file), size }))
    }

    /// Size in bytes.
    pub(crate) fn size(&self) -> u64 {
        match &self.0 {
            Kind::Memory(parts) => parts.last().map_or(0, Part::end),
            Kind::File { size, .. } => *size,
        }
    }

    /// At least one and at most `max` bytes from `at` on; nothing at or behind the end.
    pub(crate) fn piece(&self, at: u64, max: usize) -> io::Result<Bytes> {
        match &self.0 {
            Kind::Memory(parts) => {
                let index = parts.partition_point(|part| part.end() <= at);
                let Some(part) = parts.get(index) else { return Ok(Bytes::new()) };
                let skip = usize::try_from(at.saturating_sub(part.offset)).unwrap_or(usize::MAX);
                let end = skip.saturating_add(max).min(part.bytes.len());
                Ok(part.bytes.slice(skip.min(end)..end))
            }
            Kind::File { file, size } => {
                let left = usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX);
                let mut piece = vec![0; left.min(max)];
                file.read_exact_at(&mut piece, at)?;
                Ok(piece.into())
            }
        }
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self::of_parts([bytes])
    }
}

impl Part {
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn whole(content: &Content, max: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < content.size() {
            let piece = content.piece(bytes.len() as u64, max).unwrap();
            assert!(!piece.is_empty() && piece.len() <= max);
            bytes.extend_from_slice(&piece);
        }
        assert!(content.piece(content.size(), max).unwrap().is_empty());
        bytes
    }

    #[test]
    fn pieces_add_up_in_memory_and_in_a_file() {
        let parts = [&b"ab"[..], b"", b"cdefg", b"h"];
        let memory = Content::of_parts(parts.map(Bytes::from_static));
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abcdefgh").unwrap();
        let file = Content::of_file(file).unwrap();
        for max in 1..10 {
            assert_eq!(whole(&memory, max), b"abcdefgh");
            assert_eq!(whole(&file, max), b"abcdefgh");
        }
    }
}
