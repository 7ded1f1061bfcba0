//! Credentials never reach another host than the registry's: a listener there records what arrives.

#[path = "support/clock.rs"]
mod clock;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use bytes::Bytes;
use referrers::{
    AuthFailure, Credential, Descriptor, Error, ErrorKind, Registry, RegistryOptions, StaticCredentials,
    fallback_tag, media_type,
};

use registry::{TestRegistry, image, index};
use server::{Response, Server};

/// A registry that takes Basic authentication, a client that has it, and another host.
struct Scene {
    registry: TestRegistry,
    client: Registry,
    foreign: Server,
}

const USER: &str = "Basic dXNlcjpwYXNz";

impl Scene {
    async fn new(foreign: impl Fn(&server::Request) -> Response + Send + Sync + 'static) -> Self {
        let registry = TestRegistry::start().await;
        let options = registry.options();
        Self::with(registry, options, "Basic realm=\"r\"".into(), Server::start(foreign).await)
    }

    fn with(registry: TestRegistry, options: RegistryOptions, challenge: String, foreign: Server) -> Self {
        let host = registry.server.host.as_str();
        let source = StaticCredentials::new(host, vec![Credential::password("user", "pass")]);
        let client = registry.client_with(options, source);
        registry.fault(move |r| {
            let refused = Response::error(401, "UNAUTHORIZED").with("www-authenticate", challenge.as_str());
            r.header("authorization").is_none().then_some(refused)
        });
        Self { registry, client, foreign }
    }

    /// The foreign host saw `count` requests, none with anything secret.
    fn foreign_saw(&self, count: usize) {
        let requests = self.foreign.requests();
        assert_eq!(requests.len(), count, "{requests:?}");
        for request in requests {
            for name in ["authorization", "cookie", "proxy-authorization", "referer"] {
                assert_eq!(request.header(name), None, "{request:?}");
            }
        }
        // The test would show nothing if the registry had not been given them either.
        let home = self.registry.server.requests();
        assert!(home.iter().any(|r| r.header("authorization") == Some(USER)), "{home:?}");
    }
}

fn is_refused(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Refused { .. })
}

#[tokio::test]
async fn redirect_target() {
    let config = br#"{"os":"linux","architecture":"amd64"}"#;
    let scene = Scene::new(move |_| Response::ok("application/octet-stream", config)).await;
    let target = format!("http://{}/signed?X-Amz-Signature=s", scene.foreign.host);
    scene.registry.fault(move |r| {
        r.path().contains("/blobs/").then(|| Response::new(307).with("location", target.as_str()))
    });
    let descriptor = Descriptor::of(media_type::OCI_CONFIG, config);
    let bytes = scene.client.small_blob(&scene.registry.repository, &descriptor).await.unwrap();
    assert_eq!(bytes, &config[..]);
    scene.foreign_saw(1);
}

#[tokio::test]
async fn a_challenge_of_the_redirect_target_is_not_answered() {
    let scene = Scene::new(|_| Response::new(401).with("www-authenticate", "Basic realm=\"r\"")).await;
    let target = format!("http://{}/x?secret=hunter2", scene.foreign.host);
    scene.registry.fault(move |_| Some(Response::new(302).with("location", target.as_str())));
    let error = scene.client.manifest(&scene.registry.tagged("t")).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Auth(AuthFailure::Denied));
    assert!(!error.to_string().contains("hunter2"), "{error}");
    scene.foreign_saw(1);
}

#[tokio::test]
async fn a_challenge_of_the_redirect_target_does_not_ask_for_credentials() {
    // The registry itself wants none; the other host would like the registry to be sent some.
    let foreign = Server::start(|_| Response::new(401).with("www-authenticate", "Basic realm=\"r\"")).await;
    let registry = TestRegistry::start().await;
    let target = format!("http://{}/x", foreign.host);
    registry.fault(move |_| Some(Response::new(302).with("location", target.as_str())));
    let source = StaticCredentials::new(&*registry.server.host, vec![Credential::password("user", "pass")]);
    let client = registry.client_with(registry.options(), source);
    let error = client.manifest(&registry.tagged("t")).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Auth(AuthFailure::Denied));
    let asked = [registry.server.requests(), foreign.requests()].concat();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|request| request.header("authorization").is_none()), "{asked:?}");
}

#[tokio::test]
async fn redirects_end() {
    let scene = Scene::new(|_| Response::new(200)).await;
    scene.registry.fault(|_| Some(Response::new(302).with("location", "/again")));
    let error = scene.client.manifest(&scene.registry.tagged("t")).await.unwrap_err();
    assert!(is_refused(&error), "{error}");
    assert_eq!(scene.registry.server.count("/again"), 5);
}

