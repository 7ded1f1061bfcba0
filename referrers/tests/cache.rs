//! What is remembered of a source: for whom, for how long, and what when it fails.

#[path = "support/clock.rs"]
mod clock;
#[path = "support/images.rs"]
mod images;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use referrers::{
    Cache, CacheOptions, Digest, Freshness, ImageSource, Resolution, ResolveOptions, Resolver, media_type,
};

use images::{Scene, amd64};
use registry::image;
use server::Response;

fn options(scene: &Scene) -> CacheOptions {
    CacheOptions::default().with_clock(scene.registry.clock.clone())
}

fn resolver(scene: &Scene, cache: &Cache, identity: &str) -> Resolver {
    Resolver::new(cache.of(identity, scene.registry.client()), ResolveOptions::default())
}

async fn resolve(scene: &Scene, resolver: &Resolver) -> Resolution {
    resolver.resolve(&scene.registry.tagged("t"), &amd64()).await.unwrap()
}

fn chosen(resolution: &Resolution) -> Option<&Digest> {
    resolution.accelerated.as_ref().map(|found| &found.descriptor.digest)
}

/// A switch for a fault of the registry.
fn switch(scene: &Scene, part: &'static str, answer: Response) -> Arc<AtomicBool> {
    let on = Arc::new(AtomicBool::new(false));
    let shared = Arc::clone(&on);
    scene
        .registry
        .fault(move |r| (shared.load(Ordering::SeqCst) && r.path().contains(part)).then(|| answer.clone()));
    on
}

#[tokio::test]
async fn a_second_resolution_asks_nobody() {
    let scene = Scene::new().await;
    let digest = scene.put(&scene.native());
    let resolver = resolver(&scene, &Cache::new(options(&scene)), "x");
    assert_eq!(chosen(&resolve(&scene, &resolver).await), Some(&digest));
    let asked = scene.registry.server.requests().len();
    assert_eq!(chosen(&resolve(&scene, &resolver).await), Some(&digest));
    assert_eq!(scene.registry.server.requests().len(), asked);
}

#[tokio::test]
async fn those_who_ask_at_once_share_one_request() {
    let scene = Scene::new().await;
    scene.put(&scene.native());
    let resolver = resolver(&scene, &Cache::new(options(&scene)), "x");
    let all = futures::future::join_all((0..100).map(|_| resolve(&scene, &resolver))).await;
    assert!(all.iter().all(|resolution| resolution.accelerated.is_some()));
    // Base manifest, its configuration, the list, the referrer.
    assert_eq!(scene.registry.server.requests().len(), 4, "{:?}", scene.registry.server.asked());
}

#[tokio::test]
async fn one_who_goes_away_harms_no_other() {
    let scene = Scene::new().await;
    let cached = Cache::new(options(&scene)).of("x", scene.registry.client());
    let reference = scene.registry.tagged("t");
    let mut first = cached.named(&reference);
    assert!(futures::poll!(&mut first).is_pending());
    let second = cached.named(&reference);
    drop(first);
    assert_eq!(second.await.unwrap().manifest.digest(), scene.base.digest());
}

#[tokio::test]
async fn one_identity_sees_nothing_of_what_another_has_read() {
    let scene = Scene::new().await;
    scene.put(&scene.native());
    let cache = Cache::new(options(&scene));
    resolve(&scene, &resolver(&scene, &cache, "x")).await;
    let asked = scene.registry.server.requests().len();
    resolve(&scene, &resolver(&scene, &cache, "y")).await;
    assert_eq!(scene.registry.server.requests().len(), 2 * asked);
}

#[tokio::test]
async fn a_tag_that_has_moved_is_followed_when_its_life_is_over() {
    let scene = Scene::new().await;
    let cached = Cache::new(options(&scene)).of("x", scene.registry.client());
    let reference = scene.registry.tagged("t");
    let digest = async || cached.named(&reference).await.unwrap().manifest.digest().clone();
    assert_eq!(digest().await, *scene.base.digest());
    let moved = scene.registry.put(Some("t"), media_type::OCI_MANIFEST, &image(&scene.config, &[]));
    assert_eq!(digest().await, *scene.base.digest());
    scene.registry.clock.advance(Duration::from_secs(31));
    assert_eq!(digest().await, *moved.digest());
    let conditional = scene.registry.server.requests().pop().unwrap();
    assert_eq!(conditional.header("if-none-match"), Some(&*format!("\"{}\"", scene.base.digest())));
}

#[tokio::test]
async fn an_unchanged_tag_is_not_transferred_again() {
    let scene = Scene::new().await;
    let cached = Cache::new(options(&scene)).of("x", scene.registry.client());
    let reference = scene.registry.tagged("t");
    cached.named(&reference).await.unwrap();
    scene.registry.fault(|r| r.header("if-none-match").map(|_| Response::new(304)));
    scene.registry.clock.advance(Duration::from_secs(31));
    let named = cached.named(&reference).await.unwrap();
    assert_eq!((named.manifest.digest(), named.freshness), (scene.base.digest(), Freshness::Fresh));
    assert_eq!(scene.registry.server.requests().len(), 2);
}

