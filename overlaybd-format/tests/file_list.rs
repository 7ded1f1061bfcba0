//! A file list comes to the bytes of the files that it names, on every filesystem that layers have.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;

use flate2::read::MultiGzDecoder;
use futures::executor::block_on;
use overlaybd_format::trace::Trace;
use overlaybd_format::{Error, FileList, Image, LayerBlob, Limits, ListedFiles, MemoryBlob, ReadAt};
use serde::Deserialize;

use crate::faults::{FlippedBlob, Random};
use crate::golden::{Case, manifest, sha256};

#[path = "harness/faults.rs"]
mod faults;
#[path = "harness/golden.rs"]
mod golden;

/// One tree in filesystems of several tools and settings.
const CASE: &str = "filesystems";

#[derive(Deserialize)]
struct Tree {
    files: BTreeMap<String, File>,
}

#[derive(Deserialize)]
struct File {
    size: u64,
    sha256: String,
    /// Of the bytes without blocks of zeros, which some filesystems do not store.
    solid: String,
}

/// Paths of the tree that lead elsewhere.
#[derive(Deserialize)]
struct Paths {
    links: BTreeMap<String, String>,
    nowhere: Vec<String>,
}

fn tree(case: &Case) -> Tree {
    serde_json::from_slice(&case.bytes("tree-files.json")).unwrap()
}

fn resolve<P: Into<Vec<u8>>>(device: &dyn ReadAt, paths: impl IntoIterator<Item = P>) -> ListedFiles {
    block_on(FileList::new(paths).unwrap().resolve(device)).unwrap()
}

fn content(device: &dyn ReadAt, ranges: &[Range<u64>]) -> Vec<u8> {
    let mut content = Vec::new();
    for range in ranges {
        let mut part = vec![0; (range.end - range.start) as usize];
        block_on(device.read_at(&mut part, range.start)).unwrap();
        content.extend(part);
    }
    content
}

#[test]
fn files_are_found_in_every_layout() {
    let case = Case::open(CASE);
    let Paths { links, nowhere } = manifest(CASE);
    for filesystem in
        ["ext4-1k", "ext4-4k", "erofs-compact", "erofs-extended", "erofs-blockmap", "erofs-indexes"]
    {
        let device = case.blob(&format!("{filesystem}.img"));
        for (path, file) in tree(&case).files {
            let found = resolve(&device, [path.clone()]);
            let bytes = content(&device, &found.ranges);
            let expected = if bytes.len() as u64 == file.size { file.sha256 } else { file.solid };
            assert_eq!(sha256(&bytes), expected, "{path} of {filesystem}");
            assert!(found.unresolved.is_empty(), "{path} of {filesystem}");
        }
        for (link, target) in &links {
            let (link_to, file) = (resolve(&device, [link.clone()]), resolve(&device, [target.clone()]));
            assert_eq!(link_to.ranges, file.ranges, "{link} of {filesystem}");
        }
        let found = resolve(&device, nowhere.clone());
        assert!(found.ranges.is_empty());
        assert_eq!(found.unresolved, (0..nowhere.len()).collect::<Vec<_>>());
    }
}

#[test]
fn a_directory_means_all_files_below_it_once() {
    let case = Case::open(CASE);
    for filesystem in ["ext4-1k", "erofs-extended"] {
        let device = case.blob(&format!("{filesystem}.img"));
        let files = tree(&case).files;
        // `sizes/again` is a second name of `sizes/4097`.
        let names: Vec<String> = files.into_keys().filter(|path| path != "sizes/again").collect();
        let sorted = |mut ranges: Vec<Range<u64>>| {
            ranges.sort_by_key(|range| range.start);
            ranges
        };
        let single = sorted(resolve(&device, names.clone()).ranges);
        assert_eq!(sorted(resolve(&device, ["/"]).ranges), single, "{filesystem}");

        let sizes = names.iter().filter(|path| path.starts_with("sizes/")).cloned();
        let directory = resolve(&device, ["sizes/", "absent/", "links/directory/"]);
        assert_eq!(directory.unresolved, [1]);
        let deep = resolve(&device, ["deep/1/2/3/4/5/6/7/8/9/file"]).ranges;
        let expected = resolve(&device, sizes).ranges.into_iter().chain(deep).collect();
        assert_eq!(sorted(directory.ranges), sorted(expected));
    }
}

