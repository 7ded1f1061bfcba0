//! One suite for whole registries: the one of the examples in every mood, and Debian's docker-registry where it
//! is installed.

#[path = "support/server.rs"]
mod server;

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use referrers::{
    ApiSupport, Credential, Descriptor, ErrorKind, Kind, Listed, Platform, Reference, Registry,
    RegistryOptions, Repository, ResolveOptions, Resolver, StaticCredentials, UploadOptions, artifact_type,
    media_type,
};
use registry::{Account, Auth, Bearer, Fault};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use server::{Request, Response, Server};

/// A registry to put to the test.
struct Target {
    host: String,
    has_api: bool,
}

impl Target {
    fn client(&self) -> Registry {
        let options = RegistryOptions::default().with_plain_http(self.host.as_str());
        let credentials = vec![Credential::password("user", "pass")];
        Registry::new(options, Arc::new(StaticCredentials::new(self.host.as_str(), credentials))).unwrap()
    }

    fn repository(&self, path: &str) -> Repository {
        Repository::new(&self.host, path).unwrap()
    }
}

fn bytes(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

/// A file of `len` bytes.
fn file(len: usize) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let content: Vec<u8> = (0..len).map(|n| (n * 31 % 251) as u8).collect();
    file.write_all(&content).unwrap();
    file
}

async fn blobs(target: &Target) {
    let (client, here, there) =
        (target.client(), target.repository("up/here"), target.repository("up/there"));
    for (len, options) in [
        (0, UploadOptions::default()),
        (1_000_000, UploadOptions::default()),
        (1, UploadOptions::default().with_chunks(10)),
        (1_000_001, UploadOptions::default().with_chunks(300_000)),
        (600_000, UploadOptions::default().with_chunks(300_000)),
    ] {
        let file = file(len);
        let descriptor = client.push_file(&here, file.path(), &options).await.unwrap();
        assert_eq!(descriptor.size, len as u64);
        let read = client.small_blob(&here, &descriptor).await.unwrap();
        assert_eq!(read, std::fs::read(file.path()).unwrap(), "{len}");
    }
    let mount = UploadOptions::default().with_mount_from(here);
    let mounted = client.push_file(&there, file(1_000_000).path(), &mount).await.unwrap();
    client.small_blob(&there, &mounted).await.unwrap();
    let absent = UploadOptions::default().with_mount_from(target.repository("up/nowhere"));
    let sent = client.push_file(&there, file(77).path(), &absent).await.unwrap();
    client.small_blob(&there, &sent).await.unwrap();
}

/// A base image at the tag `t`, with its layer.
async fn push_base(client: &Registry, repository: &Repository) -> (Descriptor, Value) {
    let config = json!({
        "os": "linux", "architecture": "amd64", "config": { "Cmd": ["sh"] },
        "rootfs": { "type": "layers", "diff_ids": [] },
    });
    let mut blobs = Vec::new();
    for (media_type, content) in
        [(media_type::OCI_CONFIG, bytes(&config)), (media_type::OCI_LAYER_GZIP, Bytes::from("layer"))]
    {
        client.push_blob(repository, content.clone()).await.unwrap();
        blobs.push(Descriptor::of(media_type, &content));
    }
    let image = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": blobs[0], "layers": [blobs[1]],
    });
    let tag = repository.with_tag("t").unwrap();
    let pushed = client.push_manifest(&tag, media_type::OCI_MANIFEST, bytes(&image)).await.unwrap();
    (pushed.descriptor, image)
}

/// A full-mode referrer of the base image.
async fn attach(
    client: &Registry,
    repository: &Repository,
    base: &(Descriptor, Value),
    note: &str,
) -> (Descriptor, Listed) {
    let layer = Bytes::from(format!("native {note}"));
    client.push_blob(repository, layer.clone()).await.unwrap();
    let layer = Descriptor::of(media_type::OCI_LAYER, &layer);
    let digest = [("containerd.io/snapshot/overlaybd/blob-digest".to_owned(), layer.digest.to_string())];
    let mut image = base.1.clone();
    image["layers"] = json!([layer.with_annotations(digest.into())]);
    image["artifactType"] = json!(artifact_type::OVERLAYBD_NATIVE);
    image["subject"] = json!(base.0);
    image["annotations"] = json!({ "note": note });
    let attached = client.attach(repository, media_type::OCI_MANIFEST, bytes(&image)).await.unwrap();
    (attached.descriptor, attached.listed)
}

