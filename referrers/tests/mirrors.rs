//! Mirrors: what they are asked for, with what, and what when they fail.

#[path = "support/clock.rs"]
mod clock;
#[path = "support/images.rs"]
mod images;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use std::sync::Arc;
use std::time::Duration;

use referrers::{
    Anonymous, Capability, Chain, Credential, Mirror, Registry, ResolveOptions, Resolver, StaticCredentials,
    TokioClock, media_type,
};

use images::{Scene, amd64};
use registry::{TestRegistry, image, index};
use server::Response;

/// The scene's registry with a mirror that has the same.
async fn mirrored(capabilities: &[Capability]) -> (Scene, TestRegistry, Registry) {
    let scene = Scene::new().await;
    scene.put(&scene.native());
    let mirror = TestRegistry::start().await;
    {
        let (here, mut there) = (scene.registry.contents.lock().unwrap(), mirror.contents.lock().unwrap());
        there.blobs = here.blobs.clone();
        there.manifests = here.manifests.clone();
    }
    let client = client(&scene, &mirror, capabilities);
    (scene, mirror, client)
}

fn client(scene: &Scene, mirror: &TestRegistry, capabilities: &[Capability]) -> Registry {
    let mirror = Mirror::new(&format!("http://{}", mirror.server.host)).unwrap();
    let mirror = mirror.with_capabilities(capabilities.iter().copied());
    let options = scene.registry.options().with_mirror(scene.registry.server.host.as_str(), mirror);
    scene.registry.client_with(options, Anonymous)
}

const ALL: [Capability; 3] = [Capability::Pull, Capability::Resolve, Capability::Referrers];

async fn resolve(scene: &Scene, client: &Registry) -> bool {
    let resolver = Resolver::new(client.clone(), ResolveOptions::default());
    let resolution = resolver.resolve(&scene.registry.tagged("t"), &amd64()).await.unwrap();
    assert_eq!(resolution.base.manifest.digest(), scene.base.digest());
    resolution.accelerated.is_some()
}

#[tokio::test]
async fn a_mirror_of_everything_leaves_nothing_to_ask_the_registry_for() {
    let (scene, mirror, client) = mirrored(&ALL).await;
    assert!(resolve(&scene, &client).await);
    assert_eq!(scene.registry.server.asked(), [""; 0]);
    let asked = mirror.server.requests();
    assert_eq!(asked.len(), 4, "{:?}", mirror.server.asked());
    assert!(asked.iter().all(|r| r.query("ns").as_deref() == Some(scene.registry.server.host.as_str())));
}

#[tokio::test]
async fn a_mirror_is_asked_only_for_what_it_is_capable_of() {
    for (capability, part) in [
        (Capability::Pull, "sha256:"),
        (Capability::Resolve, "/manifests/t"),
        (Capability::Referrers, "/referrers/"),
    ] {
        let (scene, mirror, client) = mirrored(&[capability]).await;
        assert!(resolve(&scene, &client).await);
        let asked = mirror.server.asked();
        assert!(
            !asked.is_empty() && asked.iter().all(|line| line.contains(part)),
            "{capability:?}: {asked:?}"
        );
        let pulls = |line: &&String| line.contains("/referrers/");
        if capability == Capability::Pull {
            assert_eq!(asked.iter().filter(pulls).count(), 0, "{asked:?}");
        }
        assert!(scene.registry.server.asked().iter().all(|line| !line.contains("ns=")));
    }
}

#[tokio::test]
async fn a_mirror_that_fails_in_any_way_costs_nothing_but_time() {
    let answers = [401, 403, 404, 429, 500, 503].map(Response::new);
    let html = Response::ok("text/html", "<html>");
    for answer in answers.into_iter().chain([html]) {
        let (scene, mirror, client) = mirrored(&[Capability::Pull, Capability::Referrers]).await;
        mirror.fault(move |_| Some(answer.clone()));
        assert!(resolve(&scene, &client).await);
        assert!(mirror.server.asked().len() <= 4, "each is tried once: {:?}", mirror.server.asked());
    }
}

#[tokio::test]
async fn a_page_for_people_hides_nothing_afterwards() {
    let (scene, mirror, client) = mirrored(&[Capability::Referrers]).await;
    mirror.fault(|_| Some(Response::ok("text/html", "<html>")));
    assert!(resolve(&scene, &client).await);
    mirror.contents.lock().unwrap().faults.clear();
    let before = mirror.server.requests().len();
    assert!(resolve(&scene, &client).await);
    assert_eq!(mirror.server.requests().len(), before + 1, "{:?}", mirror.server.asked());
}

#[tokio::test]
async fn a_mirror_that_is_down_is_left_in_peace_for_a_while() {
    let (scene, mirror, client) = mirrored(&[Capability::Pull]).await;
    mirror.fault(|_| Some(Response::new(503)));
    for asked in [1, 1, 2] {
        assert!(resolve(&scene, &client).await);
        assert_eq!(mirror.server.requests().len(), asked);
        scene.registry.clock.advance(Duration::from_secs(16));
    }
}

