//! What this crate commits and merges is, byte for byte, what the reference tools make of the same
//! layers.

use std::collections::BTreeMap;
use std::io::Cursor;

use bytes::Bytes;
use futures::executor::block_on;
#[cfg(feature = "lz4-c")]
use overlaybd_format::{Compression, Digest, DigestWriter};
use overlaybd_format::{
    Content, ContentWriter, Image, Index, Layer, LayerBlob, LayerOptions, LayerWriter, Limits, MemoryBlob,
    ReadAt, Segment, Source, Tar, Wrappers,
};
use serde::Deserialize;

use crate::golden::{Case, manifest};
use crate::log::Entry;

#[path = "harness/golden.rs"]
mod golden;
#[path = "harness/log.rs"]
mod log;

#[derive(Deserialize)]
struct Sources {
    writable: Vec<Writable>,
}

/// A writable layer as it was before its commits.
#[derive(Deserialize)]
struct Writable {
    data: String,
    /// The index file of an append-only layer.
    index: Option<String>,
    /// The data of a sparse layer: first sector on the device and number of sectors. The data file
    /// has them one after the other.
    runs: Option<Vec<(u64, u64)>>,
    commits: Vec<String>,
    /// The stack of five layers merged with this one on top.
    merge: Option<String>,
}

impl Writable {
    fn segments(&self, blobs: &Blobs) -> Vec<Segment> {
        match (&self.index, &self.runs) {
            (Some(index), None) => log::replay(&blobs.bytes(index)),
            (None, Some(runs)) => {
                let mut stored_at = 0;
                let entry = |&(start, len)| {
                    stored_at += len;
                    Entry { start, len, stored_at: stored_at - len, zeroed: false }
                };
                runs.iter().map(entry).map(Entry::segment).collect()
            }
            _ => panic!("{} is either append-only or sparse", self.data),
        }
    }
}

/// The blobs of all cases, as `CASE/FILE`.
struct Blobs(BTreeMap<String, Bytes>);

impl Blobs {
    fn open() -> Self {
        let cases = golden::DEVICE_CASES.into_iter().chain(["lsmt-huge"]);
        let files = cases.map(Case::open).flat_map(|case| case.files().collect::<Vec<_>>());
        let sources = Case::open("commit-sources");
        let sources = sources
            .files()
            .map(|(file, bytes)| (file.strip_prefix("commit-sources/").unwrap().to_owned(), bytes));
        Self(files.chain(sources).collect())
    }

    fn bytes(&self, file: &str) -> Bytes {
        self.0.get(file).unwrap_or_else(|| panic!("no {file}")).clone()
    }

    fn layer(&self, file: &str) -> Layer {
        let blob = LayerBlob::new(file, MemoryBlob::new(self.bytes(file)));
        block_on(Layer::open(blob, &Limits::default())).unwrap()
    }

    /// The LSMT stream in `file`, without its wrappers.
    fn stream(&self, file: &str) -> Vec<u8> {
        let content = block_on(Content::open(MemoryBlob::new(self.bytes(file)), &Limits::default())).unwrap();
        let mut stream = vec![0; content.size() as usize];
        block_on(content.read_at(&mut stream, 0)).unwrap();
        stream
    }

    /// The stack that the merges are of, bottom first.
    fn stack(&self) -> Vec<Layer> {
        ["L0.obd", "L1.obd", "L2.obd", "L3.obd", "L4.obd"]
            .map(|file| self.layer(&format!("stack/{file}")))
            .into()
    }

    /// Options for a layer that says of itself what the one in `file` says.
    fn options(&self, file: &str) -> LayerOptions {
        let layer = self.layer(file);
        LayerOptions::of_layer(&layer)
            .with_identity(layer.uuid(), layer.parent_uuid())
            .with_user_tag(layer.user_tag())
    }
}

fn write(options: LayerOptions, fill: impl AsyncFnOnce(&mut LayerWriter<Cursor<Vec<u8>>>)) -> Vec<u8> {
    let mut writer = LayerWriter::new(Cursor::new(Vec::new()), options).unwrap();
    block_on(fill(&mut writer));
    writer.finish().unwrap().into_inner()
}

#[track_caller]
fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    let difference = found.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!(difference, None, "{what} differs");
    assert_eq!(found.len(), expected.len(), "length of {what}");
}

#[test]
fn commits_of_writable_layers() {
    let blobs = Blobs::open();
    let mut commits = 0;
    for writable in manifest::<Sources>("commit-sources").writable {
        let segments = writable.segments(&blobs);
        let data = MemoryBlob::new(blobs.bytes(&writable.data));
        for commit in &writable.commits {
            let found = write(blobs.options(commit), async |writer| {
                let source = Source::new(&writable.data, &data);
                writer.copy(&segments, &[source]).await.unwrap();
            });
            assert_same(&found, &blobs.stream(commit), commit);
            commits += 1;
        }
    }
    assert_eq!(commits, 40, "commits of the reference");
}

