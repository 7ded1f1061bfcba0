//! The documents of an accelerated image: configuration, manifest and index, made from those of the
//! ordinary image.
//!
//! ```text
//!  index ◄──────── subject ─────── index        artifact type
//!   └ manifest ◄── subject ──────── └ manifest  artifact type
//!      ├ config                        ├ config  with the DiffIDs of the layers below
//!      └ layers                        └ layers  with the annotations that snapshotters go by
//! ```
//!
//! They are OCI documents whatever the ordinary image is, because only those have a subject. What is not
//! named here is copied.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use overlaybd_format::Uuid;
use referrers::{Annotations, Descriptor, Digest, ImageManifest, Manifest, artifact_type, media_type};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A layer of an accelerated image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLayer {
    /// The digest of its uncompressed tar.
    pub diff_id: Digest,
    /// The blob, with its annotations.
    pub descriptor: Descriptor,
}

impl ImageLayer {
    /// A full layer of the filesystem `fs_type`. To an image it is a tar that is not compressed, so blob and
    /// DiffID are one.
    pub fn full(blob: Descriptor, fs_type: &str) -> Self {
        let diff_id = blob.digest.clone();
        Self { diff_id, descriptor: annotated(blob, fs_type, FULL_VERSION, []) }
    }

    /// An index-only layer over `target`, a layer of the ordinary image.
    pub fn index_only(blob: Descriptor, diff_id: Digest, target: &Descriptor, target_is_gzip: bool) -> Self {
        let docker = target.media_type.starts_with(DOCKER);
        let target_type = match (docker, target_is_gzip) {
            (true, true) => media_type::DOCKER_LAYER_GZIP,
            (true, false) => media_type::DOCKER_LAYER,
            (false, true) => media_type::OCI_LAYER_GZIP,
            (false, false) => media_type::OCI_LAYER,
        };
        let target =
            [(TARGET_DIGEST, target.digest.to_string()), (TARGET_MEDIA_TYPE, target_type.to_owned())];
        Self { diff_id, descriptor: annotated(blob, EROFS, INDEX_ONLY_VERSION, target) }
    }

    /// The layer of the ordinary image that it points into, if it is index-only.
    pub fn target(&self) -> Option<&str> {
        self.descriptor.annotation(TARGET_DIGEST)
    }
}

fn annotated<const N: usize>(
    mut blob: Descriptor,
    fs_type: &str,
    version: &str,
    more: [(&str, String); N],
) -> Descriptor {
    let all = [
        (BLOB_DIGEST, blob.digest.to_string()),
        (BLOB_SIZE, blob.size.to_string()),
        (FS_TYPE, fs_type.to_owned()),
        (VERSION, version.to_owned()),
    ];
    blob.annotations.extend(all.into_iter().chain(more).map(|(key, value)| (key.to_owned(), value)));
    blob
}

/// The DiffIDs that an image configuration lists.
///
/// # Errors
///
/// If the bytes are no image configuration.
pub fn diff_ids(config: &[u8]) -> Result<Vec<Digest>> {
    #[derive(Deserialize)]
    struct Config {
        rootfs: RootFs,
    }
    #[derive(Deserialize)]
    struct RootFs {
        diff_ids: Vec<Digest>,
    }
    let config: Config = serde_json::from_slice(config).context("reading the image configuration")?;
    Ok(config.rootfs.diff_ids)
}

/// The configuration `source` with the DiffIDs of `layers`.
///
/// # Errors
///
/// As [`diff_ids`].
pub fn config(source: &[u8], layers: &[ImageLayer]) -> Result<Bytes> {
    let mut config: Value = serde_json::from_slice(source).context("reading the image configuration")?;
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    let listed = config.pointer_mut("/rootfs/diff_ids").context("an image configuration without DiffIDs")?;
    *listed = json!(diff_ids);
    Ok(serde_json::to_vec(&config)?.into())
}

/// The artifact type of an image with these layers. One layer that needs its target makes it index-only.
pub fn artifact_type(layers: &[ImageLayer]) -> &'static str {
    if layers.iter().any(|layer| layer.target().is_some()) {
        artifact_type::OVERLAYBD_TURBO
    } else {
        artifact_type::OVERLAYBD_NATIVE
    }
}

