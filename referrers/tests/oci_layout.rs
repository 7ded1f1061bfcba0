//! Resolving from a directory, without a registry.

use std::path::Path;

use referrers::{
    Binding, Descriptor, Digest, Error, ErrorKind, ImageSource, OciLayout, Platform, Resolution,
    ResolveOptions, Resolver, artifact_type, media_type,
};
use serde_json::{Value, json};
use tempfile::TempDir;

struct Layout {
    directory: TempDir,
    entries: Vec<Value>,
}

impl Layout {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("blobs/sha256")).unwrap();
        std::fs::write(directory.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { directory, entries: Vec::new() }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn blob(&self, digest: &Digest) -> std::path::PathBuf {
        self.path().join("blobs/sha256").join(digest.hex())
    }

    fn put(&self, media_type: &str, content: &Value) -> Descriptor {
        let bytes = content.to_string();
        let descriptor = Descriptor::of(media_type, bytes.as_bytes());
        std::fs::write(self.blob(&descriptor.digest), bytes).unwrap();
        descriptor
    }

    fn list(&mut self, descriptor: &Descriptor, name: Option<&str>) {
        let mut entry = json!(descriptor);
        if let Some(name) = name {
            entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        }
        self.entries.push(entry);
        let index = json!({ "schemaVersion": 2, "manifests": self.entries });
        std::fs::write(self.path().join("index.json"), index.to_string()).unwrap();
    }

    fn image(&self) -> Value {
        let config = json!({ "os": "linux", "architecture": "amd64", "config": { "Cmd": ["sh"] } });
        let config = self.put(media_type::OCI_CONFIG, &config);
        let layer = Descriptor::of(media_type::OCI_LAYER_GZIP, b"layer");
        json!({ "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": [layer] })
    }

    fn native(&self, base: &Descriptor) -> Descriptor {
        let layer = Descriptor::of(media_type::OCI_LAYER, b"native");
        let digest = [("containerd.io/snapshot/overlaybd/blob-digest".to_owned(), layer.digest.to_string())];
        let mut image = self.image();
        image["layers"] = json!([layer.with_annotations(digest.into())]);
        image["artifactType"] = json!(artifact_type::OVERLAYBD_NATIVE);
        image["subject"] = json!(base);
        self.put(media_type::OCI_MANIFEST, &image)
    }

    async fn resolve(&self, reference: &str) -> Result<Resolution, Error> {
        let resolver = Resolver::new(OciLayout::open(self.path())?, ResolveOptions::default());
        resolver.resolve(&reference.parse().unwrap(), &Platform::new("linux", "amd64")).await
    }
}

#[tokio::test]
async fn an_image_and_its_referrer_are_found_by_tag_or_whole_name() {
    for name in ["t", "h.io/a/b:t"] {
        let mut layout = Layout::new();
        let base = layout.put(media_type::OCI_MANIFEST, &layout.image());
        let native = layout.native(&base);
        layout.list(&base, Some(name));
        layout.list(&native, None);
        let resolution = layout.resolve("h.io/a/b:t").await.unwrap();
        let found = resolution.accelerated.as_ref().unwrap();
        assert_eq!((&found.descriptor.digest, found.binding), (&native.digest, Binding::Subject));
        let by_digest = layout.resolve(&format!("h.io/a/b@{}", base.digest)).await.unwrap();
        assert!(by_digest.accelerated.is_some());
        assert!(layout.resolve("h.io/a/b:other").await.unwrap_err().is_not_found());
    }
}

#[tokio::test]
async fn referrers_inside_indexes_are_found_and_absent_platforms_passed_over() {
    let mut layout = Layout::new();
    let base = layout.put(media_type::OCI_MANIFEST, &layout.image());
    let native = layout.native(&base);
    let absent = Descriptor::of(media_type::OCI_MANIFEST, b"absent");
    let mut entry = json!(base);
    entry["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    let top = json!({ "schemaVersion": 2, "manifests": [entry, absent] });
    let top = layout.put(media_type::OCI_INDEX, &top);
    let nested =
        layout.put(media_type::OCI_INDEX, &json!({ "schemaVersion": 2, "manifests": [native, top] }));
    layout.list(&top, Some("t"));
    layout.list(&nested, None);
    let resolution = layout.resolve("h.io/a:t").await.unwrap();
    assert_eq!(resolution.accelerated.unwrap().descriptor.digest, native.digest);
}

#[tokio::test]
async fn an_altered_configuration_is_noticed() {
    let mut layout = Layout::new();
    let image = layout.image();
    let base = layout.put(media_type::OCI_MANIFEST, &image);
    layout.list(&base, Some("t"));
    let config: Digest = image["config"]["digest"].as_str().unwrap().parse().unwrap();
    let text = std::fs::read_to_string(layout.blob(&config)).unwrap().replace("sh", "hs");
    std::fs::write(layout.blob(&config), text).unwrap();
    let error = layout.resolve("h.io/a:t").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Integrity { what: "digest", .. }), "{error}");
}

#[tokio::test]
async fn altered_bytes_are_noticed() {
    let mut layout = Layout::new();
    let base = layout.put(media_type::OCI_MANIFEST, &layout.image());
    layout.list(&base, Some("t"));
    let mut bytes = std::fs::read(layout.blob(&base.digest)).unwrap();
    bytes[20] ^= 1;
    std::fs::write(layout.blob(&base.digest), &bytes).unwrap();
    let error = layout.resolve("h.io/a:t").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Integrity { what: "digest", .. }), "{error}");
    std::fs::write(layout.blob(&base.digest), vec![b' '; (4 << 20) + 1]).unwrap();
    let error = layout.resolve("h.io/a:t").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { .. }), "{error}");
}

#[tokio::test]
async fn what_is_no_layout_is_refused() {
    let layout = Layout::new();
    for text in ["{", r#"{"imageLayoutVersion":"2.0.0"}"#] {
        std::fs::write(layout.path().join("oci-layout"), text).unwrap();
        OciLayout::open(layout.path()).unwrap_err();
    }
    assert!(OciLayout::open("/nonexistent").unwrap_err().is_not_found());
    std::fs::write(layout.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let source = OciLayout::open(layout.path()).unwrap();
    assert!(source.named(&"h.io/a:t".parse().unwrap()).await.unwrap_err().is_not_found());
}
