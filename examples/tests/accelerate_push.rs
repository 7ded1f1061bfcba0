//! From a push to an accelerated start: skopeo pushes, docker-registry tells, the service converts, and the tag leads
//! to the accelerated image. Also when the service is killed in between.

#[path = "support/docker_registry.rs"]
mod docker_registry;
#[path = "support/layers.rs"]
mod layers;
#[path = "support/ordinary.rs"]
mod ordinary;
#[path = "support/trees.rs"]
mod trees;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use docker_registry::DockerRegistry;
use examples::access::Access;
use examples::oci_layout::OciLayout;
use layers::tars;
use ordinary::{Layer, gzip};
use referrers::media_type::OCI_LAYER_GZIP;
use referrers::{Digest, Platform, Registry, Repository, ResolveOptions, Resolver};
use tempfile::TempDir;

/// A registry that tells of pushes, ordinary images to push, and a place for the service.
struct Scene {
    registry: DockerRegistry,
    directory: TempDir,
    port: u16,
}

impl Scene {
    /// `None` if something is not installed.
    async fn new() -> Option<Self> {
        if Command::new("skopeo").arg("--version").stdout(Stdio::null()).status().is_err() {
            skipped("skopeo is not installed, so no push is converted");
            return None;
        }
        // The registry wants to know where the service is before that can know of the registry.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let endpoint = format!(
            "notifications: {{endpoints: [{{name: a, url: 'http://127.0.0.1:{port}/webhook', timeout: 5s, \
             threshold: 3, backoff: 100ms, headers: {{Authorization: [Bearer s3cret]}}}}]}}"
        );
        let Some(registry) = DockerRegistry::start(&endpoint).await else {
            skipped("docker-registry is not installed, so no push is converted");
            return None;
        };
        let scene = Self { registry, directory: tempfile::tempdir().unwrap(), port };
        let config = format!(
            "registry = \"{}\"\nplain-http = true\nstate = \"state\"\nlisten = \"127.0.0.1:{port}\"\n\
             [[rule]]\nrepository = \"shop/**\"\nmode = \"index-only\"\ntag-suffix = \"_accelerated\"\n",
            scene.registry.host
        );
        std::fs::write(scene.directory.path().join("accelerate.toml"), config).unwrap();
        Some(scene)
    }

    /// Pushes an image of so many layers, and returns its digest.
    fn push(&self, tag: &str, layers: usize) -> Digest {
        let path = self.directory.path().join(format!("image-{tag}"));
        let layout = OciLayout::open_or_create(&path).unwrap();
        let layers: Vec<Layer> = tars()[..layers].iter().map(|tar| (OCI_LAYER_GZIP, gzip(tar, 1))).collect();
        let image = ordinary::image(&layout, "amd64", &layers);
        layout.list(image.clone(), Some(tag)).unwrap();
        let copied = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"])
            .arg(format!("oci:{}:{tag}", path.display()))
            .arg(format!("docker://{}/shop/api:{tag}", self.registry.host))
            .status();
        assert!(copied.unwrap().success());
        image.digest
    }

    fn start(&self) -> Service {
        let mut process = Command::new(env!("CARGO_BIN_EXE_accelerate"))
            .args(["--config", "accelerate.toml"])
            .current_dir(self.directory.path())
            .env("ACCELERATE_SECRET", "s3cret")
            .env("DOCKER_CONFIG", self.directory.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let service = Service { process, lines, port: self.port };
        service.until("listening on ");
        service
    }

    fn repository(&self) -> Repository {
        Repository::new(&self.registry.host, "shop/api").unwrap()
    }

    fn client(&self) -> Registry {
        Access { plain_http: true, ..Access::default() }.registry(&self.repository()).unwrap()
    }

    /// What the tag resolves to, and what the base image is.
    async fn resolve(&self, tag: &str) -> (Digest, Option<Digest>) {
        let resolver = Resolver::new(self.client(), ResolveOptions::default());
        let reference = self.repository().with_tag(tag).unwrap();
        let resolution = resolver.resolve(&reference, &Platform::new("linux", "amd64")).await.unwrap();
        let accelerated = resolution.accelerated.map(|found| found.descriptor.digest);
        (resolution.base.manifest.digest().clone(), accelerated)
    }
}

/// The service in a process of its own; it is killed when this is dropped.
struct Service {
    process: Child,
    lines: Receiver<String>,
    port: u16,
}

impl Service {
    /// Waits for a line on its standard error.
    fn until(&self, part: &str) -> String {
        loop {
            let line =
                self.lines.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("no {part}"));
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Waits until so many images are done.
    fn done(&self, images: usize) {
        let expected = format!("accelerate_jobs{{state=\"done\"}} {images}\n");
        while !self.metrics().contains(&expected) {
            self.until("accelerated by sha256:");
        }
    }

    fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // SIGKILL; it may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_switches_the_tag_to_the_accelerated_image() {
    let Some(scene) = Scene::new().await else { return };
    let service = scene.start();
    let base = scene.push("1", 3);
    service.done(1);
    let (same, accelerated) = scene.resolve("1").await;
    assert_eq!(same, base, "the base image is what it was");
    let suffixed = scene.repository().with_tag("1_accelerated").unwrap();
    let tagged = scene.client().manifest(&suffixed).await.unwrap().digest().clone();
    assert_eq!(accelerated, Some(tagged));
    assert_eq!(service.metrics().matches("accelerate_tries_total{outcome=\"done\"} 1\n").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_it_loses_nothing_and_doubles_nothing() {
    let Some(scene) = Scene::new().await else { return };
    let mut service = scene.start();
    let bases = [("1", 1), ("2", 2), ("3", 3)].map(|(tag, layers)| (tag, scene.push(tag, layers)));
    service.until("Converting linux/amd64 ...");
    drop(service);
    // Again, in the middle of what it began with.
    service = scene.start();
    service.until("Converting linux/amd64 ...");
    drop(service);

    service = scene.start();
    service.done(3);
    for (tag, base) in &bases {
        let (same, accelerated) = scene.resolve(tag).await;
        assert_eq!((&same, accelerated.is_some()), (base, true), "{tag}");
        let listed = scene.client().referrers(&scene.repository(), base, None).await.unwrap();
        assert_eq!(listed.referrers.len(), 1, "{tag}");
    }
    let spool = scene.directory.path().join("state/spool");
    assert_eq!(std::fs::read_dir(spool).unwrap().count(), 0, "nothing of the killed ones is left");
}

/// Says what is not tested, past the test runner, which withholds what a passing test prints.
fn skipped(why: &str) {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "SKIPPED: {why}").unwrap();
}