/// The manifest of an image with these layers, as a referrer of `source`, whose content is `image`.
///
/// # Errors
///
/// None in practice: what it consists of is text.
pub fn manifest(
    source: &Manifest,
    image: &ImageManifest,
    config: &Descriptor,
    layers: &[ImageLayer],
) -> Result<Bytes> {
    let manifest = Image {
        schema_version: 2,
        media_type: media_type::OCI_MANIFEST,
        artifact_type: artifact_type(layers),
        config,
        layers: layers.iter().map(|layer| &layer.descriptor).collect(),
        subject: source.descriptor(),
        annotations: &image.annotations,
    };
    Ok(serde_json::to_vec(&manifest)?.into())
}

/// The index of the converted `children`, each with its position in `source`, as a referrer of that.
///
/// # Errors
///
/// If there is no child, or `source` does not have as many entries.
pub fn index(source: &Manifest, children: &[(usize, Descriptor)], artifact_type: &str) -> Result<Bytes> {
    ensure!(!children.is_empty(), "the index has no image to convert");
    let whole: Value = serde_json::from_slice(source.bytes())?;
    let entry = |(position, converted): &(usize, Descriptor)| {
        let entry = whole.pointer(&format!("/manifests/{position}"));
        let mut entry = entry.and_then(Value::as_object).context("no such entry in the index")?.clone();
        // The bytes of the manifest that was converted, and where those may be had.
        for of_the_source in ["data", "urls"] {
            entry.remove(of_the_source);
        }
        let Value::Object(fields) = json!(converted) else { anyhow::bail!("a descriptor is an object") };
        entry.extend(fields);
        anyhow::Ok(Value::Object(entry))
    };
    let manifests = children.iter().map(entry).collect::<Result<Vec<_>>>()?;
    let index = Index {
        schema_version: 2,
        media_type: media_type::OCI_INDEX,
        artifact_type,
        manifests,
        subject: source.descriptor(),
        annotations: source.annotations(),
    };
    Ok(serde_json::to_vec(&index)?.into())
}

/// The ChainIDs of layers with these DiffIDs, bottom first: what names each with all below it (OCI image
/// specification, "Layer ChainID").
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let id = match chain.last() {
            None => diff_id.clone(),
            Some(below) => Digest::sha256_of(format!("{below} {diff_id}").as_bytes()),
        };
        chain.push(id);
    }
    chain
}

/// The identity of a layer by its ChainID: the first 32 digits.
pub fn uuid(chain_id: &Digest) -> Uuid {
    let mut bytes = [0; 16];
    for (byte, digits) in bytes.iter_mut().zip(chain_id.hex().as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        *byte = u8::from_str_radix(digits, 16).unwrap_or_default();
    }
    Uuid::from_bytes(bytes)
}

/// OCI image specification, "OCI Image Manifest".
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Image<'a> {
    schema_version: u32,
    media_type: &'a str,
    artifact_type: &'a str,
    config: &'a Descriptor,
    layers: Vec<&'a Descriptor>,
    subject: Descriptor,
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    annotations: &'a Annotations,
}

/// OCI image specification, "OCI Image Index".
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u32,
    media_type: &'a str,
    artifact_type: &'a str,
    manifests: Vec<Value>,
    subject: Descriptor,
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    annotations: &'a Annotations,
}

/// The annotations by which snapshotters tell an overlaybd layer, and the versions that they expect.
const BLOB_DIGEST: &str = "containerd.io/snapshot/overlaybd/blob-digest";
const BLOB_SIZE: &str = "containerd.io/snapshot/overlaybd/blob-size";
const FS_TYPE: &str = "containerd.io/snapshot/overlaybd/blob-fs-type";
const VERSION: &str = "containerd.io/snapshot/overlaybd/version";
const TARGET_DIGEST: &str = "containerd.io/snapshot/overlaybd/turbo-oci/target-digest";
const TARGET_MEDIA_TYPE: &str = "containerd.io/snapshot/overlaybd/turbo-oci/target-media-type";
/// The filesystem that a conversion makes.
pub const EROFS: &str = "erofs";
const FULL_VERSION: &str = "0.1.0";
const INDEX_ONLY_VERSION: &str = "0.1.0-turbo.ociv1";