#[tokio::test]
async fn a_referrer_that_appears_is_found_within_the_life_of_an_empty_list() {
    let scene = Scene::new().await;
    let resolver = resolver(&scene, &Cache::new(options(&scene)), "x");
    assert_eq!(chosen(&resolve(&scene, &resolver).await), None);
    let digest = scene.put(&scene.native());
    scene.registry.clock.advance(Duration::from_secs(40));
    assert_eq!(chosen(&resolve(&scene, &resolver).await), None, "48 s is the shortest life");
    scene.registry.clock.advance(Duration::from_secs(33));
    assert_eq!(chosen(&resolve(&scene, &resolver).await), Some(&digest), "72 s is the longest");
}

#[tokio::test]
async fn an_image_that_stays_without_referrers_is_asked_for_them_ever_more_rarely() {
    let scene = Scene::new().await;
    let cached = Cache::new(options(&scene)).of("x", scene.registry.client());
    for _ in 0..120 {
        cached.referrers(&scene.registry.repository, scene.base.digest()).await.unwrap();
        scene.registry.clock.advance(Duration::from_secs(60));
    }
    // Two hours: about 1, 2, 4, 8, 10, 10, … minutes apart; each life is shortened by a fifth at most, and
    // a request in its last part fetches anew.
    let asked = scene.registry.server.count("/referrers/");
    assert!((12..=24).contains(&asked), "{asked}");
}

#[tokio::test]
async fn a_failure_that_passes_is_not_remembered_as_none() {
    let scene = Scene::new().await;
    let digest = scene.put(&scene.native());
    let broken = switch(&scene, "/referrers/", Response::new(503));
    broken.store(true, Ordering::SeqCst);
    let resolver = resolver(&scene, &Cache::new(options(&scene)), "x");
    assert_eq!(chosen(&resolve(&scene, &resolver).await), None);
    broken.store(false, Ordering::SeqCst);
    assert_eq!(chosen(&resolve(&scene, &resolver).await), Some(&digest));
}

#[tokio::test]
async fn an_absent_tag_is_asked_for_again_soon() {
    let scene = Scene::new().await;
    let cached = Cache::new(options(&scene)).of("x", scene.registry.client());
    let reference = scene.registry.tagged("new");
    for _ in 0..2 {
        assert!(cached.named(&reference).await.unwrap_err().is_not_found());
    }
    assert_eq!(scene.registry.server.requests().len(), 1);
    scene.registry.put(Some("new"), media_type::OCI_MANIFEST, &image(&scene.config, &[]));
    scene.registry.clock.advance(Duration::from_secs(5));
    cached.named(&reference).await.unwrap();
}

#[tokio::test]
async fn old_answers_are_given_only_if_allowed_and_marked() {
    for stale_life in [Duration::ZERO, Duration::from_secs(3600)] {
        let scene = Scene::new().await;
        let digest = scene.put(&scene.native());
        let broken = switch(&scene, "/", Response::new(503));
        let cache = Cache::new(options(&scene).with_stale_life(stale_life));
        let resolver = resolver(&scene, &cache, "x");
        assert_eq!(resolve(&scene, &resolver).await.freshness, Freshness::Fresh);
        broken.store(true, Ordering::SeqCst);
        scene.registry.clock.advance(Duration::from_secs(1000));
        let outcome = resolver.resolve(&scene.registry.tagged("t"), &amd64()).await;
        if stale_life.is_zero() {
            assert!(outcome.unwrap_err().is_transient());
            continue;
        }
        let resolution = outcome.unwrap();
        assert_eq!(chosen(&resolution), Some(&digest));
        assert!(resolution.freshness >= Freshness::Stale(Duration::from_secs(1000)));
        assert!(resolution.explain().to_string().contains("from memory"));
        scene.registry.clock.advance(Duration::from_secs(3600));
        resolver.resolve(&scene.registry.tagged("t"), &amd64()).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_refusal_is_not_papered_over_with_an_old_answer() {
    let scene = Scene::new().await;
    let denied = switch(&scene, "/manifests/t", Response::new(403));
    let cache = Cache::new(options(&scene).with_stale_life(Duration::from_secs(3600)));
    let cached = cache.of("x", scene.registry.client());
    let reference = scene.registry.tagged("t");
    cached.named(&reference).await.unwrap();
    denied.store(true, Ordering::SeqCst);
    scene.registry.clock.advance(Duration::from_secs(31));
    assert!(matches!(cached.named(&reference).await.unwrap_err().kind(), referrers::ErrorKind::Auth(_)));
}

#[tokio::test]
async fn a_missing_api_is_not_asked_for_again_for_an_hour() {
    let mut scene = Scene::new().await;
    scene.registry = scene.registry.without_api();
    let client = scene.registry.client();
    let list = async || {
        client.referrers(&scene.registry.repository, scene.base.digest(), None).await.unwrap();
        scene.registry.server.count("/referrers/")
    };
    // A 404 proves something only where something could be read.
    assert_eq!([list().await, list().await], [1, 2]);
    client.manifest(&scene.registry.tagged("t")).await.unwrap();
    assert_eq!([list().await, list().await], [3, 3]);
    scene.registry.clock.advance(Duration::from_secs(3600));
    assert_eq!(list().await, 4);
}
