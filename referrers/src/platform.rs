//! Platforms, and the choice of one manifest from an index.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Descriptor, Error, Index, Result};

/// What an image runs on, in the words of Go's `GOOS` and `GOARCH` (OCI image-spec "Image Index").
///
/// ```
/// use referrers::Platform;
///
/// let board = Platform::new("linux", "arm").with_variant("v7");
/// assert_eq!("linux/arm/v7".parse::<Platform>()?, board);
/// assert!(Platform::new("linux", "arm64").is_same(&"linux/arm64/v8".parse()?));
/// # Ok::<_, referrers::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Platform {
    /// Operating system, such as `linux`.
    #[serde(default)]
    pub os: String,
    /// Processor architecture, such as `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// Variant of the architecture, such as `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Version of the operating system; only Windows images have one.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
}

impl Platform {
    /// A platform without variant.
    pub fn new(os: impl Into<String>, architecture: impl Into<String>) -> Self {
        Self { os: os.into(), architecture: architecture.into(), variant: None, os_version: None }
    }

    /// The same platform with a variant.
    #[must_use]
    pub fn with_variant(mut self, variant: impl Into<String>) -> Self {
        self.variant = Some(variant.into());
        self
    }

    /// The Linux platform of the processor that this program was compiled for.
    pub fn current() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::new("linux", architecture)
    }

    /// Whether both name the same platform, an unnamed variant being the usual one of the architecture.
    pub fn is_same(&self, other: &Self) -> bool {
        self.os == other.os
            && self.architecture == other.architecture
            && self.effective_variant() == other.effective_variant()
    }

    /// How well an image for `image` runs here; higher is better, `None` is not at all.
    ///
    /// A numbered variant runs the code of lower ones: `arm/v7` takes `v6` where there is no `v7`.
    fn suits(&self, image: &Self) -> Option<u8> {
        if self.os != image.os || self.architecture != image.architecture {
            return None;
        }
        if let (Some(here), Some(there)) = (&self.os_version, &image.os_version)
            && here != there
        {
            return None;
        }
        if self.effective_variant() == image.effective_variant() {
            return Some(u8::MAX);
        }
        let number = |p: &Self| p.effective_variant().strip_prefix('v').and_then(|n| n.parse::<u8>().ok());
        match (number(self), number(image)) {
            (Some(here), Some(there)) if there < here => Some(there),
            _ => None,
        }
    }

    fn effective_variant(&self) -> &str {
        match (self.variant.as_deref().unwrap_or_default(), self.architecture.as_str()) {
            ("", "arm64") => "v8",
            ("", "arm") => "v7",
            ("", "amd64") => "v1",
            (variant, _) => variant,
        }
    }

    /// The entry of `index` for this platform: the best variant, and among equals the first listed. An
    /// entry with an artifact type is something made for an image, and taken only where no image is.
    ///
    /// If none suits, the indexes inside the index, for the caller to look into.
    pub(crate) fn choose<'a>(&self, index: &'a Index) -> Vec<&'a Descriptor> {
        let images = index.manifests.iter().filter(|entry| !is_attestation(entry));
        let (nested, images): (Vec<_>, Vec<_>) =
            images.partition(|entry| crate::media_type::is_index(&entry.media_type));
        let mut best: Option<((bool, u8), &Descriptor)> = None;
        for entry in images {
            let fit = entry.platform.as_ref().and_then(|platform| self.suits(platform));
            let score = fit.map(|fit| (entry.artifact_type.is_none(), fit));
            if let Some(score) = score
                && best.is_none_or(|(held, _)| score > held)
            {
                best = Some((score, entry));
            }
        }
        match best {
            Some((_, entry)) => vec![entry],
            None => nested,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// Reads `os/architecture` or `os/architecture/variant`.
    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<_> = text.split('/').collect();
        match *parts.as_slice() {
            _ if parts.contains(&"") => {}
            [os, architecture] => return Ok(Self::new(os, architecture)),
            [os, architecture, variant] => return Ok(Self::new(os, architecture).with_variant(variant)),
            _ => {}
        }
        Err(Error::invalid("platform", text, "not os/architecture or os/architecture/variant"))
    }
}

