//! Manifests and indexes: what the registry must understand of them.
//!
//! Everything it tells about a manifest is a function of the manifest's bytes, its media type included,
//! so the store keeps nothing but the bytes.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

mod put;
mod read;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::digest::Digest;
use crate::refusal::Refusal;

/// A manifest or an index that was parsed and checked.
#[derive(Debug)]
pub(crate) struct Manifest {
    media_type: MediaType,
    fields: Fields,
}

/// The fields that matter here, by their names in the image specification; all others are kept in the
/// bytes and ignored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    schema_version: u64,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    #[serde(rename = "size")]
    _size: u64,
}

impl Manifest {
    /// Reads the bytes of a manifest.
    ///
    /// # Errors
    ///
    /// 400 if they are no JSON, lack a required field, or are both a manifest and an index.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let fields: Fields =
            serde_json::from_slice(bytes).map_err(|error| Refusal::manifest_invalid(error.to_string()))?;
        if fields.schema_version != 2 {
            return Err(Refusal::manifest_invalid("schemaVersion is not 2"));
        }
        let is_index = match (&fields.config, &fields.layers, &fields.manifests) {
            (Some(_), _, None) => false,
            (None, None, Some(_)) => true,
            _ => return Err(Refusal::manifest_invalid("neither a manifest nor an index, or both")),
        };
        let media_type = match &fields.media_type {
            Some(name) => MediaType::of(name).filter(|found| found.is_index() == is_index),
            None if is_index => Some(MediaType::OciIndex),
            None => Some(MediaType::OciManifest),
        };
        let media_type = media_type.ok_or_else(|| {
            Refusal::manifest_invalid("the mediaType is unknown, or not that of these fields")
        })?;
        if !media_type.is_oci() && fields.subject.is_some() {
            return Err(Refusal::manifest_invalid("only OCI types have a subject"));
        }
        Ok(Self { media_type, fields })
    }

    pub(crate) fn media_type(&self) -> &'static str {
        self.media_type.name()
    }

    pub(crate) fn subject(&self) -> Option<&Digest> {
        self.fields.subject.as_ref().map(|subject| &subject.digest)
    }

    /// The field, or for a manifest without it the config's media type.
    pub(crate) fn artifact_type(&self) -> Option<&str> {
        let field = self.fields.artifact_type.as_deref().filter(|field| !field.is_empty());
        field.or_else(|| self.fields.config.as_ref().map(|config| config.media_type.as_str()))
    }

    pub(crate) fn annotations(&self) -> &BTreeMap<String, String> {
        &self.fields.annotations
    }

    /// The blobs that have to be there before the manifest. Layers that may not be distributed stay
    /// where their `urls` say.
    fn blobs(&self) -> impl Iterator<Item = &Digest> {
        let layers = self.fields.layers.iter().flatten();
        let layers = layers.filter(|layer| !FOREIGN.iter().any(|word| layer.media_type.contains(word)));
        self.fields.config.iter().chain(layers).map(|descriptor| &descriptor.digest)
    }

    /// The manifests that have to be there before the index.
    fn children(&self) -> impl Iterator<Item = &Digest> {
        self.fields.manifests.iter().flatten().map(|descriptor| &descriptor.digest)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MediaType {
    OciManifest,
    OciIndex,
    DockerManifest,
    DockerList,
}

impl MediaType {
    const ALL: [Self; 4] = [Self::OciManifest, Self::OciIndex, Self::DockerManifest, Self::DockerList];

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|media_type| media_type.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::OciManifest => "application/vnd.oci.image.manifest.v1+json",
            Self::OciIndex => OCI_INDEX,
            Self::DockerManifest => "application/vnd.docker.distribution.manifest.v2+json",
            Self::DockerList => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    fn is_index(self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerList)
    }

    fn is_oci(self) -> bool {
        matches!(self, Self::OciManifest | Self::OciIndex)
    }
}

/// The media type of an OCI image index, also that of a list of referrers.
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Words in the media types of layers that are not pushed.
const FOREIGN: [&str; 2] = [".nondistributable.", ".foreign."];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(value: &Value) -> Result<Manifest, Refusal> {
        Manifest::parse(value.to_string().as_bytes())
    }

    fn descriptor(media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": Digest::sha256(b"").as_str(), "size": 0 })
    }

    #[test]
    fn a_manifest_is_not_an_index() {
        let config = descriptor("c/c");
        for confused in [
            json!({ "schemaVersion": 2 }),
            json!({ "schemaVersion": 2, "config": config, "manifests": [] }),
            json!({ "schemaVersion": 2, "layers": [], "manifests": [] }),
            json!({ "schemaVersion": 2, "config": config, "layers": [], "mediaType": OCI_INDEX }),
            json!({ "schemaVersion": 1, "config": config, "layers": [] }),
            json!({ "schemaVersion": 2, "config": config, "mediaType": "text/plain" }),
        ] {
            assert!(parse(&confused).is_err(), "{confused}");
        }
    }

    #[test]
    fn artifact_type_is_the_field_or_the_type_of_the_config() {
        let config = descriptor("c/c");
        let cases = [
            (json!({ "schemaVersion": 2, "config": config, "artifactType": "a/a" }), Some("a/a")),
            (json!({ "schemaVersion": 2, "config": config, "artifactType": "" }), Some("c/c")),
            (json!({ "schemaVersion": 2, "config": config }), Some("c/c")),
            (json!({ "schemaVersion": 2, "manifests": [], "artifactType": "a/a" }), Some("a/a")),
            (json!({ "schemaVersion": 2, "manifests": [] }), None),
        ];
        for (manifest, expected) in cases {
            assert_eq!(parse(&manifest).unwrap().artifact_type(), expected, "{manifest}");
        }
    }

    #[test]
    fn layers_that_are_not_pushed_are_not_required() {
        let foreign = descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar");
        let manifest = json!({ "schemaVersion": 2, "config": descriptor("c/c"), "layers": [foreign] });
        assert_eq!(parse(&manifest).unwrap().blobs().count(), 1);
    }
}
