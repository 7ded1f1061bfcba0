//! How much memory and work an untrusted layer may cause.

/// Bounds on what a reader accepts from a layer. The defaults admit everything the reference tools
/// write; what exceeds them is [`Error::Limit`](crate::Error::Limit).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Layers in a stack. The format's run-time tag has one byte; the reference stops at 255.
    pub layers: usize,
    /// Index entries of one layer, padding included (16 bytes each).
    pub layer_segments: u64,
    /// Segments of a merged index (16 bytes each).
    pub merged_segments: u64,
    /// Blocks of one ZFile (4 bytes each).
    pub zfile_blocks: u64,
    /// Records of a trace (24 bytes each).
    pub trace_records: usize,
    /// Bytes of the records before an entry of a tar, of a long name or of a sparse map.
    pub tar_records: u64,
    /// Files, directories and links of a layer that is converted, and of the filesystem that it becomes
    /// part of (some hundred bytes each).
    pub files: u64,
    /// Bytes of their names, attributes and link targets, and of contents that have to be held.
    pub file_bytes: u64,
    /// Checkpoints of one gzip index (40 bytes each).
    pub gzip_checkpoints: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            layers: 255,
            layer_segments: 16 << 20,
            merged_segments: 128_000_000,
            zfile_blocks: 256 << 20,
            trace_records: 1 << 20,
            tar_records: 1 << 20,
            files: 4 << 20,
            file_bytes: 1 << 30,
            gzip_checkpoints: 4 << 20,
        }
    }
}

impl Limits {
    /// Sets [`layers`](Self::layers).
    #[must_use]
    pub fn with_layers(mut self, layers: usize) -> Self {
        self.layers = layers;
        self
    }

    /// Sets [`layer_segments`](Self::layer_segments).
    #[must_use]
    pub fn with_layer_segments(mut self, segments: u64) -> Self {
        self.layer_segments = segments;
        self
    }

    /// Sets [`merged_segments`](Self::merged_segments).
    #[must_use]
    pub fn with_merged_segments(mut self, segments: u64) -> Self {
        self.merged_segments = segments;
        self
    }

    /// Sets [`zfile_blocks`](Self::zfile_blocks).
    #[must_use]
    pub fn with_zfile_blocks(mut self, blocks: u64) -> Self {
        self.zfile_blocks = blocks;
        self
    }

    /// Sets [`trace_records`](Self::trace_records).
    #[must_use]
    pub fn with_trace_records(mut self, records: usize) -> Self {
        self.trace_records = records;
        self
    }

    /// Sets [`tar_records`](Self::tar_records).
    #[must_use]
    pub fn with_tar_records(mut self, bytes: u64) -> Self {
        self.tar_records = bytes;
        self
    }

    /// Sets [`files`](Self::files).
    #[must_use]
    pub fn with_files(mut self, files: u64) -> Self {
        self.files = files;
        self
    }

    /// Sets [`file_bytes`](Self::file_bytes).
    #[must_use]
    pub fn with_file_bytes(mut self, bytes: u64) -> Self {
        self.file_bytes = bytes;
        self
    }

    /// Sets [`gzip_checkpoints`](Self::gzip_checkpoints).
    #[must_use]
    pub fn with_gzip_checkpoints(mut self, checkpoints: u64) -> Self {
        self.gzip_checkpoints = checkpoints;
        self
    }
}