#[tokio::test]
async fn upload_location() {
    let scene = Scene::new(|_| Response::new(201)).await;
    let location = format!("http://{}/upload?state=1", scene.foreign.host);
    scene
        .registry
        .fault(move |r| (r.method == "POST").then(|| Response::new(202).with("location", location.as_str())));
    scene.client.push_blob(&scene.registry.repository, Bytes::from("blob")).await.unwrap();
    scene.foreign_saw(1);
    let put = &scene.foreign.requests()[0];
    assert_eq!((put.query("state").as_deref(), &*put.body), (Some("1"), &b"blob"[..]));
}

#[tokio::test]
async fn an_upload_is_not_redirected_elsewhere() {
    let scene = Scene::new(|_| Response::new(201)).await;
    let location = format!("http://{}/upload", scene.foreign.host);
    scene
        .registry
        .fault(move |r| (r.method == "PUT").then(|| Response::new(307).with("location", location.as_str())));
    let body = image(&Descriptor::of(media_type::OCI_CONFIG, b""), &[]).to_string();
    let tag = scene.registry.tagged("t");
    let error =
        scene.client.push_manifest(&tag, media_type::OCI_MANIFEST, Bytes::from(body)).await.unwrap_err();
    assert!(is_refused(&error), "{error}");
    scene.foreign_saw(0);
}

#[tokio::test]
async fn page_link() {
    let scene = Scene::new(|_| Response::ok(media_type::OCI_INDEX, index(&[]).to_string())).await;
    let link = format!(r#"<http://{}/next>; rel="next""#, scene.foreign.host);
    scene.registry.fault(move |r| {
        let page = Response::ok(media_type::OCI_INDEX, index(&[]).to_string());
        r.path().contains("/referrers/").then(|| page.with("link", link.as_str()))
    });
    let subject = referrers::Digest::sha256_of(b"subject");
    let error = scene.client.referrers(&scene.registry.repository, &subject, None).await.unwrap_err();
    assert!(is_refused(&error), "{error}");
    scene.foreign_saw(0);
    assert_eq!(scene.registry.server.count(&fallback_tag(&subject)), 0);
}

/// A client whose registry names a token server on another host.
async fn with_foreign_realm(trust: bool) -> (Scene, Result<referrers::Manifest, Error>) {
    let foreign = Server::start(|_| Response::ok("application/json", r#"{"token":"t"}"#)).await;
    let registry = TestRegistry::start().await;
    registry.put(Some("t"), media_type::OCI_INDEX, &index(&[]));
    // Another name, because other ports of the registry's own host are trusted.
    let host = foreign.host.replace("127.0.0.1", "localhost");
    let challenge = format!(r#"Bearer realm="http://{host}/token",service="s""#);
    let mut options = registry.options();
    if trust {
        options = options.with_trusted_realm(host);
    }
    let scene = Scene::with(registry, options, challenge, foreign);
    let outcome = scene.client.manifest(&scene.registry.tagged("t")).await;
    (scene, outcome)
}

#[tokio::test]
async fn realm() {
    let (scene, outcome) = with_foreign_realm(false).await;
    let error = outcome.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Auth(AuthFailure::RealmRefused));
    assert!(error.to_string().contains("localhost"), "{error}");
    assert_eq!(scene.foreign.requests().len(), 0);
}

#[tokio::test]
async fn a_trusted_realm_is_given_them() {
    let (scene, outcome) = with_foreign_realm(true).await;
    outcome.unwrap();
    let requests = scene.foreign.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].header("authorization"), Some(USER));
}

#[tokio::test]
async fn a_redirected_token_request_is_refused() {
    let scene = Scene::new(|_| Response::ok("application/json", r#"{"token":"t"}"#)).await;
    let (home, away) = (scene.registry.server.host.clone(), scene.foreign.host.clone());
    scene.registry.contents.lock().unwrap().faults.insert(
        0,
        Box::new(move |r: &server::Request| {
            Some(if r.path() == "/token" {
                Response::new(307).with("location", format!("http://{away}/token"))
            } else {
                Response::new(401).with("www-authenticate", format!(r#"Bearer realm="http://{home}/token""#))
            })
        }),
    );
    let error = scene.client.manifest(&scene.registry.tagged("t")).await.unwrap_err();
    assert!(is_refused(&error), "{error}");
    scene.foreign_saw(0);
}

#[tokio::test]
async fn a_descriptors_urls() {
    let scene = Scene::new(|_| Response::ok("application/octet-stream", "{}")).await;
    let mut config = serde_json::json!(Descriptor::of(media_type::OCI_CONFIG, b"{}"));
    config["urls"] = serde_json::json!([format!("http://{}/config", scene.foreign.host)]);
    let mut body = image(&Descriptor::of(media_type::OCI_CONFIG, b""), &[]);
    body["config"] = config;
    scene.registry.put(Some("t"), media_type::OCI_MANIFEST, &body);
    let manifest = scene.client.manifest(&scene.registry.tagged("t")).await.unwrap();
    let config = scene.client.image_config(&scene.registry.repository, manifest.image().unwrap()).await;
    assert!(config.unwrap_err().is_not_found(), "content has one place");
    scene.foreign_saw(0);
}