async fn publishing(target: &Target) {
    let (client, repository) = (target.client(), target.repository("pub/image"));
    let base = push_base(&client, &repository).await;
    let tag = repository.with_tag("t").unwrap();
    assert_eq!(client.head_manifest(&tag).await.unwrap(), base.0);
    assert!(client.manifest_unless(&tag, &base.0.digest).await.unwrap().is_none());
    assert!(client.manifest_unless(&tag, &referrers::Digest::sha256_of(b"")).await.unwrap().is_some());

    let expected = if target.has_api { Listed::Api } else { Listed::FallbackTag };
    let one = attach(&client, &repository, &base, "one").await;
    let two = attach(&client, &repository, &base, "two").await;
    assert_eq!((one.1, two.1), (expected, expected));
    let list = async || {
        let listing = client.referrers(&repository, &base.0.digest, None).await.unwrap();
        assert_eq!(listing.api == ApiSupport::Supported, target.has_api);
        let mut notes: Vec<_> = listing
            .referrers
            .iter()
            .map(|entry| {
                assert_eq!(entry.artifact_type.as_deref(), Some(artifact_type::OVERLAYBD_NATIVE));
                entry.annotation("note").unwrap().to_owned()
            })
            .collect();
        notes.sort();
        notes
    };
    assert_eq!(list().await, ["one", "two"]);

    let resolver = Resolver::new(target.client(), ResolveOptions::default());
    let resolution = resolver.resolve(&tag, &Platform::new("linux", "amd64")).await.unwrap();
    assert_eq!(resolution.accelerated.as_ref().unwrap().kind, Kind::Native, "{}", resolution.explain());

    client.detach(&repository, &one.0.digest).await.unwrap();
    assert_eq!(list().await, ["two"]);
    assert!(client.manifest(&repository.with_digest(one.0.digest.clone())).await.unwrap_err().is_not_found());
    assert!(client.detach(&repository, &one.0.digest).await.unwrap_err().is_not_found());
    // Deleted past the list, a referrer must not block the next.
    client.delete_manifest(&repository, &two.0.digest).await.unwrap();
    let three = attach(&client, &repository, &base, "three").await;
    assert_eq!(list().await, ["three"]);
    client.detach(&repository, &three.0.digest).await.unwrap();
    assert_eq!(list().await, [""; 0]);
    assert_eq!(client.tags(&repository).await.unwrap(), ["t"], "an empty index leaves no tag behind");
    let error = client.detach(&repository, &base.0.digest).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Invalid { .. }), "{error}");
}

async fn writers(target: &Target) {
    let repository = target.repository("pub/writers");
    let client = target.client();
    let base = push_base(&client, &repository).await;
    let names: Vec<_> = (0..20).map(|n| format!("{n}")).collect();
    let all = names.iter().map(|name| attach(&client, &repository, &base, name));
    futures::future::join_all(all).await;
    let listing = client.referrers(&repository, &base.0.digest, None).await.unwrap();
    assert_eq!(listing.referrers.len(), names.len());
}

async fn absence(target: &Target) {
    let (client, repository) = (target.client(), target.repository("pub/image"));
    let absent: Reference = repository.with_tag("absent").unwrap();
    assert!(client.manifest(&absent).await.unwrap_err().is_not_found());
    assert!(client.tags(&target.repository("no/where")).await.unwrap_err().is_not_found());
}

async fn suite(target: Target) {
    blobs(&target).await;
    publishing(&target).await;
    writers(&target).await;
    absence(&target).await;
}

async fn ours(auth: Auth, has_api: bool) {
    let mut builder = registry::Registry::builder().auth(auth).redirect_blobs().chunk_min_length(1000);
    if !has_api {
        builder = builder.fault(Fault::ReferrersOff);
    }
    let server = builder.serve().await.unwrap();
    suite(Target { host: server.addr().to_string(), has_api }).await;
}

#[tokio::test]
async fn open_with_the_api() {
    ours(Auth::None, true).await;
}

#[tokio::test]
async fn open_without_the_api() {
    ours(Auth::None, false).await;
}

#[tokio::test]
async fn with_tokens() {
    ours(Auth::Bearer(Bearer::new(Account::new("user", "pass"))), true).await;
}

#[tokio::test]
async fn with_passwords_and_without_the_api() {
    ours(Auth::Basic(Account::new("user", "pass")), false).await;
}

/// A docker-registry on a free port; it ends when this is dropped.
struct DockerRegistry {
    host: String,
    _process: Child,
    _root: TempDir,
}

