//! Conversion in registries, with the Referrers API and without: the ordinary image's name then leads to the
//! accelerated one.

#[path = "support/conversions.rs"]
mod conversions;
#[path = "support/docker_registry.rs"]
mod docker_registry;
#[path = "support/layers.rs"]
mod layers;
#[path = "support/ordinary.rs"]
mod ordinary;
#[path = "support/trees.rs"]
mod trees;

use std::io::Write;

use conversions::{Scene, located, open};
use docker_registry::DockerRegistry;
use examples::convert::options::{Mode, Options};
use layers::{expected, found, tars};
use ordinary::{Layer, gzip};
use referrers::media_type::OCI_LAYER_GZIP;
use referrers::{Binding, Descriptor, Kind, ResolveOptions, Stage};
use registry::{Fault, Registry};

/// A layout `images` with the ordinary image of three layers under the tag `1`.
fn scene() -> (Scene, Descriptor) {
    let scene = Scene::new();
    let layout = scene.layout("images");
    let layers: Vec<Layer> = tars().iter().map(|tar| (OCI_LAYER_GZIP, gzip(tar, 2))).collect();
    let base = ordinary::image(&layout, "amd64", &layers);
    layout.list(base.clone(), Some("1")).unwrap();
    (scene, base)
}

/// Converts from the layout to the registry at `host`, once beside the image and once to another repository.
async fn converted_at(host: &str) {
    let (scene, base) = scene();
    for (mode, kind, suffix) in [
        (Mode::Full, Kind::Native, "_containerd_accelerated"),
        (Mode::IndexOnly, Kind::Turbo, "_accelerated"),
    ] {
        let options = Options::new(mode).with_suffix(Some(suffix.into()));
        let name = format!("{host}/demo/{mode}:1");
        let report =
            scene.convert_to(&scene.image("images"), Some(&name), &options, "records").await.unwrap();
        assert_eq!(report.base, base.digest.as_str());
        let there = located(&name, false);
        let resolution = there.place.resolve(&there.name, &ResolveOptions::default()).await.unwrap();
        assert_eq!(resolution.base.manifest.digest(), &base.digest);
        let accelerated = resolution.accelerated.unwrap();
        assert_eq!(accelerated.descriptor.digest.as_str(), report.accelerated);
        assert_eq!(
            (accelerated.kind, accelerated.stage, accelerated.binding),
            (kind, Stage::Referrer, Binding::Subject)
        );
        assert_eq!(found(&*open(&name).await.device).await, expected(3));

        let tagged = format!("{name}{suffix}");
        let there = located(&tagged, false);
        assert_eq!(there.place.named(&there.name).await.unwrap().digest().as_str(), report.accelerated);
        assert_eq!(found(&*open(&tagged).await.device).await, expected(3));

        let copy = format!("{host}/other/{mode}:2");
        let copied = scene.convert_to(&name, Some(&copy), &options, "other-records").await.unwrap();
        assert_eq!((&copied.base, &copied.accelerated), (&report.base, &report.accelerated));
        assert_eq!(found(&*open(&copy).await.device).await, expected(3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_with_the_referrers_api() {
    let server = Registry::builder().serve().await.unwrap();
    converted_at(&server.addr().to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_the_referrers_api() {
    let server = Registry::builder().fault(Fault::ReferrersOff).serve().await.unwrap();
    converted_at(&server.addr().to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_registry_2_8() {
    match DockerRegistry::start("").await {
        Some(registry) => converted_at(&registry.host).await,
        None => skipped("docker-registry is not installed, so conversion is not tested on it"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_fails_leaves_no_image() {
    let (scene, _) = scene();
    let server = Registry::builder().serve().await.unwrap();
    let name = format!("{}/demo/app:1", server.addr());
    let options = Options::new(Mode::Full).with_suffix(Some("_made".into()));
    scene.convert_to(&scene.image("images"), Some(&name), &Options::new(Mode::IndexOnly), "r").await.unwrap();

    server.faults().add(Fault::Status(403).on("/blobs/uploads/"));
    let error = format!("{:#}", scene.convert(&name, &options).await.unwrap_err());
    assert!(error.contains("access denied"), "{error}");
    let tags = |server: &registry::Server| {
        let pushed =
            server.log().into_iter().filter(|r| r.method == "PUT" && r.path.contains("/manifests/1_made"));
        pushed.count()
    };
    assert_eq!(tags(&server), 0);
    server.faults().clear();
    scene.convert(&name, &options).await.unwrap();
    assert_eq!(tags(&server), 1);
}

/// Says what is not tested, past the test runner, which withholds what a passing test prints.
fn skipped(why: &str) {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "SKIPPED: {why}").unwrap();
}
