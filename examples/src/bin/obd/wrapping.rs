//! How the verbs that write blobs are told to wrap them: the switches of the reference's tools.

use overlaybd_format::{Algorithm, Compression, Tar, Uuid};

/// The codec and how it is used.
#[derive(Debug, clap::Args)]
pub(crate) struct Codec {
    /// The codec.
    #[arg(long, value_enum, default_value_t = Name::Lz4)]
    algorithm: Name,
    /// KiB that are compressed together: 4, 8, 16, 32 or 64. Blocks of 64 KiB have to compress.
    #[arg(long = "bs", value_name = "KIB", default_value = "4", value_parser = ["4", "8", "16", "32", "64"])]
    block_size: String,
    /// How hard to try. ZSTD: -7 to 22; LZ4: 2 to 12 for high compression, negative to be faster.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    level: i32,
    /// Threads that compress. The bytes do not depend on their number.
    #[arg(long, value_name = "N", alias = "compress_threads", default_value_t = 1)]
    compress_threads: usize,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Name {
    Lz4,
    Zstd,
}

impl Codec {
    pub(crate) fn compression(&self) -> Compression {
        let algorithm = match self.algorithm {
            Name::Lz4 => Algorithm::Lz4,
            Name::Zstd => Algorithm::Zstd,
        };
        let kib: u32 = self.block_size.parse().unwrap_or_default();
        Compression::new(algorithm)
            .with_level(self.level)
            .with_block_size(kib << 10)
            .with_threads(self.compress_threads)
    }
}

/// The tar of `-t`.
pub(crate) fn tar(wanted: bool) -> Option<Tar> {
    wanted.then_some(Tar::Pax)
}

/// A UUID on the command line.
pub(crate) fn uuid(text: &str) -> Result<Uuid, &'static str> {
    Uuid::parse(text.as_bytes()).ok_or("it is not 8-4-4-4-12 hexadecimal digits")
}