#[tokio::test]
async fn a_silent_mirror_does_not_outlast_the_calls_deadline() {
    let scene = Scene::new().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mirror = Mirror::new(&format!("http://{}", silent.local_addr().unwrap())).unwrap();
    let options = scene.registry.options().with_mirror(scene.registry.server.host.as_str(), mirror);
    let options = options.with_deadline(Duration::from_millis(400)).with_clock(Arc::new(TokioClock));
    let client = scene.registry.client_with(options, Anonymous);
    let tag = scene.registry.tagged("t");
    tokio::time::timeout(Duration::from_secs(3), client.manifest(&tag)).await.unwrap().unwrap();
}

#[tokio::test]
async fn other_bytes_than_those_asked_for_are_read_from_the_registry() {
    let (scene, mirror, client) = mirrored(&[Capability::Pull]).await;
    let other = image(&scene.config, &[]).to_string();
    mirror.fault(move |_| Some(Response::ok(media_type::OCI_MANIFEST, &other)));
    assert!(resolve(&scene, &client).await);
}

#[tokio::test]
async fn a_mirror_has_its_own_credentials_and_never_the_registrys() {
    let (scene, mirror, _) = mirrored(&ALL).await;
    for registry in [&scene.registry, &mirror] {
        registry.fault(|r| {
            let challenge = Response::new(401).with("www-authenticate", "Basic realm=\"r\"");
            r.header("authorization").is_none().then_some(challenge)
        });
    }
    let login = |host: &str, user: &str| StaticCredentials::new(host, vec![Credential::password(user, "p")]);
    let at = Mirror::new(&format!("http://{}", mirror.server.host)).unwrap();
    let options = || scene.registry.options().with_mirror(scene.registry.server.host.as_str(), at.clone());
    let origin = || login(&scene.registry.server.host, "origin");
    let client = scene.registry.client_with(options(), origin());
    assert!(resolve(&scene, &client).await);
    assert!(mirror.server.requests().iter().all(|r| r.header("authorization").is_none()));

    let both = Chain::default().with(origin()).with(login(&mirror.server.host, "mirror"));
    let before = scene.registry.server.requests().len();
    assert!(resolve(&scene, &scene.registry.client_with(options(), both)).await);
    assert_eq!(scene.registry.server.requests().len(), before);
    let sent = mirror.server.requests().pop().unwrap();
    assert_eq!(sent.header("authorization"), Some("Basic bWlycm9yOnA="));
}

#[tokio::test]
async fn a_mirrors_header_is_for_the_mirror_alone() {
    let (scene, mirror, _) = mirrored(&ALL).await;
    let elsewhere = server::Server::start(|_| Response::new(404)).await;
    let target = format!("http://{}/x", elsewhere.host);
    mirror.fault(move |_| Some(Response::new(307).with("location", target.as_str())));
    let at =
        Mirror::new(&format!("http://{}", mirror.server.host)).unwrap().with_header("x-key", "k").unwrap();
    let options = scene.registry.options().with_mirror(scene.registry.server.host.as_str(), at);
    assert!(resolve(&scene, &scene.registry.client_with(options, Anonymous)).await);
    assert!(mirror.server.requests().iter().all(|r| r.header("x-key") == Some("k")));
    assert!(!elsewhere.requests().is_empty());
    let others = elsewhere.requests().into_iter().chain(scene.registry.server.requests());
    assert!(others.into_iter().all(|r| r.header("x-key").is_none()));
}

#[tokio::test]
async fn the_pages_of_a_mirror_are_its_own() {
    let (scene, mirror, client) = mirrored(&[Capability::Referrers]).await;
    mirror.fault(|r| {
        let more = r.query("page").is_none();
        let page = Response::ok(media_type::OCI_INDEX, index(&[]).to_string());
        r.path()
            .contains("/referrers/")
            .then(|| if more { page.with("link", "<?page=2>; rel=next") } else { page })
    });
    let listing = client.referrers(&scene.registry.repository, scene.base.digest(), None).await.unwrap();
    assert!(listing.referrers.is_empty());
    assert_eq!(mirror.server.count("page=2"), 1);
    assert_eq!(scene.registry.server.asked(), [""; 0]);
}

#[tokio::test]
async fn nothing_is_written_to_a_mirror_or_on_its_word() {
    let (scene, mirror, client) = mirrored(&ALL).await;
    scene.registry.contents.lock().unwrap().api = false;
    let body = bytes::Bytes::from(scene.turbo().to_string());
    client.attach(&scene.registry.repository, media_type::OCI_MANIFEST, body).await.unwrap();
    assert!(mirror.server.requests().iter().all(|r| r.method == "GET" || r.method == "HEAD"));
    assert_eq!(mirror.server.count("/manifests/sha256-"), 0, "{:?}", mirror.server.asked());
}
