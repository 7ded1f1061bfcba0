//! Uploads that meet trouble on the way.

#[path = "support/clock.rs"]
mod clock;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use std::io::Write;
use std::sync::{Arc, Mutex};

use referrers::{Digest, ErrorKind, Repository, UploadOptions};

use registry::TestRegistry;
use server::{Request, Response};

/// An upload session that takes chunks, and breaks as a test wants.
#[derive(Default)]
struct Session {
    received: Vec<u8>,
    chunks: Vec<(String, usize)>,
}

fn location() -> Response {
    Response::new(202).with("location", "/v2/a/b/blobs/uploads/1?state=x")
}

impl Session {
    fn status(&self) -> String {
        format!("0-{}", self.received.len().saturating_sub(1))
    }

    fn patch(&mut self, request: &Request) -> Response {
        let range = request.header("content-range").unwrap().to_owned();
        let start: usize = range.split_once('-').unwrap().0.parse().unwrap();
        self.chunks.push((range, request.body.len()));
        if start != self.received.len() {
            return Response::new(416)
                .with("location", "/v2/a/b/blobs/uploads/1")
                .with("range", self.status());
        }
        self.received.extend_from_slice(&request.body);
        location().with("range", self.status())
    }
}

/// Puts a session in front of a registry; `spoil` answers a chunk instead, if it wants.
fn session(
    registry: &TestRegistry,
    spoil: impl Fn(&mut Session, &Request) -> Option<Response> + Send + Sync + 'static,
) -> Arc<Mutex<Session>> {
    let session = Arc::new(Mutex::new(Session::default()));
    let shared = Arc::clone(&session);
    registry.fault(move |request| {
        let mut session = shared.lock().unwrap();
        match request.method.as_str() {
            "PATCH" => Some(spoil(&mut session, request).unwrap_or_else(|| session.patch(request))),
            "GET" if request.path().contains("/uploads/") => Some(
                Response::new(204)
                    .with("location", "/v2/a/b/blobs/uploads/1?state=x")
                    .with("range", session.status()),
            ),
            "PUT" if request.path().contains("/uploads/") => {
                let digest = Digest::sha256_of(&session.received).to_string();
                assert_eq!(request.query("digest"), Some(digest.clone()));
                Some(Response::new(201).with("docker-content-digest", digest))
            }
            _ => None,
        }
    });
    session
}

fn file(content: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

const CONTENT: &[u8] = b"0123456789abcdefghijklmno";

#[tokio::test]
async fn chunks_follow_one_another() {
    let registry = TestRegistry::start().await;
    let session = session(&registry, |_, _| None);
    let options = UploadOptions::default().with_chunks(10);
    let descriptor =
        registry.client().push_file(&registry.repository, file(CONTENT).path(), &options).await.unwrap();
    assert_eq!((descriptor.digest, descriptor.size), (Digest::sha256_of(CONTENT), 25));
    let chunks: Vec<_> = session.lock().unwrap().chunks.iter().map(|(range, _)| range.clone()).collect();
    assert_eq!(chunks, ["0-9", "10-19", "20-24"]);
}

#[tokio::test]
async fn the_registrys_least_chunk_is_kept() {
    let registry = TestRegistry::start().await;
    let session = session(&registry, |_, _| None);
    registry.fault(|_| None);
    registry.contents.lock().unwrap().faults.insert(
        0,
        Box::new(|r: &Request| (r.method == "POST").then(|| location().with("oci-chunk-min-length", "20"))),
    );
    let options = UploadOptions::default().with_chunks(3);
    registry.client().push_file(&registry.repository, file(CONTENT).path(), &options).await.unwrap();
    let lengths: Vec<_> = session.lock().unwrap().chunks.iter().map(|(_, len)| *len).collect();
    assert_eq!(lengths, [20, 5]);
}

#[tokio::test]
async fn an_upload_goes_on_where_it_broke_off() {
    // Twice the chunk arrives in part only, and the answer is lost.
    let registry = TestRegistry::start().await;
    let broken = Mutex::new(2);
    let session = session(&registry, move |session, request| {
        let mut left = broken.lock().unwrap();
        *left = i32::checked_sub(*left, 1).filter(|left| *left >= 0)?;
        session.received.extend_from_slice(&request.body[..4]);
        Some(Response::new(503))
    });
    let options = UploadOptions::default().with_chunks(10);
    registry.client().push_file(&registry.repository, file(CONTENT).path(), &options).await.unwrap();
    assert_eq!(session.lock().unwrap().received, CONTENT);
}

#[tokio::test]
async fn an_upload_that_makes_no_progress_ends() {
    let registry = TestRegistry::start().await;
    session(&registry, |_, _| Some(Response::new(503)));
    let options = UploadOptions::default().with_chunks(10);
    let upload = registry.client().push_file(&registry.repository, file(CONTENT).path(), &options).await;
    assert!(upload.unwrap_err().is_transient());
    assert_eq!(registry.server.count("PATCH"), 5);
}

#[tokio::test]
async fn a_registry_that_miscounts_is_noticed() {
    let registry = TestRegistry::start().await;
    session(&registry, |_, _| Some(location().with("range", "0-5")));
    let options = UploadOptions::default().with_chunks(10);
    let upload = registry.client().push_file(&registry.repository, file(CONTENT).path(), &options).await;
    assert!(matches!(upload.unwrap_err().kind(), ErrorKind::Protocol { .. }));
}

#[tokio::test]
async fn a_file_is_sent_with_its_length_and_again_after_a_challenge() {
    let registry = TestRegistry::start().await;
    let content = vec![7; 3_000_000];
    registry.fault(|r| {
        let challenge = Response::new(401).with("www-authenticate", "Basic realm=\"r\"");
        (r.method == "PUT" && r.header("authorization").is_none()).then_some(challenge)
    });
    let login = vec![referrers::Credential::password("user", "pass")];
    let source = referrers::StaticCredentials::new(registry.server.host.as_str(), login);
    let client = registry.client_with(registry.options(), source);
    client.push_file(&registry.repository, file(&content).path(), &UploadOptions::default()).await.unwrap();
    let puts: Vec<_> = registry.server.requests().into_iter().filter(|r| r.method == "PUT").collect();
    assert_eq!(puts.len(), 2);
    assert!(puts.iter().all(|r| r.header("content-length") == Some("3000000") && r.body == content));
}

#[tokio::test]
async fn a_blob_is_mounted_or_sent() {
    for mounted in [true, false] {
        let registry = TestRegistry::start().await;
        registry.fault(move |r| (mounted && r.query("mount").is_some()).then(|| Response::new(201)));
        let from = Repository::new(&registry.server.host, "c/d").unwrap();
        let options = UploadOptions::default().with_mount_from(from);
        registry.client().push_file(&registry.repository, file(CONTENT).path(), &options).await.unwrap();
        let post = registry.server.requests().into_iter().find(|r| r.method == "POST").unwrap();
        assert_eq!(post.query("mount"), Some(Digest::sha256_of(CONTENT).to_string()));
        assert_eq!(post.query("from").as_deref(), Some("c/d"));
        assert_eq!(registry.server.count("PUT"), usize::from(!mounted));
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let registry = TestRegistry::start().await;
    let path = "/nonexistent/blob";
    let upload = registry.client().push_file(&registry.repository, path, &UploadOptions::default()).await;
    let error = upload.unwrap_err();
    assert!(error.to_string().contains(path), "{error}");
    assert!(registry.server.requests().is_empty());
}
