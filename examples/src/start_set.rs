//! What a start reads: a fixed small part of a tree, chosen by one rule so that two runs read the
//! same.
//!
//! A program that starts reads small executables whole; of large files (libraries, archives) it reads
//! the head, where tables and hot code are, and the very end, where ELF files have their section
//! headers; and it opens a few of the many small files.

use std::ops::Range;

/// A part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Relative to the root, components joined by `/`.
    pub path: String,
    /// Bytes of the file.
    pub range: Range<u64>,
}

/// A file that could be read at the start.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Relative to the root, components joined by `/`.
    pub path: &'a str,
    /// Length in bytes.
    pub size: u64,
    /// Whether anybody may execute it.
    pub executable: bool,
}

/// The start set of the given files: in their order, at most a tenth of their bytes.
pub fn start_set(files: &[Candidate<'_>]) -> Vec<Slice> {
    let total: u64 = files.iter().map(|file| file.size).sum();
    let mut budget = total / 10;
    let mut slices = Vec::new();
    for (n, file) in files.iter().enumerate() {
        for range in parts(n, file) {
            let len = range.end - range.start;
            if len > 0 && len <= budget {
                budget -= len;
                slices.push(Slice { path: file.path.to_owned(), range });
            }
        }
    }
    slices
}

fn parts(n: usize, file: &Candidate<'_>) -> Vec<Range<u64>> {
    let size = file.size;
    if size <= SMALL {
        let opened = file.executable || n.is_multiple_of(ONE_OF_SMALL);
        return if opened { std::iter::once(0..size).collect() } else { Vec::new() };
    }
    let head = size / SHARE_OF_LARGE;
    vec![0..head, size - TAIL..size]
}

/// Bytes up to which a file is read as a whole or not at all.
const SMALL: u64 = 1 << 20;

/// Of so many small files one is opened.
const ONE_OF_SMALL: usize = 16;

/// The head of a large file is this part of it.
const SHARE_OF_LARGE: u64 = 25;

/// Bytes at the end of a large file.
const TAIL: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(path: &str, size: u64, executable: bool) -> Candidate<'_> {
        Candidate { path, size, executable }
    }

    #[test]
    fn executables_whole_and_large_files_at_both_ends() {
        let files = [
            candidate("lib", 200 << 20, false),
            candidate("tool", 600_000, true),
            candidate("data", 900_000, false),
        ];
        let slices: Vec<_> = start_set(&files).into_iter().map(|slice| (slice.path, slice.range)).collect();
        let size = 200 << 20;
        assert_eq!(
            slices,
            [
                ("lib".to_owned(), 0..size / 25),
                ("lib".to_owned(), size - 65536..size),
                ("tool".to_owned(), 0..600_000)
            ]
        );
    }

    #[test]
    fn never_more_than_a_tenth() {
        let files: Vec<_> = (0..100).map(|_| candidate("tool", 1000, true)).collect();
        let read: u64 = start_set(&files).iter().map(|slice| slice.range.end - slice.range.start).sum();
        assert_eq!(read, 10_000);
        assert!(start_set(&[]).is_empty());
    }
}