#[test]
fn files_of_other_layouts_are_unresolved_and_not_guessed() {
    let case = Case::open(CASE);
    let names: Vec<String> = tree(&case).files.into_keys().collect();
    let found = resolve(&case.blob("ext3.img"), names.clone());
    assert_eq!(found.unresolved.len(), names.len(), "ext3 has its directories in block maps");

    let device = case.blob("erofs-lz4.img");
    let mut unresolved = 0;
    for (path, file) in tree(&case).files {
        let found = resolve(&device, [path.clone()]);
        match &found.unresolved[..] {
            [] => assert_eq!(sha256(&content(&device, &found.ranges)), file.sha256, "{path}"),
            _ => unresolved += 1,
        }
    }
    assert!(unresolved > 0, "some files of the image are compressed");
}

#[test]
fn other_devices_are_refused() {
    for size in [0, 1024, 2048, 1 << 20] {
        let device = MemoryBlob::new(vec![0; size]);
        let error = block_on(FileList::default().resolve(&device)).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. } | Error::OutOfBounds { .. }), "{error}");
    }
}

/// The layers name contents in tar streams, so the ranges lead through all of the crate.
#[test]
fn erofs_of_the_reference_through_index_only_layers() {
    #[derive(Deserialize)]
    struct Digest {
        /// Of lines with path and digest of each file, as the kernel mounts the device.
        index_only: String,
    }

    let case = Case::open("turbooci");
    let layers = ["L1", "L2e", "L3"].map(|layer| {
        let mut tar = Vec::new();
        let gzip = case.bytes(&format!("{layer}.tar.gz"));
        MultiGzDecoder::new(gzip.as_ref()).read_to_end(&mut tar).unwrap();
        let blob = case.blob(&format!("erofs-tar-{layer}.fs.meta"));
        LayerBlob::new(layer, blob).with_target(format!("{layer}.tar"), MemoryBlob::new(tar))
    });
    let image = block_on(Image::open(layers.into(), &Limits::default())).unwrap();

    let sizes: BTreeMap<String, u64> =
        serde_json::from_slice(&Case::open(CASE).bytes("index-only.json")).unwrap();
    let mut digests = String::new();
    for (path, size) in &sizes {
        let found = resolve(&image, [path.as_str()]);
        let bytes = content(&image, &found.ranges);
        assert_eq!((bytes.len() as u64, found.unresolved.len()), (*size, 0), "{path}");
        digests.push_str(&format!("{path} {}\n", sha256(&bytes)));
    }
    assert_eq!(sha256(digests.as_bytes()), manifest::<Digest>(CASE).index_only);
}

#[test]
fn ext4_of_the_reference_through_an_image() {
    #[derive(Deserialize)]
    struct Listing {
        entries: BTreeMap<String, Listed>,
    }
    #[derive(Deserialize)]
    struct Listed {
        sha256: Option<String>,
    }

    let case = Case::open("apply-ext4");
    for device in case.devices() {
        let listing: Listing = serde_json::from_slice(&case.bytes(device.files.as_ref().unwrap())).unwrap();
        let image = block_on(Image::open(case.layers(&device), &Limits::default())).unwrap();
        for (path, expected) in &listing.entries {
            // No line of a list holds a name with a line break.
            let (Some(expected), Ok(list)) = (&expected.sha256, FileList::new([path.as_str()])) else {
                continue;
            };
            let found = block_on(list.resolve(&image)).unwrap();
            assert_eq!(sha256(&content(&image, &found.ranges)), *expected, "{path} of {:?}", device.layers);
        }

        // The ranges of a list are what a recorder would have noted, so they make a trace.
        let all = resolve(&image, ["/"]);
        let trace = Trace::of(&image, &all.ranges, &Limits::default()).unwrap();
        assert_eq!(trace.records.is_empty(), all.ranges.is_empty());
        let blobs = trace.blob_ranges(&image).unwrap();
        assert!(blobs.iter().all(|blob| blob.layer < device.layers.len()));
    }
}

#[test]
fn damaged_filesystems_are_errors_or_found_less_of() {
    let case = Case::open(CASE);
    let mut random = Random::new(20);
    for filesystem in ["ext4-1k.img", "erofs-indexes.img", "erofs-compact.img"] {
        let bytes = case.bytes(filesystem);
        for _ in 0..150 {
            let at = random.below(bytes.len() / 8);
            let device = FlippedBlob { bytes: bytes.clone(), at, bit: random.below(8) as u8 };
            let list = FileList::new(["/", "holes/fragments", "links/long"]).unwrap();
            match block_on(list.resolve(&device)) {
                Ok(found) => {
                    assert!(found.ranges.iter().all(|range| range.end <= device.size()), "bit at {at}");
                }
                Err(error) => assert!(
                    matches!(
                        error,
                        Error::Broken { .. }
                            | Error::Unsupported { .. }
                            | Error::Limit { .. }
                            | Error::OutOfBounds { .. }
                    ),
                    "bit at {at}: {error}"
                ),
            }
        }
    }
}
