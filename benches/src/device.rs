//! Generated devices: content that compresses like a root filesystem, in one or more layers.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use overlaybd_format::{Compression, LayerOptions, LayerWriter};

use crate::random::Random;

/// Size of a device in bytes.
pub const SIZE: u64 = 1 << 30;

/// Makes the layers of a device, bottom first, unless they are there from an earlier run. The bottom
/// layer covers the device; each upper one overwrites random ranges of 8–256 KiB, about 15 % of it.
///
/// # Panics
///
/// If the files cannot be written.
#[must_use]
pub fn layers(directory: &Path, name: &str, count: u64, compression: Option<Compression>) -> Vec<PathBuf> {
    fs::create_dir_all(directory).expect("a directory for the devices");
    (0..count)
        .map(|layer| {
            let path = directory.join(format!("{name}.{layer}.obd"));
            if !path.exists() {
                let new = path.with_extension("new");
                write(&new, layer, compression);
                fs::rename(&new, &path).expect("renaming a finished layer");
            }
            path
        })
        .collect()
}

fn write(path: &Path, layer: u64, compression: Option<Compression>) {
    let sink = BufWriter::with_capacity(1 << 20, File::create(path).expect("creating a layer"));
    let options = LayerOptions::new(SIZE).with_compression(compression);
    let mut writer = LayerWriter::new(sink, options).expect("a layer");
    let mut random = Random::new(layer + 1);
    let mut at = 0;
    while at < SIZE {
        let (gap, len) = if layer == 0 {
            (0, pages(&mut random, 1, 16))
        } else {
            (pages(&mut random, 100, 275), pages(&mut random, 2, 64))
        };
        at += gap;
        let len = len.min(SIZE.saturating_sub(at));
        if len > 0 {
            writer.write(at, &content(&mut random, len)).expect("writing a layer");
        }
        at += len;
    }
    writer.finish().expect("finishing a layer");
}

fn pages(random: &mut Random, least: u64, most: u64) -> u64 {
    (least + random.below(most - least + 1)) * 4096
}

/// `len` bytes of a device: runs of 4–64 KiB, each of one kind.
#[must_use]
pub fn bytes(len: usize) -> Vec<u8> {
    let mut random = Random::new(1);
    let mut bytes = Vec::with_capacity(len + (64 << 10));
    while bytes.len() < len {
        let run = pages(&mut random, 1, 16);
        bytes.extend(content(&mut random, run));
    }
    bytes.truncate(len);
    bytes
}

/// A run of random bytes, two times in five, or of text: LZ4 in blocks of 4 KiB brings all to 60 %.
fn content(random: &mut Random, len: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len as usize + 16);
    let text = random.below(5) >= 2;
    while (bytes.len() as u64) < len {
        let bits = random.bits();
        if text {
            bytes.extend(PHRASES[(bits % PHRASES.len() as u64) as usize].as_bytes());
        } else {
            bytes.extend(bits.to_le_bytes());
        }
    }
    bytes.truncate(len as usize);
    bytes
}

const PHRASES: [&str; 32] = [
    "static const ",
    "return -EINVAL;\n",
    "struct ",
    "unsigned long ",
    "if (!",
    "#include <linux/",
    "#define ",
    "pointer to the ",
    "length of ",
    "buffer->",
    "offset + ",
    "segment",
    "library ",
    "package: ",
    "version = ",
    "install -m 644 ",
    "NULL);\n",
    "printf(\"%s\\n\", ",
    "usr/share/doc/",
    "GNU General Public License ",
    "for (i = 0; i < ",
    "} else {\n",
    "memcpy(",
    "sizeof(*",
    "goto out;\n",
    "the ",
    "of this software ",
    "error: ",
    "lib/x86_64-linux-gnu/",
    "EXPORT_SYMBOL_GPL(",
    "\t\t",
    "int ret = ",
];
