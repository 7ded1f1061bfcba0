//! How an image is converted.

use std::fmt;
use std::thread::available_parallelism;

use overlaybd_format::{Algorithm, Compression};
use referrers::Platform;
use serde::{Deserialize, Serialize};

use super::records::Key;

/// How an image is converted.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// What the layers hold.
    pub mode: Mode,
    /// How full layers are compressed.
    pub compression: Compression,
    /// The platforms of an index; all if there are none.
    pub platforms: Vec<Platform>,
    /// Whether a layer that cannot be indexed is an error in index-only mode, instead of a full layer.
    pub only_index: bool,
    /// What is appended to the tag; no tag if there is none.
    pub suffix: Option<String>,
}

/// What the layers of an accelerated image hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// All data.
    Full,
    /// Metadata; the data are in the layers of the ordinary image.
    IndexOnly,
}

impl Options {
    /// Options for `mode`, with the defaults of everything else.
    pub fn new(mode: Mode) -> Self {
        Self { mode, compression: compression(), platforms: Vec::new(), only_index: false, suffix: None }
    }

    /// Sets [`compression`](Self::compression).
    #[must_use]
    pub fn with_compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Sets [`platforms`](Self::platforms).
    #[must_use]
    pub fn with_platforms(mut self, platforms: Vec<Platform>) -> Self {
        self.platforms = platforms;
        self
    }

    /// Sets [`only_index`](Self::only_index).
    #[must_use]
    pub fn with_only_index(mut self, only_index: bool) -> Self {
        self.only_index = only_index;
        self
    }

    /// Sets [`suffix`](Self::suffix).
    #[must_use]
    pub fn with_suffix(mut self, suffix: Option<String>) -> Self {
        self.suffix = suffix;
        self
    }

    /// The key of all that decides the bytes of a layer beside its content. Threads do not.
    pub fn key(&self) -> Key {
        let Compression { algorithm, level, block_size, .. } = self.compression;
        Key::new([&*self.mode.to_string(), &format!("{algorithm:?} {level} {block_size}")])
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::IndexOnly => "index-only",
        })
    }
}

/// The default for full layers: the largest blocks that every reader of the format takes, because what a
/// start waits for is bytes on the network, and the first level that makes layers about as small as gzip does.
pub fn compression() -> Compression {
    Compression::new(Algorithm::Zstd).with_level(6).with_block_size(32 << 10).with_threads(threads())
}

/// As many threads as there are processors.
pub fn threads() -> usize {
    available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decides_the_bytes_is_in_the_key() {
        let options = Options::new(Mode::Full);
        let threads = options.clone().with_compression(options.compression.with_threads(7));
        assert_eq!(options.key(), threads.key());
        let others = [
            Options::new(Mode::IndexOnly),
            options.clone().with_compression(options.compression.with_level(9)),
            options.clone().with_compression(options.compression.with_block_size(4096)),
            options.clone().with_compression(Compression::default()),
        ];
        for other in others {
            assert_ne!(options.key(), other.key());
        }
    }
}
