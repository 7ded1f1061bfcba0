//! What the verbs that write layers are told: the switches of the reference's tools, and a few more.

use overlaybd_format::{Algorithm, Compression, LayerOptions, Tar, Uuid};

/// What a layer is to say of itself and how it is wrapped.
#[derive(Debug, clap::Args)]
pub(crate) struct Wrapping {
    /// The commit message, at most 256 bytes.
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,
    /// The identity of the new layer; none if absent.
    #[arg(long, value_parser = uuid)]
    uuid: Option<Uuid>,
    /// The identity of the layer below; as in the source if absent.
    #[arg(short, long, alias = "parent_uuid", value_name = "UUID", value_parser = uuid)]
    parent_uuid: Option<Uuid>,
    /// Wrap the layer in a tar, as registries expect it.
    #[arg(short, long)]
    tar: bool,
    /// Do not store pages that hold only zeros.
    #[arg(long)]
    zeroed_pages: bool,
    /// Overwrite the output if it exists.
    #[arg(short, long)]
    pub(crate) force: bool,
    #[command(flatten)]
    codec: Codec,
}

impl Wrapping {
    /// `options` as these switches change them, for a layer that is compressed or not.
    pub(crate) fn apply(&self, options: LayerOptions, compress: bool) -> LayerOptions {
        let parent = self.parent_uuid.unwrap_or(options.parent_uuid);
        options
            .with_identity(self.uuid.unwrap_or_default(), parent)
            .with_user_tag(self.message.as_bytes())
            .with_zeroed_pages(self.zeroed_pages)
            .with_compression(compress.then(|| self.codec.compression()))
            .with_tar(tar(self.tar))
    }
}

/// The codec and how it is used.
#[derive(Debug, clap::Args)]
pub(crate) struct Codec {
    /// The codec.
    #[arg(long, value_enum, value_name = "NAME", default_value_t = Name::Lz4, help_heading = HEADING)]
    algorithm: Name,
    /// KiB that are compressed together. Content in blocks of 64 has to be compressible.
    #[arg(long = "bs", value_name = "KIB", default_value_t = 4, value_parser = block_size, help_heading = HEADING)]
    block_size: u32,
    /// How hard to try: ZSTD up to 22; LZ4 2 to 12, or less than 0 to be faster.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, help_heading = HEADING)]
    level: i32,
    /// Threads that compress. The bytes do not depend on their number.
    #[arg(long, alias = "compress_threads", value_name = "N", default_value_t = 1, help_heading = HEADING)]
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
        Compression::new(algorithm)
            .with_level(self.level)
            .with_block_size(self.block_size << 10)
            .with_threads(self.compress_threads)
    }
}

/// The tar of `-t`.
pub(crate) fn tar(wanted: bool) -> Option<Tar> {
    wanted.then_some(Tar::Pax)
}

fn uuid(text: &str) -> Result<Uuid, &'static str> {
    Uuid::parse(text.as_bytes()).ok_or("not 8-4-4-4-12 hexadecimal digits")
}

fn block_size(text: &str) -> Result<u32, &'static str> {
    let kib = text.parse().ok().filter(|kib| [4, 8, 16, 32, 64].contains(kib));
    kib.ok_or("not 4, 8, 16, 32 or 64")
}

const HEADING: &str = "Compression";
