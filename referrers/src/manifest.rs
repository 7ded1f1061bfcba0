//! Manifests: image manifests and indexes of both families, as read from a registry.
//!
//! A [`Manifest`] keeps the bytes it was read from, because its digest names those bytes and not what
//! they mean. Unknown fields are ignored; contradictions are not:
//!
//! * a body with the fields of an image *and* of an index is refused, because two readers could
//!   understand it differently (CVE-2021-41190);
//! * a body whose `mediaType` is not the type that it was served or listed as is refused, likewise;
//! * a repeated `mediaType`, `artifactType` or `subject` is refused, because readers disagree which counts.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::descriptor::{Annotations, expect, null_is_default};
use crate::media_type::{self, DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use crate::{Descriptor, Digest, Error, ErrorKind, Result};

/// A manifest with the bytes that its digest names.
///
/// ```
/// use referrers::{Manifest, media_type};
///
/// let bytes = r#"{"schemaVersion": 2, "manifests": []}"#;
/// let manifest = Manifest::parse(bytes.into(), media_type::OCI_INDEX, None)?;
/// assert_eq!(manifest.bytes(), bytes);
/// assert!(manifest.index().is_some_and(|index| index.manifests.is_empty()));
/// # Ok::<_, referrers::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Manifest {
    bytes: Bytes,
    media_type: &'static str,
    digest: Digest,
    content: Content,
}

/// What a manifest holds.
#[derive(Debug, Clone)]
pub enum Content {
    /// One image, or another artifact of that shape.
    Image(ImageManifest),
    /// A list of manifests.
    Index(Index),
}

/// An image manifest.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ImageManifest {
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// The field `artifactType`, if it is not empty.
    pub artifact_type: Option<String>,
    /// The manifest that this one belongs to.
    pub subject: Option<Descriptor>,
    /// Annotations of the manifest.
    pub annotations: Annotations,
}

/// An index or manifest list.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Index {
    /// The entries that can be read, in the order they are listed in.
    pub manifests: Vec<Descriptor>,
    /// How many entries cannot be read, for example because of an unknown digest algorithm.
    pub skipped: usize,
    /// The field `artifactType`, if it is not empty.
    pub artifact_type: Option<String>,
    /// The manifest that this one belongs to.
    pub subject: Option<Descriptor>,
    /// Annotations of the index.
    pub annotations: Annotations,
}

impl Manifest {
    /// Reads a manifest of `media_type`, the type it was served or listed as.
    ///
    /// The digest is computed by the algorithm of `expected` if there is one, and then has to be equal.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Integrity`] for another digest or media type, [`ErrorKind::Unsupported`] for a type
    /// that is not one of the four, [`ErrorKind::Protocol`] for a body that is not of that type.
    pub fn parse(bytes: Bytes, media_type: &str, expected: Option<&Digest>) -> Result<Self> {
        let place = expected.map_or("manifest", Digest::as_str);
        Self::parse_at(bytes, media_type, expected, place)
    }

    pub(crate) fn parse_at(
        bytes: Bytes,
        media_type: &str,
        expected: Option<&Digest>,
        place: &str,
    ) -> Result<Self> {
        let digest = match expected {
            Some(expected) => {
                expected.verify(&bytes, place)?;
                expected.clone()
            }
            None => Digest::sha256_of(&bytes),
        };
        let essence = media_type::essence(media_type);
        let media_type = MANIFEST_TYPES.into_iter().find(|known| *known == essence).ok_or_else(|| {
            let value = crate::error::printable(&essence);
            Error::new(ErrorKind::Unsupported { what: "manifest media type", value }, place)
        })?;
        let body: Body = serde_json::from_slice(&bytes)
            .map_err(|e| Error::protocol(place, "manifest", "not the JSON it should be").because(e))?;
        let content = body.into_content(media_type, place)?;
        Ok(Self { bytes, media_type, digest, content })
    }

    /// The bytes as they were served.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The digest of the bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The media type.
    pub fn media_type(&self) -> &str {
        self.media_type
    }

    /// What it holds.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// The image manifest, if it is one.
    pub fn image(&self) -> Option<&ImageManifest> {
        match &self.content {
            Content::Image(image) => Some(image),
            Content::Index(_) => None,
        }
    }

