//! The whole path, over a fast link: each kind of input runs to its end, and what cannot run says why.

#[path = "support/trees.rs"]
mod trees;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use examples::access::Access;
use examples::lazy_image::{LazyImage, OpenBlob};
use examples::measure::{self, Expected};
use examples::oci_image;
use examples::oci_layout::OciLayout;
use examples::progress::Progress;
use examples::quickstart::{Input, Options, run};
use examples::report::Report;
use examples::tree::Tree;
use overlaybd_format::MemoryBlob;
use referrers::Descriptor;
use registry::{Fault, Link};
use serde_json::{Value, json};

#[test]
fn a_tree_is_run_and_reported_as_json() {
    let root = tempfile::tempdir().unwrap();
    trees::varied(root.path());
    let output = quickstart(&["--tree", root.path().to_str().unwrap(), "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |pointer: &str| {
        report.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}"))
    };

    assert_eq!((number("/layers"), number("/verified/blobs"), number("/verified/files")), (3.0, 3.0, 305.0));
    assert_eq!(number("/verified/bytes"), Tree::scan(root.path(), 1).unwrap().bytes() as f64);
    assert!(number("/start/bytes") > 0.0);
    assert!(number("/start/fetched") > 0.0 && number("/start/fetched") < number("/image_bytes"));
    assert!(number("/start/first_byte") <= number("/start/seconds"));
    assert!(number("/start/requests") <= number("/verified/requests"));
    assert_eq!(number("/verified/fetched"), number("/image_bytes"));
    assert_eq!(number("/eager/requests"), 3.0);
}

