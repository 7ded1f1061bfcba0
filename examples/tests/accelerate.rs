//! The service that converts what is pushed, with a converter that only attaches.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, bail};
use async_trait::async_trait;
use bytes::Bytes;
use examples::accelerate::job::{Job, State};
use examples::accelerate::queue::{Entry, Queue};
use examples::accelerate::settings::Settings;
use examples::accelerate::{Convert, Service};
use referrers::{
    Anonymous, Descriptor, Digest, Platform, Reference, Registry, RegistryOptions, Repository,
    ResolveOptions, Resolver, artifact_type, media_type,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Attaches an image with one full-mode layer, whose bytes follow from the base image.
#[derive(Debug)]
struct Attaching {
    registry: Registry,
    conversions: AtomicUsize,
    /// The tags that were to be given.
    tags: Mutex<Vec<Option<String>>>,
    /// What the first conversions do instead of returning.
    mishaps: Mutex<Vec<Mishap>>,
    stuck: Notify,
}

#[derive(Debug, Clone, Copy)]
enum Mishap {
    StuckBefore,
    StuckAfter,
    Fails,
    Panics,
}

#[async_trait]
impl Convert for Attaching {
    async fn convert(&self, job: &Job) -> Result<Digest> {
        self.conversions.fetch_add(1, Ordering::SeqCst);
        self.tags.lock().unwrap().push(job.suffixed_tag());
        let mishap = self.mishaps.lock().unwrap().pop();
        match mishap {
            Some(Mishap::Fails) => bail!("the converter is out of order"),
            Some(Mishap::Panics) => panic!("on purpose"),
            Some(Mishap::StuckBefore) => self.be_stuck().await,
            Some(Mishap::StuckAfter) | None => {}
        }
        let repository = job.image.repository();
        let base = self.registry.manifest(&job.image).await?;
        let layer = Bytes::from(format!("layer of {}", base.digest()));
        let digest = self.registry.push_blob(repository, layer.clone()).await?;
        let key = "containerd.io/snapshot/overlaybd/blob-digest".to_owned();
        let layer = Descriptor::of(media_type::OCI_LAYER, &layer)
            .with_annotations([(key, digest.to_string())].into());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "artifactType": artifact_type::OVERLAYBD_NATIVE, "subject": base.descriptor(),
            "config": base.image().unwrap().config, "layers": [layer],
        });
        let bytes = Bytes::from(manifest.to_string());
        let attached = self.registry.attach(repository, media_type::OCI_MANIFEST, bytes).await?;
        if let Some(Mishap::StuckAfter) = mishap {
            self.be_stuck().await;
        }
        Ok(attached.descriptor.digest)
    }
}

impl Attaching {
    async fn be_stuck(&self) {
        self.stuck.notify_one();
        std::future::pending().await
    }
}

/// A registry, and the service beside it.
struct Scene {
    server: registry::Server,
    client: Registry,
    convert: Arc<Attaching>,
    state: TempDir,
}

/// A service at work; it ends when this is dropped.
struct Running {
    address: String,
    queue: Queue,
    task: JoinHandle<Result<()>>,
}

impl Scene {
    async fn new(mishaps: impl Into<Vec<Mishap>>) -> Self {
        let server = registry::Registry::builder().serve().await.unwrap();
        let options = RegistryOptions::default().with_plain_http(server.addr().to_string());
        let client = Registry::new(options, Arc::new(Anonymous)).unwrap();
        let convert = Arc::new(Attaching {
            registry: client.clone(),
            conversions: AtomicUsize::new(0),
            tags: Mutex::default(),
            mishaps: Mutex::new(mishaps.into()),
            stuck: Notify::new(),
        });
        Self { server, client, convert, state: tempfile::tempdir().unwrap() }
    }

    fn host(&self) -> String {
        self.server.addr().to_string()
    }

    fn repository(&self, path: &str) -> Repository {
        Repository::new(&self.host(), path).unwrap()
    }

    /// Pushes an ordinary image.
    fn push(&self, path: &str, tag: &str) -> Digest {
        self.push_with(path, tag, tag)
    }