    /// The index, if it is one.
    pub fn index(&self) -> Option<&Index> {
        match &self.content {
            Content::Index(index) => Some(index),
            Content::Image(_) => None,
        }
    }

    /// The manifest that this one says it belongs to.
    pub fn subject(&self) -> Option<&Descriptor> {
        match &self.content {
            Content::Image(image) => image.subject.as_ref(),
            Content::Index(index) => index.subject.as_ref(),
        }
    }

    /// The annotations.
    pub fn annotations(&self) -> &Annotations {
        match &self.content {
            Content::Image(image) => &image.annotations,
            Content::Index(index) => &index.annotations,
        }
    }

    /// What it is by the rule of OCI distribution-spec "Listing Referrers": the field `artifactType`, else
    /// the type of an image manifest's configuration, else nothing.
    pub fn artifact_type(&self) -> Option<&str> {
        match &self.content {
            Content::Image(image) => Some(image.artifact_type.as_deref().unwrap_or(&image.config.media_type)),
            Content::Index(index) => index.artifact_type.as_deref(),
        }
    }

    /// The descriptor of this manifest as a subject names it: media type, digest and size.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type, self.digest.clone(), self.bytes.len() as u64)
    }

    /// The descriptor of this manifest as a list of referrers holds it: with artifact type and annotations.
    pub fn listed_descriptor(&self) -> Descriptor {
        let mut descriptor = self.descriptor().with_annotations(self.annotations().clone());
        descriptor.artifact_type = self.artifact_type().map(str::to_owned);
        descriptor
    }
}

/// Both kinds at once, so that a body that mixes them is seen as such. Serde refuses repeated fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    schema_version: u64,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Entry>>,
    fs_layers: Option<IgnoredAny>,
    subject: Option<Descriptor>,
    #[serde(default, deserialize_with = "null_is_default")]
    annotations: Annotations,
}

/// An entry of an index. One that cannot be read says nothing about the others.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Readable(Box<Descriptor>),
    Unreadable(IgnoredAny),
}

impl Body {
    fn into_content(self, media_type: &'static str, place: &str) -> Result<Content> {
        let broken = |why: &'static str| Error::protocol(place, "manifest", why);
        if self.schema_version != 2 {
            return Err(broken("schemaVersion is not 2"));
        }
        if let Some(own) = &self.media_type {
            expect("media type", media_type, own, place)?;
        }
        let looks_like_image = self.config.is_some() || self.layers.is_some() || self.fs_layers.is_some();
        if looks_like_image && self.manifests.is_some() {
            return Err(broken("it has the fields of an image and of an index"));
        }
        // The Docker types define no subject; one that stands there binds nothing.
        let oci = matches!(media_type, OCI_MANIFEST | OCI_INDEX);
        let subject = self.subject.filter(|_| oci);
        let artifact_type = self.artifact_type.filter(|text| oci && !text.is_empty());
        let annotations = self.annotations;
        if media_type::is_index(media_type) {
            let entries = self.manifests.ok_or_else(|| broken("an index without manifests"))?;
            let listed = entries.len();
            let manifests: Vec<_> = entries.into_iter().filter_map(Entry::readable).collect();
            let skipped = listed.saturating_sub(manifests.len());
            return Ok(Content::Index(Index { manifests, skipped, artifact_type, subject, annotations }));
        }
        let config = self.config.ok_or_else(|| broken("an image without config"))?;
        let layers = self.layers.ok_or_else(|| broken("an image without layers"))?;
        Ok(Content::Image(ImageManifest { config, layers, artifact_type, subject, annotations }))
    }
}

impl Entry {
    fn readable(self) -> Option<Descriptor> {
        match self {
            Self::Readable(descriptor) => Some(*descriptor),
            Self::Unreadable(_) => None,
        }
    }
}

