//! A small registry in memory, on the scripted server, with the faults that one test wants.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use referrers::{
    Annotations, Anonymous, CredentialSource, Descriptor, Digest, Manifest, Reference, Registry,
    RegistryOptions, Repository, media_type,
};
use serde_json::{Value, json};

use super::clock::JumpingClock;
use super::server::{Request, Response, Server};

type Fault = Box<dyn Fn(&Request) -> Option<Response> + Send + Sync>;

/// Contents and behaviour.
#[derive(Default)]
pub struct Contents {
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// By tag and by digest: media type and bytes.
    pub manifests: BTreeMap<String, (String, Vec<u8>)>,
    /// Whether the Referrers API exists.
    pub api: bool,
    /// What takes precedence over everything else.
    pub faults: Vec<Fault>,
}

/// The registry and the address it is reached at.
pub struct TestRegistry {
    pub server: Server,
    pub contents: Arc<Mutex<Contents>>,
    pub repository: Repository,
    /// What the clients of this registry go by.
    pub clock: Arc<JumpingClock>,
}

impl TestRegistry {
    pub async fn start() -> Self {
        let contents = Arc::new(Mutex::new(Contents { api: true, ..Contents::default() }));
        let shared = Arc::clone(&contents);
        let server = Server::start(move |request| shared.lock().unwrap().answer(request)).await;
        let repository = Repository::new(&server.host, "a/b").unwrap();
        Self { server, contents, repository, clock: Arc::new(JumpingClock::new()) }
    }

    pub fn options(&self) -> RegistryOptions {
        let clock = Arc::clone(&self.clock);
        RegistryOptions::default().with_plain_http(self.server.host.as_str()).with_clock(clock)
    }

    pub fn client(&self) -> Registry {
        self.client_with(self.options(), Anonymous)
    }

    pub fn client_with(
        &self,
        options: RegistryOptions,
        credentials: impl CredentialSource + 'static,
    ) -> Registry {
        Registry::new(options, Arc::new(credentials)).unwrap()
    }

    pub fn without_api(self) -> Self {
        self.contents.lock().unwrap().api = false;
        self
    }

    /// What `fault` answers takes precedence.
    pub fn fault(&self, fault: impl Fn(&Request) -> Option<Response> + Send + Sync + 'static) {
        self.contents.lock().unwrap().faults.push(Box::new(fault));
    }

    pub fn tagged(&self, tag: &str) -> Reference {
        self.repository.with_tag(tag).unwrap()
    }

    pub fn put_blob(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, bytes);
        self.contents.lock().unwrap().blobs.insert(descriptor.digest.to_string(), bytes.to_vec());
        descriptor
    }

    pub fn put(&self, tag: Option<&str>, media_type: &str, body: &Value) -> Manifest {
        let bytes = body.to_string().into_bytes();
        let manifest = Manifest::parse(Bytes::from(bytes.clone()), media_type, None).unwrap();
        let mut contents = self.contents.lock().unwrap();
        for name in tag.map(str::to_owned).into_iter().chain([manifest.digest().to_string()]) {
            contents.manifests.insert(name, (media_type.to_owned(), bytes.clone()));
        }
        manifest
    }
}

/// An image manifest of the OCI family as JSON.
pub fn image(config: &Descriptor, layers: &[Descriptor]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": layers })
}

/// An index of the OCI family as JSON.
pub fn index(manifests: &[Descriptor]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests })
}

/// A referrer of `subject` without layers as JSON.
pub fn referrer(subject: &Descriptor, artifact_type: &str, note: &str) -> Value {
    let empty = Descriptor::of("application/vnd.oci.empty.v1+json", b"{}");
    let mut body = image(&empty, &[]);
    body["subject"] = json!(subject);
    body["artifactType"] = json!(artifact_type);
    body["annotations"] = json!({ "note": note });
    body
}

pub fn annotations<const N: usize>(pairs: [(&str, &str); N]) -> Annotations {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

impl Contents {
    fn answer(&mut self, request: &Request) -> Response {
        if let Some(response) = self.faults.iter().find_map(|fault| fault(request)) {
            return response;
        }
        let path = request.path();
        let Some((_, rest)) = path.split_once("/v2/a/b/") else {
            return Response::error(404, "NAME_UNKNOWN");
        };
        match (request.method.as_str(), rest.split_once('/')) {
            ("GET" | "HEAD", Some(("manifests", name))) => self.manifest(name),
            ("GET" | "HEAD", Some(("blobs", digest))) => match self.blobs.get(digest) {
                Some(bytes) => Response::ok("application/octet-stream", bytes),
                None => Response::error(404, "BLOB_UNKNOWN"),
            },
            ("GET", Some(("referrers", _))) if !self.api => {
                Response::new(404).with("content-type", "text/plain").body("404 page not found")
            }
            ("GET", Some(("referrers", subject))) => {
                Response::ok(media_type::OCI_INDEX, self.referrers(subject))
            }
            ("POST", Some(("blobs", "uploads/"))) => {
                Response::new(202).with("location", "/v2/a/b/blobs/uploads/1?state=x")
            }
            ("PUT", Some(("blobs", "uploads/1"))) => {
                let digest = request.query("digest").unwrap();
                assert_eq!(request.query("state").as_deref(), Some("x"));
                self.blobs.insert(digest.clone(), request.body.clone());
                Response::new(201).with("docker-content-digest", digest)
            }
            ("PUT", Some(("manifests", name))) => self.put_manifest(name, request),
            _ => Response::error(404, "UNSUPPORTED"),
        }
    }

    fn manifest(&self, name: &str) -> Response {
        match self.manifests.get(name) {
            Some((media_type, bytes)) => Response::ok(media_type, bytes)
                .with("docker-content-digest", Digest::sha256_of(bytes).to_string()),
            None => Response::error(404, "MANIFEST_UNKNOWN"),
        }
    }

    fn parsed(&self) -> impl Iterator<Item = Manifest> + '_ {
        let digests = self.manifests.iter().filter(|(name, _)| name.contains(':'));
        digests.filter_map(|(_, (media_type, bytes))| {
            Manifest::parse(Bytes::copy_from_slice(bytes), media_type, None).ok()
        })
    }

    fn referrers(&self, subject: &str) -> String {
        let of = |m: &Manifest| m.subject().is_some_and(|s| s.digest.as_str() == subject);
        let listed: Vec<_> = self.parsed().filter(of).map(|m| m.listed_descriptor()).collect();
        index(&listed).to_string()
    }

    fn put_manifest(&mut self, name: &str, request: &Request) -> Response {
        let media_type = request.header("content-type").unwrap().to_owned();
        let manifest = Manifest::parse(Bytes::from(request.body.clone()), &media_type, None).unwrap();
        let missing = manifest.index().and_then(|index| {
            index.manifests.iter().find(|entry| !self.manifests.contains_key(entry.digest.as_str()))
        });
        if let Some(missing) = missing {
            let body = json!({ "errors": [{ "code": "MANIFEST_BLOB_UNKNOWN", "detail": missing.digest }] });
            return Response::new(400).body(body.to_string());
        }
        for name in [name.to_owned(), manifest.digest().to_string()] {
            self.manifests.insert(name, (media_type.clone(), request.body.clone()));
        }
        let response = Response::new(201).with("docker-content-digest", manifest.digest().to_string());
        match manifest.subject() {
            Some(subject) if self.api => response.with("oci-subject", subject.digest.to_string()),
            _ => response,
        }
    }
}