/// Starts it, with `auth` in its configuration; `None` if it is not installed.
async fn docker_registry(auth: &str) -> Option<DockerRegistry> {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("htpasswd"), format!("user:{HASH_OF_PASS}\n")).unwrap();
    let config = root.path().join("config.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: info}}\nhttp: {{addr: '127.0.0.1:0'}}\nstorage: {{filesystem: {{rootdirectory: {0}/s}}, delete: {{enabled: true}}}}\n{1}",
        root.path().display(),
        auth.replace("ROOT", &root.path().display().to_string()),
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null());
    let Ok(mut process) = command.stderr(Stdio::piped()).kill_on_drop(true).spawn() else {
        let mut stderr = std::io::stderr();
        writeln!(stderr, "SKIPPED: docker-registry is not installed").unwrap();
        return None;
    };
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    loop {
        let line = lines.next_line().await.unwrap().expect("docker-registry ended before it listened");
        if let Some((_, rest)) = line.split_once("listening on ") {
            let is_address = |c: &char| c.is_ascii_digit() || matches!(c, '.' | ':');
            let host = rest.chars().take_while(is_address).collect();
            // The pipe must be read for as long as the process writes to it.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Some(DockerRegistry { host, _process: process, _root: root });
        }
    }
}

#[tokio::test]
async fn debians_docker_registry() {
    if let Some(server) = docker_registry("").await {
        suite(Target { host: server.host.clone(), has_api: false }).await;
    }
}

#[tokio::test]
async fn debians_docker_registry_with_passwords() {
    if let Some(server) = docker_registry("auth: {htpasswd: {realm: r, path: ROOT/htpasswd}}\n").await {
        suite(Target { host: server.host.clone(), has_api: false }).await;
    }
}

/// Runs openssl in `root`; `None` if it is not installed.
fn openssl(root: &Path, args: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(args).current_dir(root).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut process) = openssl.spawn() else {
        let mut stderr = std::io::stderr();
        writeln!(stderr, "SKIPPED: openssl is not installed").unwrap();
        return None;
    };
    process.stdin.take().unwrap().write_all(input).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {args:?}");
    Some(output.stdout)
}

/// A token that grants what the request asks for, signed with the key in `root`.
fn token(root: &Path, request: &Request) -> Response {
    if request.header("authorization") != Some("Basic dXNlcjpwYXNz") {
        return Response::new(401);
    }
    let query = request.target.split_once('?').unwrap().1;
    let decoded = query.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
    let scopes = decoded.split('&').filter_map(|pair| pair.strip_prefix("scope=repository:"));
    let access: Vec<_> = scopes
        .map(|scope| {
            let (name, actions) = scope.rsplit_once(':').unwrap();
            let actions: Vec<_> = actions.split(',').collect();
            json!({ "type": "repository", "name": name, "actions": actions })
        })
        .collect();
    let certificate = std::fs::read_to_string(root.join("cert.pem")).unwrap();
    let certificate: String = certificate.lines().filter(|line| !line.starts_with("---")).collect();
    assert!(STANDARD.decode(&certificate).is_ok());
    let header = json!({ "typ": "JWT", "alg": "RS256", "x5c": [certificate] });
    let now = jiff::Timestamp::now().as_second();
    let claims = json!({
        "iss": "i", "sub": "user", "aud": "s", "jti": "1", "iat": now, "nbf": now - 60, "exp": now + 300,
        "access": access,
    });
    let encode = |value: &[u8]| URL_SAFE_NO_PAD.encode(value);
    let signed =
        format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    let signature = openssl(root, &["dgst", "-sha256", "-sign", "key.pem"], signed.as_bytes()).unwrap();
    let token = json!({ "token": format!("{signed}.{}", encode(&signature)), "expires_in": 300 });
    Response::ok("application/json", token.to_string())
}

#[tokio::test]
async fn debians_docker_registry_with_tokens() {
    let root = tempfile::tempdir().unwrap();
    let args = "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=t -days 2";
    if openssl(root.path(), &args.split(' ').collect::<Vec<_>>(), b"").is_none() {
        return;
    }
    let keys = root.path().to_owned();
    let tokens = Server::start(move |request| token(&keys, request)).await;
    let auth = format!(
        "auth: {{token: {{realm: 'http://{}/token', service: s, issuer: i, rootcertbundle: {}/cert.pem}}}}\n",
        tokens.host,
        root.path().display()
    );
    if let Some(server) = docker_registry(&auth).await {
        suite(Target { host: server.host.clone(), has_api: false }).await;
        assert!(!tokens.requests().is_empty());
    }
}

/// Made with bcrypt at its lowest cost.
const HASH_OF_PASS: &str = "$2b$04$NEKo/0Ft1eE.0owYjoVjNedm.IFXg2KltHkJW1BSHG85WFkQGotnG";
