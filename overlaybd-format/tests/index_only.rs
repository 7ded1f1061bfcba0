//! Index-only layers of the reference, in ext4 and EROFS form, alone, stacked and among full ones, and
//! what becomes of them when their target is not what it should be.

use std::io::{Cursor, Read};
use std::sync::Arc;

use bytes::Bytes;
use futures::executor::block_on;
use overlaybd_format::{
    Error, Image, Layer, LayerBlob, LayerOptions, LayerWriter, Limits, MemoryBlob, ReadAt, Segment,
};
use serde::Deserialize;

use crate::golden::{Case, manifest, sha256_of};

#[path = "harness/golden.rs"]
mod golden;

#[derive(Deserialize)]
struct Devices {
    index_only_devices: Vec<Device>,
}

#[derive(Deserialize)]
struct Device {
    /// File names, bottom first.
    layers: Vec<String>,
    /// Which tar each of them points into.
    targets: Vec<String>,
    size: u64,
    sha256: String,
}

impl Device {
    fn layers(&self, target: impl Fn(&str) -> Arc<dyn ReadAt>) -> Vec<LayerBlob> {
        let case = Case::open("turbooci");
        let layer = |(file, of): (&String, &String)| {
            LayerBlob::new(file.as_str(), case.blob(file)).with_target(format!("{of}.tar"), target(of))
        };
        self.layers.iter().zip(&self.targets).map(layer).collect()
    }

    fn open(&self, target: impl Fn(&str) -> Arc<dyn ReadAt>) -> Image {
        block_on(Image::open(self.layers(target), &Limits::default())).unwrap()
    }
}

fn devices() -> Vec<Device> {
    manifest::<Devices>("turbooci").index_only_devices
}

fn tar(name: &str) -> Bytes {
    let gzip = Case::open("turbooci").bytes(&format!("{name}.tar.gz"));
    let mut tar = Vec::new();
    flate2::read::MultiGzDecoder::new(gzip.as_ref()).read_to_end(&mut tar).unwrap();
    Bytes::from(tar)
}

fn plain(name: &str) -> Arc<dyn ReadAt> {
    Arc::new(MemoryBlob::new(tar(name)))
}

#[test]
fn ext4_over_plain_tars() {
    over_plain_tars("ext4");
}

#[test]
fn erofs_over_plain_tars() {
    over_plain_tars("erofs");
}

fn over_plain_tars(filesystem: &str) {
    for device in devices().iter().filter(|device| device.layers[0].starts_with(filesystem)) {
        let image = device.open(plain);
        assert_eq!(image.size(), device.size, "{:?}", device.layers);
        assert_eq!(block_on(sha256_of(&image)).unwrap(), device.sha256, "{:?}", device.layers);
    }
}

#[test]
fn layers_say_what_they_are() {
    let device = &devices()[0];
    let layer = block_on(Layer::open(device.layers(plain).remove(0), &Limits::default())).unwrap();
    assert_eq!(layer.target_name(), Some("L1.tar"));
    assert!(layer.stream().compression().is_some(), "the metadata is a ZFile");
    let target_at = layer.stream().size().next_multiple_of(512);
    assert_eq!(layer.content().size(), target_at + tar("L1").len() as u64);
    block_on(layer.verify()).unwrap();
}

#[cfg(feature = "gzip")]
mod compressed {
    use super::*;
    use overlaybd_format::{GzipBlob, GzipIndex, GzipIndexOptions, GzipIndexer};

    fn gzip(name: &str, index: impl Into<Bytes>) -> Arc<dyn ReadAt> {
        let index = block_on(GzipIndex::open(MemoryBlob::new(index), &Limits::default())).unwrap();
        let blob = Case::open("turbooci").blob(&format!("{name}.tar.gz"));
        Arc::new(GzipBlob::new(blob, index).unwrap())
    }

    /// Over the index that the reference made.
    fn theirs(name: &str) -> Arc<dyn ReadAt> {
        gzip(name, Case::open("turbooci").bytes(&format!("{name}.gzip.meta")))
    }

    /// Over an index of our own.
    fn ours(name: &str) -> Arc<dyn ReadAt> {
        let bytes = Case::open("turbooci").bytes(&format!("{name}.tar.gz"));
        let options = GzipIndexOptions::default().with_span(64 << 10);
        gzip(name, GzipIndexer::new(bytes.as_ref(), options).finish().unwrap())
    }

    #[test]
    fn devices_over_gzip_blobs_are_those_over_plain_tars() {
        for device in devices().iter().filter(|device| device.layers.len() == 3) {
            let expected = device.open(plain);
            assert_same(&device.open(theirs), &expected);
            assert_same(&device.open(ours), &expected);
        }
    }
}