    /// Pushes an ordinary image that runs `command`.
    fn push_with(&self, path: &str, tag: &str, command: &str) -> Digest {
        let config = json!({
            "os": "linux", "architecture": "amd64", "config": { "Cmd": [command] },
            "rootfs": { "type": "layers", "diff_ids": [] },
        });
        let blobs =
            [(media_type::OCI_CONFIG, config.to_string()), (media_type::OCI_LAYER_GZIP, "x".to_owned())].map(
                |(media_type, content)| {
                    let content = Bytes::from(content);
                    self.server.put_blob(path, content.clone()).unwrap();
                    Descriptor::of(media_type, &content)
                },
            );
        let image = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": blobs[0], "layers": [blobs[1]],
        });
        let digest = self.server.put_manifest(path, Some(tag), image.to_string().into()).unwrap();
        digest.as_str().parse().unwrap()
    }

    async fn start(&self, more: &str, secret: Option<&str>) -> Running {
        let config = self.state.path().join("accelerate.toml");
        let text = format!(
            "registry = \"{}\"\nstate = \"{}\"\nplain-http = true\n{more}\n",
            self.host(),
            self.state.path().join("queue").display(),
        );
        std::fs::write(&config, text).unwrap();
        self.start_with(&config, secret).await
    }

    async fn start_with(&self, config: &Path, secret: Option<&str>) -> Running {
        let settings = Settings::read(config).unwrap();
        // The tasks of one that was ended may be about to be dropped, and with them its hold on the queue.
        let free = until(async || Queue::open(&settings.state).ok());
        let queue = free.await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let convert = Arc::clone(&self.convert) as Arc<dyn Convert>;
        let service = Service::new(settings, self.client.clone(), queue.clone(), convert, secret);
        Running { address, queue, task: tokio::spawn(service.run(listener)) }
    }

    /// The digest of the accelerated image that a tag resolves to.
    async fn resolve(&self, reference: &Reference) -> Option<Digest> {
        let resolver = Resolver::new(self.client.clone(), ResolveOptions::default());
        let resolution = resolver.resolve(reference, &Platform::new("linux", "amd64")).await.unwrap();
        resolution.accelerated.map(|found| found.descriptor.digest)
    }

    fn conversions(&self) -> usize {
        self.convert.conversions.load(Ordering::SeqCst)
    }
}

