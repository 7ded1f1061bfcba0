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
            .with_compression(compress.then(|| self.codec.compression(Compression::default())))
            .with_tar(tar(self.tar))
    }
}

/// The codec and how it is used.
#[derive(Debug, clap::Args)]
pub(crate) struct Codec {
    /// The codec. [default: lz4]
    #[arg(long, value_enum, value_name = "NAME", help_heading = HEADING)]
    algorithm: Option<Name>,
    /// KiB that are compressed together; with 64, content has to be compressible. [default: 4]
    #[arg(long = "bs", value_name = "KIB", value_parser = block_size, help_heading = HEADING)]
    block_size: Option<u32>,
    /// How hard to try: ZSTD up to 22; LZ4 2 to 12, or less than 0 to be faster. [default: 0]
    #[arg(long, allow_negative_numbers = true, help_heading = HEADING)]
    level: Option<i32>,
    /// Threads that compress. The bytes do not depend on their number. [default: 1]
    #[arg(long, alias = "compress_threads", value_name = "N", help_heading = HEADING)]
    compress_threads: Option<usize>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Name {
    Lz4,
    Zstd,
}

impl Codec {
    /// What the switches say, and `default` for those that are not given.
    pub(crate) fn compression(&self, default: Compression) -> Compression {
        let algorithm = match self.algorithm {
            None => default.algorithm,
            Some(Name::Lz4) => Algorithm::Lz4,
            Some(Name::Zstd) => Algorithm::Zstd,
        };
        // A level is one of its codec.
        let level = if algorithm == default.algorithm { default.level } else { 0 };
        Compression::new(algorithm)
            .with_level(self.level.unwrap_or(level))
            .with_block_size(self.block_size.map_or(default.block_size, |kib| kib << 10))
            .with_threads(self.compress_threads.unwrap_or(default.threads))
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