/// How the media types of Docker's layers begin.
const DOCKER: &str = "application/vnd.docker.";

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::sha256_of(text.as_bytes())
    }

    fn parsed(bytes: &Bytes) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn a_configuration_keeps_all_but_its_diff_ids() {
        let source = json!({
            "os": "linux", "architecture": "arm64", "created": "2024-01-01T00:00:00Z",
            "config": { "Cmd": ["sh"], "Unknown": { "kept": 1.5 } },
            "rootfs": { "type": "layers", "diff_ids": [digest("a")] },
            "history": [{ "empty_layer": true }, {}],
        });
        let source = source.to_string();
        assert_eq!(diff_ids(source.as_bytes()).unwrap(), [digest("a")]);
        let layer = ImageLayer::full(Descriptor::of(media_type::OCI_LAYER, b"blob"), EROFS);
        let made = parsed(&config(source.as_bytes(), &[layer]).unwrap());
        let mut expected: Value = serde_json::from_str(&source).unwrap();
        expected["rootfs"]["diff_ids"] = json!([digest("blob")]);
        assert_eq!(made, expected);
        for broken in ["[]", "{}", r#"{"rootfs":{"diff_ids":["x"]}}"#] {
            diff_ids(broken.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn the_type_of_a_target_is_that_of_its_family_and_its_bytes() {
        for (given, gzip, expected) in [
            (media_type::OCI_LAYER_GZIP, true, media_type::OCI_LAYER_GZIP),
            (media_type::OCI_LAYER_GZIP, false, media_type::OCI_LAYER),
            (media_type::DOCKER_LAYER, true, media_type::DOCKER_LAYER_GZIP),
            (media_type::DOCKER_LAYER_GZIP, false, media_type::DOCKER_LAYER),
        ] {
            let target = Descriptor::of(given, b"target");
            let blob = Descriptor::of(media_type::OCI_LAYER_GZIP, b"blob");
            let layer = ImageLayer::index_only(blob, digest("tar"), &target, gzip);
            assert_eq!(layer.descriptor.annotation(TARGET_MEDIA_TYPE), Some(expected));
            assert_eq!(layer.target(), Some(target.digest.as_str()));
        }
    }

    #[test]
    fn an_entry_keeps_what_is_not_of_the_manifest_before() {
        let child = Descriptor::of(media_type::DOCKER_MANIFEST, b"child");
        let mut entry = json!(child);
        entry["platform"] = json!({ "os": "linux", "architecture": "arm64", "features": ["x"] });
        entry["annotations"] = json!({ "a": "b" });
        entry["data"] = json!("Y2hpbGQ=");
        let source = json!({
            "schemaVersion": 2, "mediaType": media_type::DOCKER_LIST,
            "manifests": [json!(Descriptor::of(media_type::DOCKER_MANIFEST, b"skipped")), entry],
        });
        let source = Manifest::parse(source.to_string().into(), media_type::DOCKER_LIST, None).unwrap();
        let converted = Descriptor::of(media_type::OCI_MANIFEST, b"converted");
        let made = index(&source, &[(1, converted.clone())], artifact_type::OVERLAYBD_NATIVE).unwrap();
        let expected = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_INDEX,
            "artifactType": artifact_type::OVERLAYBD_NATIVE,
            "manifests": [{
                "mediaType": media_type::OCI_MANIFEST,
                "digest": converted.digest, "size": converted.size,
                "platform": { "os": "linux", "architecture": "arm64", "features": ["x"] },
                "annotations": { "a": "b" },
            }],
            "subject": source.descriptor(),
        });
        assert_eq!(parsed(&made), expected);
        index(&source, &[], artifact_type::OVERLAYBD_NATIVE).unwrap_err();
    }

    #[test]
    fn chain_ids_and_their_uuids() {
        let ids = chain_ids(&[digest("a"), digest("b")]);
        let both = format!("{} {}", digest("a"), digest("b"));
        assert_eq!(ids, [digest("a"), Digest::sha256_of(both.as_bytes())]);
        // SHA-256 of "a" begins with ca978112 ca1bbdca fac231b3 9a23dc4d.
        assert_eq!(uuid(&ids[0]).to_string(), "CA978112-CA1B-BDCA-FAC2-31B39A23DC4D");
    }
}