#[test]
fn commits_of_layers_sealed_in_place() {
    let blobs = Blobs::open();
    // Not `lsmt-sparse`: what was sealed there is a copy, in which pages of zeros had become holes.
    for case in ["lsmt-append", "lsmt-append-group"] {
        let sealed = blobs.layer(&format!("{case}/sealed.data"));
        let found = write(LayerOptions::of_layer(&sealed), async |writer| {
            writer.copy_layer(&sealed).await.unwrap();
        });
        assert_same(&found, &blobs.stream(&format!("{case}/commit.plain")), case);
    }
}

#[test]
fn a_commit_of_a_commit_is_the_same_again() {
    let blobs = Blobs::open();
    let mut layers = 0;
    for file in blobs.0.keys() {
        let Ok(layer) = block_on(Layer::open(
            LayerBlob::new(file.as_str(), MemoryBlob::new(blobs.bytes(file))),
            &Limits::default(),
        )) else {
            continue;
        };
        let compact = !file.contains("sealed") && !file.contains("merged") && file != "stack/L4.obd";
        if compact {
            let found = write(blobs.options(file), async |writer| writer.copy_layer(&layer).await.unwrap());
            assert_same(&found, &blobs.stream(file), file);
            layers += 1;
        }
    }
    assert!(layers > 40, "only {layers} layers");
}

#[test]
fn merges_of_a_stack() {
    let blobs = Blobs::open();
    for merged in ["stack/merged.plain", "stack/merged.cli"] {
        let image = Image::stack(blobs.stack(), &Limits::default()).unwrap();
        let named = blobs.options(merged);
        let options = LayerOptions::of_image(&image)
            .with_identity(named.uuid, LayerOptions::of_image(&image).parent_uuid)
            .with_user_tag(named.user_tag);
        let found = write(options, async |writer| writer.copy_image(&image).await.unwrap());
        assert_same(&found, &blobs.stream(merged), merged);
    }
}

#[test]
fn merges_with_a_writable_layer_on_top() {
    let blobs = Blobs::open();
    for writable in manifest::<Sources>("commit-sources").writable {
        let Some(merged) = &writable.merge else { continue };
        let layers = blobs.stack();
        let data = MemoryBlob::new(blobs.bytes(&writable.data));
        let segments = layers.iter().map(|layer| layer.segments().to_vec());
        let segments = segments.chain([writable.segments(&blobs)]).collect();
        let index = Index::merge(segments, &Limits::default()).unwrap();
        // The reference numbers lower layers from the top, and the writable one as if it came next.
        let lowers = layers.iter().zip((0..5).rev());
        let mut sources: Vec<_> =
            lowers.map(|(layer, tag)| Source::new(layer.name(), layer.content()).with_tag(tag)).collect();
        sources.push(Source::new(&writable.data, &data).with_tag(5));
        let found = write(blobs.options(merged), async |writer| {
            writer.copy(index.segments(), &sources).await.unwrap();
        });
        assert_same(&found, &blobs.stream(merged), merged);
    }
}

#[test]
fn tars_are_those_of_the_reference() {
    let blobs = Blobs::open();
    for file in ["lsmt-commit-zfile/c.lz4.4k.tar", "lsmt-commit-zfile/c.zstd.4k.tar", "stack/L3.obd"] {
        let tar = blobs.bytes(file);
        let mut archive = tar::Archive::new(tar.as_ref());
        let mut zfile = Vec::new();
        std::io::copy(&mut archive.entries().unwrap().next().unwrap().unwrap(), &mut zfile).unwrap();

        let wrappers = Wrappers::default().with_tar(Some(Tar::Pax));
        let mut writer = ContentWriter::new(Cursor::new(Vec::new()), wrappers).unwrap();
        std::io::Write::write_all(&mut writer, &zfile).unwrap();
        assert_same(&writer.finish().unwrap().into_inner(), &tar, file);
    }
}

