//! Base images and accelerated images as converters write them.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use referrers::{Descriptor, Digest, Manifest, Platform, artifact_type, media_type};
use serde_json::{Value, json};

use super::registry::{TestRegistry, annotations, image, index};

const PREFIX: &str = "containerd.io/snapshot/overlaybd";

pub fn amd64() -> Platform {
    Platform::new("linux", "amd64")
}

pub fn config(architecture: &str, created: &str, command: &str) -> Value {
    json!({
        "os": "linux", "architecture": architecture, "created": created,
        "config": { "Cmd": [command], "Env": ["PATH=/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [] },
    })
}

/// An ordinary gzipped layer.
pub fn plain_layer(name: &str) -> Descriptor {
    Descriptor::of(media_type::OCI_LAYER_GZIP, name.as_bytes())
}

/// A full-mode layer.
pub fn native_layer(name: &str) -> Descriptor {
    let layer = Descriptor::of(media_type::OCI_LAYER, format!("native {name}").as_bytes());
    let (digest, size) = (layer.digest.to_string(), layer.size.to_string());
    let (digest_key, size_key) = (format!("{PREFIX}/blob-digest"), format!("{PREFIX}/blob-size"));
    layer.with_annotations(annotations([(&digest_key, &digest), (&size_key, &size)]))
}

/// An index-only layer of `target`.
pub fn turbo_layer(target: &Descriptor) -> Descriptor {
    let layer = Descriptor::of(media_type::OCI_LAYER_GZIP, format!("turbo {}", target.digest).as_bytes());
    let target_keys =
        ["turbo-oci/target-digest", "turbo-oci/target-media-type"].map(|key| format!("{PREFIX}/{key}"));
    let target_digest = target.digest.to_string();
    layer.with_annotations(annotations([
        (&target_keys[0], &target_digest),
        (&target_keys[1], media_type::OCI_LAYER_GZIP),
    ]))
}

/// A registry with a base image of two layers at the tag `t`.
pub struct Scene {
    pub registry: TestRegistry,
    pub layers: Vec<Descriptor>,
    pub config: Descriptor,
    pub base: Manifest,
}

impl Scene {
    pub async fn new() -> Self {
        let registry = TestRegistry::start().await;
        let config = config("amd64", "2025-01-01T00:00:00Z", "sh");
        let config = registry.put_blob(media_type::OCI_CONFIG, config.to_string().as_bytes());
        let layers = vec![plain_layer("one"), plain_layer("two")];
        let base = registry.put(Some("t"), media_type::OCI_MANIFEST, &image(&config, &layers));
        Self { registry, layers, config, base }
    }

    /// A full-mode image of the base image as its referrer.
    pub fn native(&self) -> Value {
        let layers = [native_layer("one"), native_layer("two")];
        self.referrer(&layers, artifact_type::OVERLAYBD_NATIVE)
    }

    /// An index-only image of the base image as its referrer.
    pub fn turbo(&self) -> Value {
        let layers: Vec<_> = self.layers.iter().map(turbo_layer).collect();
        self.referrer(&layers, artifact_type::OVERLAYBD_TURBO)
    }

    pub fn referrer(&self, layers: &[Descriptor], artifact_type: &str) -> Value {
        let mut body = image(&self.config, layers);
        body["subject"] = json!(self.base.descriptor());
        body["artifactType"] = json!(artifact_type);
        body
    }

    pub fn put(&self, body: &Value) -> Digest {
        self.registry.put(None, media_type::OCI_MANIFEST, body).digest().clone()
    }

    pub fn put_config(&self, body: &Value) -> Descriptor {
        self.registry.put_blob(media_type::OCI_CONFIG, body.to_string().as_bytes())
    }
}

/// The same descriptor for a platform of an index.
pub fn on(platform: Platform, mut entry: Descriptor) -> Descriptor {
    entry.platform = Some(platform);
    entry
}

/// An index of one accelerated manifest as a referrer of `subject`.
pub fn index_referrer(subject: &Descriptor, child: &Manifest, artifact_type: &str) -> Value {
    let mut body = index(&[on(amd64(), child.descriptor())]);
    body["subject"] = json!(subject);
    body["artifactType"] = json!(artifact_type);
    body
}
