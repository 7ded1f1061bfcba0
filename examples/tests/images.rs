//! The two images of a tree: the accelerated one refers to the base, its layers give the tree's device,
//! and building them again gives the same bytes.

#[path = "support/trees.rs"]
mod trees;

use std::path::Path;
use std::sync::Arc;

use examples::image_files::ImageFilesystem;
use examples::lazy_image::{LazyImage, OpenBlob};
use examples::oci_image;
use examples::oci_layout::OciLayout;
use examples::progress::Progress;
use examples::reference_image;
use examples::tree::Tree;
use examples::verify;
use overlaybd_format::FileBlob;
use referrers::{Classified, Kind, Manifest, classify};
use tokio::runtime::Runtime;

#[test]
fn the_accelerated_image_refers_to_the_base_and_holds_the_tree() {
    let root = tempfile::tempdir().unwrap();
    trees::varied(root.path());
    let tree = Tree::scan(root.path(), 3).unwrap();
    let layout = built(&tree);
    let layout = OciLayout::open(layout.path()).unwrap();

    let index = layout.index().unwrap();
    let [base, accelerated] = index.as_slice() else { panic!("{index:?}") };
    let (base, accelerated) = (layout.manifest(base).unwrap(), layout.manifest(accelerated).unwrap());
    assert_eq!(accelerated.subject().unwrap().digest, *base.digest());
    assert_eq!(base.subject(), None);
    assert_eq!(classify(base.image().unwrap()).unwrap(), Classified::Plain);
    let Classified::Accelerated { kind: Kind::Native, layers } =
        classify(accelerated.image().unwrap()).unwrap()
    else {
        panic!("not a native image")
    };
    assert_eq!(layers.len(), 3);

    let runtime = Runtime::new().unwrap();
    let image = runtime.block_on(open(&layout, &accelerated));
    let files = ImageFilesystem::open(image.reader(), runtime.handle().clone()).unwrap().files().unwrap();
    verify::same_tree(&files, &tree, &|_| ()).unwrap();
}

#[test]
fn the_diff_ids_of_the_accelerated_image_are_its_blobs() {
    let root = tempfile::tempdir().unwrap();
    trees::varied(root.path());
    let directory = built(&Tree::scan(root.path(), 2).unwrap());
    let layout = OciLayout::open(directory.path()).unwrap();
    let manifest = layout.manifest(&layout.index().unwrap()[1]).unwrap();
    let image = manifest.image().unwrap();
    let config = std::fs::read(layout.blob_path(&image.config.digest)).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    let digests: Vec<_> = image.layers.iter().map(|layer| layer.digest.as_str()).collect();
    assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!(digests));
}

#[test]
fn the_same_tree_gives_the_same_images() {
    let root = tempfile::tempdir().unwrap();
    trees::varied(root.path());
    let tree = Tree::scan(root.path(), 3).unwrap();
    let index = |directory: &Path| std::fs::read(directory.join("index.json")).unwrap();
    assert_eq!(index(built(&tree).path()), index(built(&tree).path()));
}

#[test]
fn a_layout_with_changed_bytes_is_refused() {
    let root = tempfile::tempdir().unwrap();
    trees::varied(root.path());
    let directory = built(&Tree::scan(root.path(), 1).unwrap());
    let layout = OciLayout::open(directory.path()).unwrap();
    let base = layout.index().unwrap().remove(0);
    let path = layout.blob_path(&base.digest);
    let text = std::fs::read_to_string(&path).unwrap().replace("\"size\":", "\"size\": ");
    std::fs::write(&path, text).unwrap();
    let error = format!("{:#}", layout.manifest(&base).unwrap_err());
    assert!(error.contains("digest"), "{error}");

    std::fs::write(directory.path().join("oci-layout"), r#"{"imageLayoutVersion": "2.0.0"}"#).unwrap();
    assert!(OciLayout::open(directory.path()).unwrap_err().to_string().contains("2.0.0"));
}

#[test]
fn the_reference_image_has_the_device_that_its_list_says() {
    let directory = tempfile::tempdir().unwrap();
    let layout = OciLayout::create(directory.path()).unwrap();
    let expected = reference_image::build(&layout).unwrap();
    let manifest = layout.manifest(&layout.index().unwrap()[0]).unwrap();
    let digest = Runtime::new().unwrap().block_on(async {
        let image = open(&layout, &manifest).await;
        assert_eq!(image.blobs.len(), 4);
        verify::digest(&image.reader(), &|_| ()).await.unwrap()
    });
    assert_eq!(digest, expected);
}

fn built(tree: &Tree) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let layout = OciLayout::create(directory.path()).unwrap();
    Runtime::new().unwrap().block_on(oci_image::build(tree, &layout, Progress::Silent)).unwrap();
    directory
}

async fn open(layout: &OciLayout, manifest: &Manifest) -> LazyImage {
    let blobs = manifest.image().unwrap().layers.iter().map(|layer| OpenBlob {
        name: layer.digest.to_string(),
        digest: Some(layer.digest.clone()),
        reader: Arc::new(FileBlob::open(layout.blob_path(&layer.digest)).unwrap()),
        remote: None,
        target: None,
    });
    LazyImage::open(blobs.collect()).await.unwrap()
}