#[test]
fn commits_of_index_only_layers() {
    let case = Case::open("turbooci");
    let files =
        ["ext4-tar-L1", "ext4-tar-L2", "ext4-tar-L3", "erofs-tar-L1", "erofs-tar-L2e", "erofs-tar-L3"];
    for file in files.map(|file| format!("{file}.fs.meta")) {
        let content = block_on(Content::open(case.blob(&file), &Limits::default())).unwrap();
        let mut stream = vec![0; content.size() as usize];
        block_on(content.read_at(&mut stream, 0)).unwrap();

        let word = |at: usize| u64::from_le_bytes(*stream[at..].first_chunk().unwrap());
        let trailer = stream.len() - 4096;
        let options = LayerOptions::new(word(trailer + 48)).with_index_only(true);
        let mut writer = LayerWriter::new(Cursor::new(Vec::new()), options).unwrap();
        for at in (word(trailer + 32) as usize..trailer).step_by(16) {
            let entry = Entry::decode(word(at), word(at + 8));
            let (offset, len, stored_at) = (entry.start * 512, entry.len * 512, entry.stored_at * 512);
            match (entry.zeroed, stream[at + 15]) {
                (true, _) => writer.zero(offset, len).unwrap(),
                (false, 0) => {
                    let data = &stream[stored_at as usize..(stored_at + len) as usize];
                    writer.write(offset, data).unwrap();
                }
                (false, _) => writer.target(offset, len, stored_at).unwrap(),
            }
        }
        assert_same(&writer.finish().unwrap().into_inner(), &stream, &file);
    }
}

#[test]
fn an_index_only_layer_has_something_of_its_own() {
    let writer = |index_only| {
        let options = LayerOptions::new(1 << 20).with_index_only(index_only);
        LayerWriter::new(Cursor::new(Vec::new()), options).unwrap()
    };
    writer(false).target(0, 512, 0).expect_err("a target of a full layer");
    writer(true).target(0, 512, 100).expect_err("a part of a sector");
    let mut all_target = writer(true);
    all_target.target(0, 512, 0).unwrap();
    all_target.finish().expect_err("tags that a reader takes for others");
    let mut both = writer(true);
    both.target(0, 512, 0).unwrap();
    both.write(512, &[7; 512]).unwrap();
    both.finish().unwrap();
}

#[test]
fn the_tag_of_a_source_is_none_of_a_target() {
    let layers = || {
        let lower = write(LayerOptions::new(1 << 20), async |writer| writer.write(0, &[7; 4096]).unwrap());
        let empty = write(LayerOptions::new(1 << 20), async |_| {});
        let open = |bytes| LayerBlob::new("layer", MemoryBlob::new(bytes));
        block_on(Image::open(vec![open(lower), open(empty)], &Limits::default())).unwrap()
    };
    for index_only in [false, true] {
        let image = layers();
        let options = LayerOptions::of_image(&image).with_index_only(index_only);
        let merged = write(options, async |writer| writer.copy_image(&image).await.unwrap());
        // All data is of the lower layer, whose number is 1.
        assert_eq!(merged[8192 + 15], u8::from(!index_only));
    }
}

/// Down to the digest: LZ4 has been making the same of a block for years. If a new version of the library
/// ends that, this test ends too, and nothing is broken.
#[cfg(feature = "lz4-c")]
#[test]
fn lz4_blobs_are_those_of_the_reference() {
    let blobs = Blobs::open();
    let lz4 = Compression::default();
    let kib = |kib: u32| lz4.with_block_size(kib << 10);
    for (file, compression, tar) in [
        ("lsmt-commit-zfile/c.lz4.4k", lz4, None),
        ("lsmt-commit-zfile/c.lz4.4k.threads4", lz4.with_threads(4), None),
        ("lsmt-commit-zfile/c.lz4.8k", kib(8), None),
        ("lsmt-commit-zfile/c.lz4.16k", kib(16), None),
        ("lsmt-commit-zfile/c.lz4.32k", kib(32), None),
        ("lsmt-commit-zfile/c.lz4.64k", kib(64), None),
        ("lsmt-commit-zfile/c.default.tar", lz4, Some(Tar::Pax)),
        ("stack/L1.obd", lz4, None),
        ("stack/L3.obd", kib(64), Some(Tar::Pax)),
        ("lsmt-cli-create/empty.commit.z", lz4, None),
    ] {
        let layer = blobs.layer(file);
        let options = blobs.options(file).with_compression(Some(compression)).with_tar(tar);
        let found = write(options, async |writer| writer.copy_layer(&layer).await.unwrap());
        assert_same(&found, &blobs.bytes(file), file);
    }

    // The reference's merge does not go back to the header.
    let image = Image::stack(blobs.stack(), &Limits::default()).unwrap();
    let options = LayerOptions::of_image(&image).with_compression(Some(lz4));
    let mut writer = LayerWriter::streaming(DigestWriter::new(Vec::new()), options).unwrap();
    block_on(writer.copy_image(&image)).unwrap();
    let (found, digest, size) = writer.finish().unwrap().finish();
    let merged = blobs.bytes("stack/merged.cli");
    assert_same(&found, &merged, "stack/merged.cli");
    assert_eq!((digest, size), Digest::of(&mut merged.as_ref()).unwrap());
}
