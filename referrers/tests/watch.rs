//! What is noticed of the things that a running container depends on.

#[path = "support/clock.rs"]
mod clock;
#[path = "support/images.rs"]
mod images;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use std::time::Duration;

use referrers::{DependencyRole, Resolution, ResolveOptions, Resolver, State, Watch, media_type};

use images::{Scene, amd64};
use registry::image;
use server::Response;

const HOUR: Duration = Duration::from_secs(3600);

/// A base image with its index-only image, all of whose blobs are there.
async fn scene() -> (Scene, Resolution) {
    let scene = Scene::new().await;
    scene.put(&scene.turbo());
    let resolver = Resolver::new(scene.registry.client(), ResolveOptions::default());
    let resolution = resolver.resolve(&scene.registry.tagged("t"), &amd64()).await.unwrap();
    let mut contents = scene.registry.contents.lock().unwrap();
    for needed in &resolution.dependencies {
        contents.blobs.insert(needed.digest.to_string(), Vec::new());
    }
    drop(contents);
    (scene, resolution)
}

fn watch(scene: &Scene, resolution: &Resolution) -> Watch {
    Watch::new(scene.registry.client(), resolution, HOUR)
}

#[tokio::test]
async fn everything_that_is_read_is_asked_for_and_presence_is_no_news() {
    let (scene, resolution) = scene().await;
    let asked = scene.registry.server.requests().len();
    assert_eq!(watch(&scene, &resolution).check().await, []);
    // The tag, two manifests, two layers each.
    let requests = scene.registry.server.requests();
    assert_eq!(requests.len() - asked, 7);
    assert!(requests[asked..].iter().all(|r| r.method == "HEAD"));
}

#[tokio::test]
async fn a_deleted_layer_of_the_base_image_is_reported_once_with_its_role() {
    let (scene, resolution) = scene().await;
    let mut watch = watch(&scene, &resolution);
    let layer = &scene.layers[1].digest;
    let bytes = scene.registry.contents.lock().unwrap().blobs.remove(layer.as_str()).unwrap();
    let changes = watch.check().await;
    assert_eq!(changes.len(), 1);
    assert_eq!((&changes[0].digest, &changes[0].state), (layer, &State::Gone));
    assert_eq!(changes[0].role, Some(DependencyRole::BaseLayer));
    assert!(changes[0].to_string().contains("layer of the base image): gone"), "{}", changes[0]);
    assert_eq!(watch.check().await, []);
    scene.registry.contents.lock().unwrap().blobs.insert(layer.to_string(), bytes);
    assert_eq!(watch.check().await[0].state, State::Present);
}

#[tokio::test]
async fn a_deleted_accelerated_image_is_told_from_a_registry_that_fails() {
    let (scene, resolution) = scene().await;
    let mut watch = watch(&scene, &resolution);
    let digest = resolution.accelerated.as_ref().unwrap().descriptor.digest.clone();
    scene.registry.contents.lock().unwrap().manifests.remove(digest.as_str());
    let changes = watch.check().await;
    assert_eq!((&changes[0].digest, &changes[0].state), (&digest, &State::Gone));
    scene.registry.fault(|_| Some(Response::new(503)));
    let changes = watch.check().await;
    assert_eq!(changes.len(), 7);
    assert!(changes.iter().all(|change| matches!(change.state, State::Unreachable(_))), "{changes:?}");
}

#[tokio::test]
async fn a_tag_that_moves_is_reported_with_what_it_names_now() {
    let (scene, resolution) = scene().await;
    let mut watch = watch(&scene, &resolution);
    let moved = scene.registry.put(Some("t"), media_type::OCI_MANIFEST, &image(&scene.config, &[]));
    let changes = watch.next().await;
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].role, &changes[0].state), (None, &State::Replaced(moved.digest().clone())));
}

#[tokio::test]
async fn it_waits_its_interval_between_two_rounds() {
    let (scene, resolution) = scene().await;
    let mut watch = watch(&scene, &resolution);
    // After the third round something is gone.
    let rounds = std::sync::atomic::AtomicUsize::new(0);
    scene.registry.fault(move |r| {
        let tag = r.path().ends_with("/manifests/t");
        let round = rounds.fetch_add(usize::from(tag), std::sync::atomic::Ordering::SeqCst);
        (tag && round == 3).then(|| Response::error(404, "MANIFEST_UNKNOWN"))
    });
    assert_eq!(watch.next().await[0].state, State::Gone);
    assert_eq!(scene.registry.clock.elapsed(), 3 * HOUR);
}

#[tokio::test]
async fn a_change_does_not_bring_the_next_round_forward() {
    let (scene, resolution) = scene().await;
    let mut watch = watch(&scene, &resolution);
    let moved = |command: &str| {
        let config = scene.put_config(&images::config("amd64", "2025-01-01T00:00:00Z", command));
        scene.registry.put(Some("t"), media_type::OCI_MANIFEST, &image(&config, &[])).digest().clone()
    };
    let first = moved("first");
    assert_eq!(watch.next().await[0].state, State::Replaced(first));
    assert_eq!(scene.registry.clock.elapsed(), Duration::ZERO);
    let second = moved("second");
    assert_eq!(watch.next().await[0].state, State::Replaced(second));
    assert_eq!(scene.registry.clock.elapsed(), HOUR);
}

#[tokio::test]
async fn a_registry_that_fails_in_another_way_is_no_news() {
    let (scene, resolution) = scene().await;
    let mut watch = watch(&scene, &resolution);
    scene.registry.fault(|_| Some(Response::new(403)));
    assert_eq!(watch.check().await.len(), 7);
    scene.registry.contents.lock().unwrap().faults.clear();
    scene.registry.fault(|_| Some(Response::new(503)));
    assert_eq!(watch.check().await, []);
}
