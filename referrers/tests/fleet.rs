//! Many hosts' worth of resolutions at once against a registry that limits them.

#[path = "support/clock.rs"]
mod clock;
#[path = "support/images.rs"]
mod images;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use referrers::{
    Cache, CacheOptions, Descriptor, Digest, ResolveOptions, Resolver, artifact_type, media_type,
};
use serde_json::json;

use images::{amd64, config, native_layer, plain_layer};
use registry::{TestRegistry, image};
use server::Response;

const IMAGES: usize = 50;
const RESOLUTIONS: usize = 1000;
/// How many requests the registry takes in a second.
const RATE: usize = 20;

/// Puts a base image at the tag `n` with three full-mode referrers.
fn put_image(registry: &TestRegistry, n: usize) {
    let config = config("amd64", "2025-01-01T00:00:00Z", &n.to_string()).to_string();
    let config = registry.put_blob(media_type::OCI_CONFIG, config.as_bytes());
    let base = image(&config, &[plain_layer(&n.to_string())]);
    let base = registry.put(Some(&n.to_string()), media_type::OCI_MANIFEST, &base);
    for referrer in 0..3 {
        let mut body = image(&config, &[native_layer(&format!("{n} {referrer}"))]);
        body["artifactType"] = json!(artifact_type::OVERLAYBD_NATIVE);
        body["subject"] = json!(base.descriptor());
        registry.put(None, media_type::OCI_MANIFEST, &body);
    }
}

/// Answers more than [`RATE`] requests in a second of the clients' clock with 429.
fn limit_rate(registry: &TestRegistry) -> Arc<Mutex<BTreeMap<u64, usize>>> {
    let clock = Arc::clone(&registry.clock);
    let asked = Arc::new(Mutex::new(BTreeMap::new()));
    let shared = Arc::clone(&asked);
    registry.fault(move |_| {
        let mut asked = shared.lock().unwrap();
        let in_second: &mut usize = asked.entry(clock.elapsed().as_secs()).or_default();
        *in_second += 1;
        (*in_second > RATE).then(|| Response::new(429).with("retry-after", "1"))
    });
    asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_image_is_looked_up_once_and_everybody_chooses_the_same() {
    let registry = TestRegistry::start().await;
    (0..IMAGES).for_each(|n| put_image(&registry, n));
    let seconds = limit_rate(&registry);
    let cache = Cache::new(CacheOptions::default());
    // Everybody who waits moves the clock on, so together they are far ahead of a real one.
    let options = registry.options().with_deadline(Duration::from_secs(100_000));
    let client = registry.client_with(options, referrers::Anonymous);
    let resolver = Resolver::new(cache.of("fleet", client), ResolveOptions::default());
    let all = (0..RESOLUTIONS).map(|n| {
        let (reference, resolver) = (registry.tagged(&(n % IMAGES).to_string()), resolver.clone());
        tokio::spawn(async move { (n % IMAGES, resolver.resolve(&reference, &amd64()).await.unwrap()) })
    });
    let mut chosen: BTreeMap<usize, Digest> = BTreeMap::new();
    for resolution in futures::future::join_all(all).await {
        let (image, resolution) = resolution.unwrap();
        let found = resolution.accelerated.as_ref().unwrap_or_else(|| panic!("{}", resolution.explain()));
        let digest = &found.descriptor.digest;
        assert_eq!(chosen.entry(image).or_insert_with(|| digest.clone()), digest);
    }
    assert_eq!(chosen.len(), IMAGES);
    // For each image: its tag, its configuration, its referrers, the chosen one.
    let useful = 4 * IMAGES;
    let seconds = seconds.lock().unwrap();
    let served: usize = seconds.values().map(|asked| (*asked).min(RATE)).sum();
    assert_eq!(served, useful, "each once: {:?}", registry.server.asked());
    let refused: usize = seconds.values().map(|asked| asked.saturating_sub(RATE)).sum();
    assert!(refused > 0 && refused < useful, "the registry complains, and is heard: {refused}");
}

#[tokio::test]
async fn the_choice_is_the_same_in_whatever_order_a_registry_lists() {
    let registry = TestRegistry::start().await;
    put_image(&registry, 0);
    let client = registry.client();
    let base = client.manifest(&registry.tagged("0")).await.unwrap();
    let listed = client.referrers(&registry.repository, base.digest(), None).await.unwrap().referrers;
    let order = Arc::new(Mutex::new(listed.clone()));
    let shared = Arc::clone(&order);
    registry.fault(move |r| {
        let body = registry::index(&shared.lock().unwrap()).to_string();
        r.path().contains("/referrers/").then(|| Response::ok(media_type::OCI_INDEX, body))
    });
    let resolver = Resolver::new(client, ResolveOptions::default());
    let mut chosen = Vec::new();
    for permutation in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        *order.lock().unwrap() = permutation.map(|n: usize| Descriptor::clone(&listed[n])).to_vec();
        let resolution = resolver.resolve(&registry.tagged("0"), &amd64()).await.unwrap();
        chosen.push(resolution.accelerated.unwrap().descriptor.digest);
    }
    chosen.dedup();
    assert_eq!(chosen.len(), 1);
}