/// The types that are read. Schema 1 has no digest that can be trusted and the artifact manifest of the
/// OCI release candidates was withdrawn; both are refused like any unknown type.
const MANIFEST_TYPES: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}"#;

    fn parse(media_type: &str, body: &str) -> Result<Manifest> {
        Manifest::parse(Bytes::copy_from_slice(body.as_bytes()), media_type, None)
    }

    fn image(more: &str) -> String {
        format!(r#"{{"schemaVersion":2,"config":{CONFIG},"layers":[{CONFIG}]{more}}}"#)
    }

    #[test]
    fn bytes_and_unknown_fields_are_kept() {
        let body = image(r#","annotations":null,"x":{"y":[1]}"#);
        let manifest = parse("application/vnd.oci.image.manifest.v1+json; charset=utf-8", &body).unwrap();
        assert_eq!(manifest.bytes(), body.as_bytes());
        assert_eq!(manifest.digest(), &Digest::sha256_of(body.as_bytes()));
        assert_eq!(manifest.artifact_type(), Some(media_type::OCI_CONFIG));
        assert_eq!(manifest.image().unwrap().layers.len(), 1);
    }

    #[test]
    fn type_confusion_is_refused() {
        for (media_type, more) in [
            (OCI_MANIFEST, r#","manifests":[]"#),
            (OCI_INDEX, r#","manifests":[]"#),
            (OCI_MANIFEST, r#","mediaType":"application/vnd.oci.image.index.v1+json""#),
            (DOCKER_MANIFEST, r#","mediaType":"application/vnd.oci.image.manifest.v1+json""#),
            (OCI_INDEX, ""),
        ] {
            assert!(parse(media_type, &image(more)).is_err(), "{media_type} {more}");
        }
        assert!(parse(OCI_INDEX, r#"{"schemaVersion":2,"fsLayers":[],"manifests":[]}"#).is_err());
    }

    #[test]
    fn repeated_keys_are_refused() {
        let subject = format!(r#","subject":{CONFIG}"#);
        let artifact_type = r#","artifactType":"a/b""#;
        let media_type = format!(r#","mediaType":"{OCI_MANIFEST}""#);
        for once in [&*subject, artifact_type, &*media_type] {
            assert!(parse(OCI_MANIFEST, &image(once)).is_ok(), "{once}");
            let error = parse(OCI_MANIFEST, &image(&once.repeat(2))).unwrap_err();
            assert!(error.to_string().contains("duplicate field"), "{error}");
        }
    }

    #[test]
    fn withdrawn_types_are_refused() {
        for media_type in [
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "application/vnd.docker.distribution.manifest.v1+json",
            "application/vnd.oci.artifact.manifest.v1+json",
            "application/json",
            "",
        ] {
            let error = parse(media_type, &image("")).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
        }
        assert!(parse(OCI_MANIFEST, &image("").replace(":2,", ":1,")).is_err());
    }

    #[test]
    fn one_unreadable_entry_does_not_hide_the_others() {
        let odd = CONFIG.replace("sha256:44", "blake3:44");
        let body = format!(r#"{{"schemaVersion":2,"manifests":[{odd},{CONFIG},7],"subject":{CONFIG}}}"#);
        let manifest = parse(OCI_INDEX, &body).unwrap();
        let index = manifest.index().unwrap();
        assert_eq!((index.manifests.len(), index.skipped), (1, 2));
        assert!(index.subject.is_some());
        assert_eq!(manifest.artifact_type(), None);
    }

    #[test]
    fn docker_types_have_no_subject() {
        let manifest = parse(DOCKER_MANIFEST, &image(&format!(r#","subject":{CONFIG}"#))).unwrap();
        assert!(manifest.subject().is_none());
    }

    #[test]
    fn bytes_of_another_digest_are_refused() {
        let other = Digest::sha256_of(b"other");
        let error = Manifest::parse(Bytes::from(image("")), OCI_MANIFEST, Some(&other)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Integrity { what: "digest", .. }), "{error}");
    }

    #[test]
    fn hostile_json_is_an_error() {
        let deep = "[".repeat(100_000);
        for body in ["", "{}", "[]", "null", "<html>", &deep, r#"{"schemaVersion":2,"layers":[]}"#] {
            assert!(parse(OCI_MANIFEST, body).is_err(), "{}", &body[..body.len().min(40)]);
        }
        let negative = image("").replace("\"size\":2", "\"size\":-2");
        assert!(parse(OCI_MANIFEST, &negative).is_err());
    }
}