impl Running {
    async fn send(&self, head: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let request = format!(
            "{head}\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    async fn get(&self, path: &str) -> String {
        let (status, body) = self.send(&format!("GET {path} HTTP/1.1"), "").await;
        assert_eq!(status, 200);
        body
    }

    async fn webhook(&self, message: &Value) -> (u16, String) {
        self.send("POST /webhook HTTP/1.1", &message.to_string()).await
    }

    /// Waits until nothing waits.
    async fn settled(&self) -> Vec<Entry> {
        until(async || {
            let entries = self.queue.entries();
            let settled = !entries.is_empty() && entries.iter().all(|entry| entry.state != State::Waiting);
            settled.then_some(entries)
        })
        .await
    }

    /// Ends it in the middle of what it does.
    async fn end(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

/// Waits until there is something.
async fn until<T>(there: impl AsyncFn() -> Option<T>) -> T {
    let found = async {
        loop {
            match there().await {
                Some(found) => return found,
                None => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found).await.unwrap()
}

fn event(path: &str, tag: &str, digest: &Digest) -> Value {
    json!({ "events": [{
        "action": "push", "request": { "host": "elsewhere.example" },
        "target": { "mediaType": media_type::OCI_MANIFEST, "repository": path, "tag": tag, "digest": digest },
    }] })
}

const FULL: &str = "[[rule]]\nrepository = \"**\"\nmode = \"full\"";

#[tokio::test]
async fn what_is_pushed_is_converted_once_and_its_tag_leads_to_it() {
    let scene = Scene::new([]).await;
    let running = scene.start(FULL, None).await;
    let base = scene.push("shop/api", "1");
    let tag = scene.repository("shop/api").with_tag("1").unwrap();
    assert_eq!(scene.resolve(&tag).await, None);
    let (status, body) = running.webhook(&event("shop/api", "1", &base)).await;
    assert_eq!((status, body.trim()), (202, r#"{"ignored":0,"known":0,"queued":1}"#));
    for _ in 0..3 {
        let (_, body) = running.webhook(&event("shop/api", "1", &base)).await;
        assert_eq!(body.trim(), r#"{"ignored":0,"known":1,"queued":0}"#);
    }
    let entries = running.settled().await;
    let [Entry { state: State::Done { accelerated }, .. }] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!(scene.resolve(&tag).await.as_ref(), Some(accelerated));
    assert_eq!(*scene.client.manifest(&tag).await.unwrap().digest(), base, "the base image is what it was");
    assert_eq!(scene.conversions(), 1);

    // The service's own push comes back, by digest and under some tag.
    let listed = scene.client.referrers(tag.repository(), &base, None).await.unwrap().referrers;
    running.webhook(&event("shop/api", "fast", accelerated)).await;
    let entries = running.settled().await;
    assert!(entries.iter().any(|entry| matches!(&entry.state, State::Skipped { .. })), "{entries:?}");
    assert_eq!((listed.len(), scene.conversions()), (1, 1));
}

#[tokio::test]
async fn a_service_that_ends_in_the_middle_loses_nothing_and_doubles_nothing() {
    for mishap in [Mishap::StuckBefore, Mishap::StuckAfter] {
        let scene = Scene::new([mishap]).await;
        let running = scene.start(FULL, None).await;
        let bases = ["1", "2", "3"].map(|tag| (tag, scene.push("a", tag)));
        for (tag, base) in &bases {
            assert_eq!(running.webhook(&event("a", tag, base)).await.0, 202);
        }
        scene.convert.stuck.notified().await;
        running.end().await;

        let running = scene.start(FULL, None).await;
        let entries = running.settled().await;
        assert!(entries.iter().all(|entry| matches!(entry.state, State::Done { .. })), "{entries:?}");
        for (tag, base) in &bases {
            let listed = scene.client.referrers(&scene.repository("a"), base, None).await.unwrap().referrers;
            assert_eq!(listed.len(), 1, "{tag} after {mishap:?}");
        }
        // One that was attached is not converted again.
        let again = usize::from(matches!(mishap, Mishap::StuckBefore));
        assert_eq!(scene.conversions(), 3 + again, "{mishap:?}");
    }
}

#[tokio::test]
async fn an_image_is_converted_on_request_also_while_it_rests_after_a_failure() {
    for mishap in [Mishap::Fails, Mishap::Panics] {
        is_converted_after(mishap).await;
    }
}

async fn is_converted_after(mishap: Mishap) {
    let scene = Scene::new([mishap]).await;
    let running = scene.start(FULL, None).await;
    let base = scene.push("a", "1");
    let (status, body) = running.send("POST /convert HTTP/1.1", &format!("{}/a:1", scene.host())).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &answer["state"]), (202, &json!("waiting")));
    until(async || running.queue.entries().iter().any(|entry| entry.failures == 1).then_some(())).await;
    assert_eq!(running.queue.entries()[0].state, State::Waiting, "it is tried again by itself");

    running.send("POST /convert HTTP/1.1", &format!("{}/a@{base}\n", scene.host())).await;
    let tag = scene.repository("a").with_tag("1").unwrap();
    let accelerated = until(async || scene.resolve(&tag).await).await;
    let entries = running.settled().await;
    assert_eq!(entries[0].state, State::Done { accelerated });
    assert_eq!((entries.len(), scene.conversions()), (1, 2));
}

#[tokio::test]
async fn an_image_that_lost_its_tag_does_not_get_the_suffixed_one() {
    let scene = Scene::new([]).await;
    let old = scene.push_with("a", "1", "old");
    let new = scene.push_with("a", "1", "new");
    let rule = "[[rule]]\nrepository = \"a\"\nmode = \"full\"\ntag-suffix = \"_fast\"";
    let running = scene.start(rule, None).await;
    for digest in [&new, &old] {
        running.webhook(&event("a", "1", digest)).await;
        let entries = running.settled().await;
        assert!(entries.iter().all(|entry| matches!(entry.state, State::Done { .. })), "{entries:?}");
    }
    assert_eq!(*scene.convert.tags.lock().unwrap(), [Some("1_fast".to_owned()), None]);
}

#[tokio::test]
async fn tags_are_looked_at_where_nobody_tells() {
    let scene = Scene::new([]).await;
    for tag in ["v1", "v2", "main", "v1_fast"] {
        scene.push("a/b", tag);
    }
    let rules = "poll-seconds = 3600\n\
        [[rule]]\nrepository = \"a/b\"\ntag = \"v*\"\nmode = \"full\"\ntag-suffix = \"_fast\"\n\
        [[rule]]\nrepository = \"a/*\"\nmode = \"full\"";
    let running = scene.start(rules, None).await;
    until(async || (running.queue.entries().len() == 3).then_some(())).await;
    let entries = running.settled().await;
    let mut tags: Vec<_> = entries.iter().map(|entry| entry.job.tag.clone().unwrap()).collect();
    tags.sort();
    assert_eq!(tags, ["main", "v1", "v2"]);
}

#[tokio::test]
async fn who_does_not_know_the_secret_changes_nothing() {
    let scene = Scene::new([]).await;
    let base = scene.push("a", "1");
    let running = scene.start(FULL, Some("s3cret")).await;
    let message = event("a", "1", &base).to_string();
    for header in ["", "\r\nauthorization: wrong", "\r\nauthorization: Basic s3cret"] {
        for path in ["/webhook", "/convert"] {
            let (status, body) = running.send(&format!("POST {path} HTTP/1.1{header}"), &message).await;
            assert_eq!(status, 401);
            assert!(!body.contains("s3cret"));
        }
    }
    assert!(running.queue.entries().is_empty());
    for header in ["authorization: s3cret", "Authorization: Bearer s3cret"] {
        assert_eq!(running.send(&format!("POST /webhook HTTP/1.1\r\n{header}"), &message).await.0, 202);
    }
    running.settled().await;
}

#[tokio::test]
async fn hostile_messages_are_refused() {
    let scene = Scene::new([]).await;
    let running = scene.start("[[rule]]\nrepository = \"a\"\nmode = \"full\"", None).await;
    let there = scene.push("b", "1");
    let long = "x".repeat((1 << 20) + 1);
    for (path, body, expected) in [
        ("/webhook", "{", 400),
        ("/webhook", "[]", 400),
        ("/webhook", &long, 413),
        ("/convert", "not a reference", 422),
        ("/convert", "\u{0}", 422),
        ("/convert", "elsewhere.example/a:1", 422),
        ("/convert", &format!("{}/b@{there}", scene.host()), 422),
        ("/convert", &format!("{}/a:absent", scene.host()), 404),
        ("/metrics", "", 405),
        ("/", "", 405),
        ("/../etc/passwd", "", 404),
    ] {
        let (status, _) = running.send(&format!("POST {path} HTTP/1.1"), body).await;
        assert_eq!(status, expected, "{path} {}", &body[..body.len().min(50)]);
    }
    // One bad name does not hold up the others of its message.
    let mut message = event("../etc", "1", &there);
    message["events"].as_array_mut().unwrap().push(event("a", "1", &there)["events"][0].clone());
    let (status, body) = running.webhook(&message).await;
    assert_eq!((status, body.trim()), (202, r#"{"ignored":1,"known":0,"queued":1}"#));
    let entries = running.settled().await;
    assert!(matches!(&entries[..], [Entry { state: State::Skipped { .. }, .. }]), "{entries:?}");
    assert_eq!(scene.conversions(), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_go_on_is_sent_away() {
    let scene = Scene::new([]).await;
    let running = scene.start(FULL, None).await;
    // Nothing else happens, so the clock jumps to the end of the service's patience.
    for (begun, status) in [
        ("POST /webhook HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n{", Some("HTTP/1.1 408 ")),
        ("POST /webhook HTTP/1.1\r\nhos", None),
    ] {
        let mut stream = TcpStream::connect(&running.address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(status.is_none_or(|status| answer.starts_with(status)), "{answer}");
    }
}

#[tokio::test]
async fn the_page_and_the_numbers_tell_what_was_done() {
    let scene = Scene::new([]).await;
    let running = scene.start(FULL, None).await;
    let base = scene.push("shop/api", "1");
    running.webhook(&event("shop/api", "1", &base)).await;
    running.settled().await;
    let page = running.get("/").await;
    assert!(page.contains(&format!("{}/shop/api@{base}", scene.host())) && page.contains("1 done"), "{page}");
    let numbers = running.get("/metrics").await;
    for line in [
        "accelerate_jobs{state=\"done\"} 1",
        "accelerate_jobs{state=\"waiting\"} 0",
        "accelerate_pushes_total{outcome=\"queued\"} 1",
        "accelerate_tries_total{outcome=\"done\"} 1",
    ] {
        assert!(numbers.lines().any(|found| found == line), "{line} in {numbers}");
    }
}