#[test]
fn a_table_is_printed_and_progress_stays_out_of_it() {
    let root = tempfile::tempdir().unwrap();
    trees::varied(root.path());
    let output = quickstart(&["--tree", root.path().to_str().unwrap()]);
    let (table, progress) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    for row in
        ["bytes in the image", "bytes fetched", "requests", "time to first byte", "time to the start set"]
    {
        assert!(table.contains(row), "{table}");
    }
    assert!(progress.contains("Checking the blobs: 3 with the digests they should have"), "{progress}");
    assert!(!table.contains("Checking"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_image_has_its_digest() {
    let report = run(Input::ReferenceImage, fast(), Progress::plain()).await.unwrap();
    assert_eq!(report.layers, 4);
    assert!(report.verified.files > 1000, "{report:?}");
    assert!(report.verified.device_digest.is_some());
    assert!(report.eager.is_none(), "it has no ordinary form to pull");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layout_and_the_image_it_becomes_in_a_registry() {
    let (directory, layout) = layout().await;
    let report = run(Input::OciLayout(directory.path().to_owned()), fast(), Progress::plain()).await.unwrap();
    assert_eq!((report.layers, report.verified.files), (2, 305));
    assert!(report.eager.is_some());

    let server = registry::Registry::builder().serve().await.unwrap();
    let [base, accelerated] = layout.index().unwrap().try_into().unwrap();
    put(&server, &layout, &base, Some("1"));
    put(&server, &layout, &accelerated, None);
    let report = run_image(&server, "demo/app:1").await.unwrap();
    assert_eq!((report.layers, report.verified.blobs, report.verified.files), (2, 2, 305));
    assert!(report.link.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_an_accelerated_form_says_what_was_looked_for() {
    let (_directory, layout) = layout().await;
    let server = registry::Registry::builder().serve().await.unwrap();
    let base = layout.index().unwrap().remove(0);
    put(&server, &layout, &base, Some("1"));
    let error = format!("{:#}", run_image(&server, "demo/app:1").await.unwrap_err());
    assert!(error.contains("no accelerated image for") && error.contains("referrer: absent"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_mixes_local_and_remote_layers() {
    let (directory, layout) = layout().await;
    let server = registry::Registry::builder().serve().await.unwrap();
    let accelerated = layout.manifest(&layout.index().unwrap()[1]).unwrap();
    let [lower, upper] = accelerated.image().unwrap().layers.as_slice() else { panic!("two layers") };
    server.put_blob("demo/app", std::fs::read(layout.blob_path(&upper.digest)).unwrap().into()).unwrap();
    let config = json!({
        "repoBlobUrl": format!("{}/v2/demo/app/blobs", server.url()),
        "lowers": [
            { "file": format!("blobs/sha256/{}", lower.digest.hex()) },
            { "digest": upper.digest, "size": upper.size },
        ],
    });
    let path = directory.path().join("config.v1.json");
    std::fs::write(&path, config.to_string()).unwrap();
    let report = run(Input::Config(path), fast(), Progress::plain()).await.unwrap();
    assert_eq!((report.layers, report.verified.blobs, report.verified.files), (2, 1, 305));
    assert_eq!(report.verified.fetched, upper.size);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_reads_well_must_still_have_its_digest() {
    let (_directory, layout) = layout().await;
    let accelerated = layout.manifest(&layout.index().unwrap()[1]).unwrap();
    let blobs = accelerated.image().unwrap().layers.iter().map(|layer| {
        // The end of the tar, which no reader of the device looks at.
        let mut bytes = std::fs::read(layout.blob_path(&layer.digest)).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        OpenBlob {
            name: layer.digest.to_string(),
            digest: Some(layer.digest.clone()),
            reader: Arc::new(MemoryBlob::new(bytes)),
            remote: None,
            target: None,
        }
    });
    let image = LazyImage::open(blobs.collect()).await.unwrap();
    let error = measure::verified(&image, &Expected::Files, Progress::plain()).await.unwrap_err().to_string();
    assert!(error.starts_with("the blob sha256:") && error.contains("has the digest"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bits_that_flip_on_the_way_are_errors_that_name_the_blob() {
    let (_directory, layout) = layout().await;
    let server = registry::Registry::builder().serve().await.unwrap();
    let [base, accelerated] = layout.index().unwrap().try_into().unwrap();
    put(&server, &layout, &base, Some("1"));
    put(&server, &layout, &accelerated, None);
    for image in [base, accelerated] {
        let layer = layout.manifest(&image).unwrap().image().unwrap().layers[1].digest.clone();
        server.faults().add(Fault::BitFlip { at: 40_000 }.on(layer.hex()));
        let error = format!("{:#}", run_image(&server, "demo/app:1").await.unwrap_err());
        assert!(error.contains(layer.hex()), "{error}");
        server.faults().clear();
    }
    run_image(&server, "demo/app:1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layout_with_other_bytes_in_a_blob_is_not_pushed() {
    let (directory, layout) = layout().await;
    let accelerated = layout.manifest(&layout.index().unwrap()[1]).unwrap();
    let layer = &accelerated.image().unwrap().layers[1];
    std::fs::write(layout.blob_path(&layer.digest), "other").unwrap();
    let input = Input::OciLayout(directory.path().to_owned());
    let error = format!("{:#}", run(input, fast(), Progress::plain()).await.unwrap_err());
    assert!(error.contains(layer.digest.hex()) && error.contains("has other bytes"), "{error}");
}

#[test]
fn a_failure_is_one_line_and_a_status() {
    let output = quickstart(&["--oci-layout", "/nonexistent"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 1);
    assert_eq!(quickstart(&["--reference", "--image", "a/b"]).status.code(), Some(2));
}

fn quickstart(arguments: &[&str]) -> Output {
    let link = ["--bandwidth", "10000", "--round-trip", "1"];
    Command::new(env!("CARGO_BIN_EXE_quickstart")).args(link).args(arguments).output().unwrap()
}

fn fast() -> Options {
    let link = Link::mbit(10_000, Duration::from_millis(1));
    Options { link, access: Access { plain_http: true, ..Access::default() } }
}

async fn layout() -> (tempfile::TempDir, OciLayout) {
    let root = tempfile::tempdir().unwrap();
    trees::varied(root.path());
    let directory = tempfile::tempdir().unwrap();
    let layout = OciLayout::create(directory.path()).unwrap();
    oci_image::build(&Tree::scan(root.path(), 2).unwrap(), &layout, Progress::Silent).await.unwrap();
    (directory, layout)
}

fn put(server: &registry::Server, layout: &OciLayout, image: &Descriptor, tag: Option<&str>) {
    let manifest = layout.manifest(image).unwrap();
    let image = manifest.image().unwrap();
    for blob in image.layers.iter().chain([&image.config]) {
        server.put_blob("demo/app", read(&layout.blob_path(&blob.digest))).unwrap();
    }
    server.put_manifest("demo/app", tag, manifest.bytes().clone()).unwrap();
}

fn read(path: &Path) -> bytes::Bytes {
    std::fs::read(path).unwrap().into()
}

async fn run_image(server: &registry::Server, name: &str) -> anyhow::Result<Report> {
    let name = format!("{}/{name}", server.addr()).parse().unwrap();
    run(Input::Image(name), fast(), Progress::plain()).await
}
