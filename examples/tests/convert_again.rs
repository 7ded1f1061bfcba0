//! Conversion again: what was done is not done again, and an interrupted run goes on where it was.

#[path = "support/conversions.rs"]
mod conversions;
#[path = "support/layers.rs"]
mod layers;
#[path = "support/ordinary.rs"]
mod ordinary;
#[path = "support/trees.rs"]
mod trees;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use conversions::{Scene, located, open};
use examples::convert::options::{Mode, Options};
use examples::convert::report::Report;
use examples::copy_image::copy_image;
use examples::image_place::ImagePlace;
use layers::{expected, found, tars};
use ordinary::{Layer, gzip};
use referrers::Manifest;
use referrers::media_type::OCI_LAYER_GZIP;
use registry::{Fault, LoggedRequest, Registry, Server};

/// A registry with the ordinary image of three layers as `demo/app:1`, and its name there.
async fn serve(scene: &Scene) -> (Server, String, Manifest) {
    let layout = scene.layout("images");
    let layers: Vec<Layer> = tars().iter().map(|tar| (OCI_LAYER_GZIP, gzip(tar, 2))).collect();
    let base = ordinary::image(&layout, "amd64", &layers);
    let base = layout.manifest(&base).unwrap();
    let server = Registry::builder().serve().await.unwrap();
    let name = format!("{}/demo/app:1", server.addr());
    let to = located(&name, true).place;
    copy_image(&ImagePlace::Layout(layout), &to, &base, &|_| ()).await.unwrap();
    to.tag(&base, "1").await.unwrap();
    (server, name, base)
}

fn reused(report: &Report) -> Vec<bool> {
    report.image[0].layer.iter().map(|layer| layer.reused).collect()
}

/// What the requests since the first `before` changed, or read of blobs.
fn work(server: &Server, before: usize) -> Vec<String> {
    let log = server.log();
    let is_work = |request: &&LoggedRequest| {
        let reads = request.method == "GET" || request.method == "HEAD";
        !reads || request.method == "GET" && request.path.contains("/blobs/")
    };
    log[before..].iter().filter(is_work).map(|r| format!("{} {}", r.method, r.path)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_reads_no_layer_and_writes_nothing() {
    for mode in [Mode::Full, Mode::IndexOnly] {
        let scene = Scene::new();
        let (server, name, _) = serve(&scene).await;
        let options = Options::new(mode).with_suffix(Some("_made".into()));
        let first = scene.convert(&name, &options).await.unwrap();
        assert_eq!(reused(&first), [false; 3]);
        let before = server.log().len();
        let second = scene.convert(&name, &options).await.unwrap();
        assert_eq!(work(&server, before), [""; 0]);
        assert_eq!(reused(&second), [true; 3]);
        assert_eq!(
            (second.accelerated, second.tag, second.bytes),
            (first.accelerated, first.tag, first.bytes)
        );

        // Other options are another image.
        let other = options.clone().with_compression(options.compression.with_level(7));
        assert_eq!(reused(&scene.convert(&name, &other).await.unwrap()), [false; 3]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_from_the_place_is_made_again() {
    let scene = Scene::new();
    let (_server, name, base) = serve(&scene).await;
    let options = Options::new(Mode::Full);
    let first = scene.convert(&name, &options).await.unwrap();
    // The records are the same, the place is another.
    let elsewhere = scene.layout("elsewhere");
    let to = ImagePlace::Layout(elsewhere.clone());
    copy_image(&located(&name, false).place, &to, &base, &|_| ()).await.unwrap();
    elsewhere.list(base.descriptor(), Some("1")).unwrap();
    let there = scene.convert(&scene.image("elsewhere"), &options).await.unwrap();
    assert_eq!((reused(&there), &there.accelerated), (vec![false; 3], &first.accelerated));

    std::fs::remove_file(elsewhere.blob_path(&there.accelerated.parse().unwrap())).unwrap();
    std::fs::remove_file(elsewhere.blob_path(&there.image[0].layer[1].digest.parse().unwrap())).unwrap();
    let again = scene.convert(&scene.image("elsewhere"), &options).await.unwrap();
    assert_eq!((reused(&again), &again.accelerated), (vec![true, false, false], &first.accelerated));
    assert_eq!(found(&*open(&scene.image("elsewhere")).await.device).await, expected(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_is_continued_above_its_finished_layers() {
    for mode in [Mode::Full, Mode::IndexOnly] {
        let scene = Scene::new();
        let (server, name, base) = serve(&scene).await;
        let options = Options::new(mode);
        let whole = scene.convert_to(&name, None, &options, "other-records").await.unwrap();

        let top = base.image().unwrap().layers[2].digest.clone();
        server.faults().add(Fault::BitFlip { at: 100 }.on(top.hex()));
        let error = format!("{:#}", scene.convert(&name, &options).await.unwrap_err());
        assert!(error.contains(top.hex()), "{error}");
        server.faults().clear();
        let continued = scene.convert(&name, &options).await.unwrap();
        assert_eq!(reused(&continued), [true, true, false]);
        assert_eq!(continued.accelerated, whole.accelerated);
        assert_eq!(found(&*open(&name).await.device).await, expected(3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_is_continued() {
    let scene = Scene::new();
    let (server, name, base) = serve(&scene).await;
    let top = base.image().unwrap().layers[2].digest.clone();
    server.faults().add(Fault::Stall { at: 50 }.on(top.hex()));
    let mut killed = obd(&scene, &name).stdout(Stdio::null()).spawn().unwrap();
    // Both lower layers are uploaded, and the upper one does not come.
    let until = Instant::now() + Duration::from_secs(60);
    let uploaded = |request: &LoggedRequest| request.method == "PUT" && request.path.contains("/uploads/");
    while server.log().iter().filter(|request| uploaded(request) && request.status == Some(201)).count()
        < 3 + 1 + 2
    {
        assert!(Instant::now() < until, "{:?}", server.log());
        tokio::task::yield_now().await;
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    server.faults().clear();

    let output = obd(&scene, &name).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    // The record of the second one may not have been written.
    assert_eq!(
        (&said["image"][0]["layer"][0]["reused"], &said["image"][0]["layer"][2]["reused"]),
        (&true.into(), &false.into())
    );
    let whole = scene.convert_to(&name, None, &Options::new(Mode::Full), "other-records").await.unwrap();
    assert_eq!(said["accelerated"], whole.accelerated.as_str());
    assert_eq!(found(&*open(&name).await.device).await, expected(3));
}

/// A conversion in a process of its own.
fn obd(scene: &Scene, name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_obd"));
    command.args(["convert", name, "--plain-http", "--json", "--records"]).arg(scene.path("records"));
    command.env("DOCKER_CONFIG", scene.path("no-docker"));
    command
}