/// Compares all that is not a hole.
fn assert_same(image: &Image, expected: &Image) {
    let read = |image: &Image, segment: Segment| {
        let mut bytes = vec![0xa5; usize::try_from(segment.len() * 512).unwrap()];
        block_on(image.read_at(&mut bytes, segment.start() * 512)).unwrap();
        bytes
    };
    let sectors = |image: &Image| image.index().segments().iter().map(|segment| segment.len()).sum::<u64>();
    assert_eq!(sectors(image), sectors(expected));
    for &segment in expected.index().segments() {
        assert!(read(image, segment) == read(expected, segment), "{segment:?}");
    }
}

#[test]
fn full_and_index_only_layers_in_one_stack() {
    let device = devices().into_iter().find(|device| device.layers.len() == 3).unwrap();
    for full in 0..3 {
        let mut layers = device.layers(plain);
        layers[full] = LayerBlob::new("full", MemoryBlob::new(in_full(layers[full].clone())));
        let image = block_on(Image::open(layers, &Limits::default())).unwrap();
        assert_eq!(image.layers()[full].target_name(), None);
        assert_same(&image, &device.open(plain));
    }
}

/// The same layer with the contents of the files in it.
fn in_full(layer: LayerBlob) -> Vec<u8> {
    let layer = block_on(Layer::open(layer, &Limits::default())).unwrap();
    let options = LayerOptions::new(layer.virtual_size());
    let mut writer = LayerWriter::new(Cursor::new(Vec::new()), options).unwrap();
    for segment in layer.segments() {
        let mut bytes = vec![0; usize::try_from(segment.len() * 512).unwrap()];
        block_on(layer.content().read_at(&mut bytes, segment.stored_at() * 512)).unwrap();
        writer.write(segment.start() * 512, &bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The reference gives such a layer a size of 0.
#[test]
fn a_merge_has_the_size_and_the_contents_of_the_device() {
    for device in devices().iter().filter(|device| device.layers.len() == 3) {
        let image = device.open(plain);
        let mut writer = LayerWriter::new(Cursor::new(Vec::new()), LayerOptions::of_image(&image)).unwrap();
        block_on(writer.copy_image(&image)).unwrap();
        let merged = LayerBlob::new("merged", MemoryBlob::new(writer.finish().unwrap().into_inner()));
        let merged = block_on(Image::open(vec![merged], &Limits::default())).unwrap();
        assert_eq!(merged.size(), device.size, "{:?}", device.layers);
        assert_same(&merged, &image);
    }
}

#[test]
fn a_missing_target_is_told_from_a_broken_layer() {
    let case = Case::open("turbooci");
    for file in devices().into_iter().flat_map(|device| device.layers) {
        let layer = LayerBlob::new(file.as_str(), case.blob(&file));
        let error = block_on(Layer::open(layer, &Limits::default())).unwrap_err();
        assert!(matches!(error.root(), Error::MissingTarget), "{error}");
        assert_eq!(error.to_string(), format!("{file}: an index-only layer without its target"));
    }
}

#[test]
fn a_target_that_ends_early_is_refused() {
    let device = &devices()[0];
    let whole = tar("L1");
    let end = block_on(Layer::open(device.layers(plain).remove(0), &Limits::default()))
        .map(|layer| (layer.stream().size().div_ceil(512), layer.segments().to_vec()))
        .map(|(target_at, segments)| {
            let ends = segments.iter().map(|segment| segment.stored_at() + segment.len());
            usize::try_from((ends.max().unwrap() - target_at) * 512).unwrap()
        })
        .unwrap();
    let with_target = |len: usize| {
        let target: Arc<dyn ReadAt> = Arc::new(MemoryBlob::new(whole.slice(..len)));
        block_on(Image::open(device.layers(|_| target.clone()), &Limits::default()))
    };
    assert!(with_target(end).is_ok(), "to the last sector");
    for len in [0, 511, end / 2, end - 512, end - 1] {
        let error = with_target(len).unwrap_err();
        assert!(matches!(error.root(), Error::Broken { .. }), "{error}");
        assert!(error.to_string().contains("beyond the end of the target"), "{error}");
    }
}

#[test]
fn an_error_of_the_target_names_the_target() {
    let device = &devices()[0];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("target");
    std::fs::write(&path, tar("L1")).unwrap();
    let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let blob = Arc::new(overlaybd_format::FileBlob::new(file.try_clone().unwrap()).unwrap());
    let image = device.open(|_| blob.clone());
    // The target shrinks after it was opened.
    file.set_len(512).unwrap();

    let mut sector = [0; 512];
    let mut starts = image.index().segments().iter().map(|segment| segment.start() * 512);
    let error = starts.find_map(|start| block_on(image.read_at(&mut sector, start)).err()).unwrap();
    assert!(error.to_string().starts_with("L1.tar: reading"), "{error}");
}