/// Build attestations stand in an index beside the images they speak of, but are no images.
fn is_attestation(entry: &Descriptor) -> bool {
    let unknown = entry.platform.as_ref().is_some_and(|p| p.os == "unknown" && p.architecture == "unknown");
    unknown || entry.annotation("vnd.docker.reference.type") == Some("attestation-manifest")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, media_type};

    fn entry(name: &str, platform: Option<Platform>) -> Descriptor {
        let mut entry = Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256_of(name.as_bytes()), 1);
        entry.platform = platform;
        entry
    }

    fn index(manifests: Vec<Descriptor>) -> Index {
        Index { manifests, skipped: 0, artifact_type: None, subject: None, annotations: Default::default() }
    }

    fn arm(variant: &str) -> Platform {
        Platform::new("linux", "arm").with_variant(variant)
    }

    #[test]
    fn the_text_of_a_platform_names_it() {
        for platform in [Platform::new("linux", "arm64"), arm("v7")] {
            assert_eq!(platform.to_string().parse::<Platform>().unwrap(), platform);
        }
        for text in ["", "linux", "linux/", "/amd64", "linux/arm/", "linux/arm/v7/x"] {
            text.parse::<Platform>().unwrap_err();
        }
    }

    #[test]
    fn the_best_variant_wins() {
        let list = index(vec![
            entry("windows", Some(Platform::new("windows", "arm"))),
            entry("v5", Some(arm("v5"))),
            entry("v6", Some(arm("v6"))),
            entry("v8", Some(arm("v8"))),
        ]);
        let chosen = |platform: Platform| platform.choose(&list).first().map(|d| d.digest.clone());
        assert_eq!(chosen(arm("v7")), Some(Digest::sha256_of(b"v6")));
        assert_eq!(chosen(arm("v8")), Some(Digest::sha256_of(b"v8")));
        assert_eq!(chosen(arm("v4")), None);
        assert_eq!(chosen(Platform::new("linux", "amd64")), None);
    }

    #[test]
    fn an_unnamed_variant_is_the_usual_one() {
        let arm64 = Platform::new("linux", "arm64");
        assert!(arm64.is_same(&arm64.clone().with_variant("v8")));
        assert!(!arm64.is_same(&arm64.clone().with_variant("v9")));
        let amd64 = Platform::new("linux", "amd64");
        assert_eq!(amd64.suits(&amd64.clone().with_variant("v3")), None);
        assert!(amd64.clone().with_variant("v3").suits(&amd64).is_some());
    }

    #[test]
    fn what_is_made_for_an_image_is_taken_only_without_one() {
        let amd64 = Platform::new("linux", "amd64");
        let mut made_for = entry("index of the image", Some(amd64.clone()));
        made_for.artifact_type = Some("application/vnd.example.index".into());
        let both = index(vec![made_for.clone(), entry("image", Some(amd64.clone()))]);
        assert_eq!(amd64.choose(&both)[0].digest, Digest::sha256_of(b"image"));
        assert_eq!(amd64.choose(&index(vec![made_for.clone()])), [&made_for]);
    }

    #[test]
    fn attestations_are_no_images() {
        let amd64 = Platform::new("linux", "amd64");
        let mut attestation = entry("attestation", Some(amd64.clone()));
        attestation.annotations.insert("vnd.docker.reference.type".into(), "attestation-manifest".into());
        let unknown = entry("unknown", Some(Platform::new("unknown", "unknown")));
        assert!(amd64.choose(&index(vec![attestation.clone(), unknown.clone()])).is_empty());
        let list = index(vec![attestation, unknown, entry("image", Some(amd64.clone()))]);
        assert_eq!(amd64.choose(&list)[0].digest, Digest::sha256_of(b"image"));
    }
}
