//! Layers: what an image manifest says of how its layers are stored.
//!
//! No media type tells an overlaybd layer from a plain tar; annotations on the layer descriptors do.
//! One image is of one kind, with three exceptions, all made by converters:
//!
//! ```text
//!   native  [ base? ] native … native        [ acceleration ]
//!   turbo   [ base? ] turbo or native … turbo [ acceleration ]
//!             │                │                └ a recorded trace, not part of the file system
//!             │                └ a layer that cannot be indexed, with its data: one that zstd compresses
//!             └ an empty file system, native, that no layer of the original stands for
//! ```
//!
//! The manifest alone does not tell a base layer from others: it is the layer that there is one more of
//! than in the original. One index-only layer makes an image a turbo image, because it needs the original.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::fmt;

use crate::media_type;
use crate::{Descriptor, Digest, ImageManifest};

/// How an accelerated image is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The layers hold all data ("full" mode of overlaybd).
    Native,
    /// The layers index the data of the original image's layers ("TurboOCI", index-only mode).
    Turbo,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "full mode",
            Self::Turbo => "index-only mode",
        })
    }
}

/// What [`classify`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Classified {
    /// An ordinary image, or no image.
    Plain,
    /// An accelerated image and its layers, lowest first.
    Accelerated {
        /// How it is stored.
        kind: Kind,
        /// Its layers, lowest first.
        layers: Vec<Layer>,
    },
}

/// A layer of an accelerated image.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layer {
    /// Digest of the blob.
    pub digest: Digest,
    /// Size of the blob in bytes.
    pub size: u64,
    /// Media type of the blob, as its descriptor gives it.
    pub media_type: String,
    /// What the blob holds.
    pub role: Role,
    /// File system, such as `ext4`, where the converter names it.
    pub fs_type: Option<String>,
    /// Version of the layer's format, where the converter names it.
    pub version: Option<String>,
}

/// What the blob of a [`Layer`] holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// An overlaybd layer with its data.
    Native,
    /// An index of the layer `target` of the original image.
    Turbo {
        /// Digest of the original layer.
        target: Digest,
        /// Media type of the original layer: a plain or a gzipped tar of either family.
        target_media_type: String,
    },
    /// A recorded trace of reads; not part of the file system.
    Acceleration,
}

/// Why an image is neither plain nor an accelerated image that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("layer {layer}: {why}")]
pub struct LayerRefusal {
    /// Position of the layer, counted from 0 at the lowest.
    pub layer: usize,
    /// The rule that it breaks.
    pub why: &'static str,
}

/// Tells from its annotations how an image is stored.
///
/// ```
/// use referrers::{Classified, Manifest, classify, media_type};
///
/// let bytes = r#"{
///     "schemaVersion": 2, "layers": [],
///     "config": {
///         "mediaType": "application/vnd.oci.image.config.v1+json", "size": 2,
///         "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
///     }
/// }"#;
/// let manifest = Manifest::parse(bytes.into(), media_type::OCI_MANIFEST, None)?;
/// let image = manifest.image().unwrap();
/// assert_eq!(classify(image).unwrap(), Classified::Plain);
/// # Ok::<_, referrers::Error>(())
/// ```
///
/// # Errors
///
/// A [`LayerRefusal`] if some layers are plain ones, or an annotation contradicts the layer.
pub fn classify(image: &ImageManifest) -> Result<Classified, LayerRefusal> {
    let mut layers = Vec::with_capacity(image.layers.len());
    let mut plain = None;
    for (position, descriptor) in image.layers.iter().enumerate() {
        let refuse = |why| LayerRefusal { layer: position, why };
        match role(descriptor).map_err(refuse)? {
            Some(role) => layers.push(Layer {
                digest: descriptor.digest.clone(),
                size: descriptor.size,
                media_type: descriptor.media_type.clone(),
                role,
                fs_type: descriptor.annotation(FS_TYPE).map(str::to_owned),
                version: descriptor.annotation(VERSION).map(str::to_owned),
            }),
            None => plain = Some(position),
        }
    }
    match plain {
        Some(_) if layers.is_empty() => return Ok(Classified::Plain),
        Some(layer) => return Err(LayerRefusal { layer, why: "a plain layer in an accelerated image" }),
        None if layers.is_empty() => return Ok(Classified::Plain),
        None => {}
    }
    let top = layers.len().saturating_sub(1);
    for (layer, _) in layers.iter().enumerate().filter(|(_, layer)| layer.role == Role::Acceleration) {
        if layer == 0 {
            return Err(LayerRefusal { layer, why: "an acceleration layer over nothing" });
        }
        if layer != top {
            return Err(LayerRefusal { layer, why: "an acceleration layer that is not the top one" });
        }
    }
    let is_turbo = layers.iter().any(|layer| matches!(layer.role, Role::Turbo { .. }));
    let kind = if is_turbo { Kind::Turbo } else { Kind::Native };
    Ok(Classified::Accelerated { kind, layers })
}

/// What one layer holds; `None` if it is a plain one.
fn role(layer: &Descriptor) -> Result<Option<Role>, &'static str> {
    let version = layer.annotation(VERSION).unwrap_or_default();
    let target = first(layer, TARGET_DIGEST);
    let turbo = target.is_some() || version.contains("turbo") || version.contains("fastoci");
    let blob_digest = layer.annotation(BLOB_DIGEST);
    if blob_digest.is_some_and(|digest| digest != layer.digest.as_str()) {
        return Err("the annotated blob is not the layer itself");
    }
    if layer.annotation(BLOB_SIZE).is_some_and(|size| size != layer.size.to_string()) {
        return Err("the annotated blob size is not the layer's");
    }
    if layer.annotation(ACCELERATION_LAYER) == Some("yes") {
        return Ok(Some(Role::Acceleration));
    }
    if turbo {
        let target = target.ok_or("an index-only layer without its target's digest")?;
        let target = target.parse().map_err(|_| "the target's digest is not a digest")?;
        let media_type =
            first(layer, TARGET_MEDIA_TYPE).ok_or("an index-only layer without its target's type")?;
        if !(media_type::is_tar(media_type) || media_type::is_tar_gzip(media_type)) {
            return Err("the target is neither a plain nor a gzipped tar");
        }
        return Ok(Some(Role::Turbo { target, target_media_type: media_type.to_owned() }));
    }
    if ["overlaybd", "zfile"].iter().any(|word| layer.media_type.contains(word)) {
        return Ok(Some(Role::Native));
    }
    match blob_digest {
        Some(_) if media_type::is_tar(&layer.media_type) => Ok(Some(Role::Native)),
        Some(_) => Err("an overlaybd layer that is not an uncompressed tar"),
        None => Ok(None),
    }
}

fn first<'a>(layer: &'a Descriptor, keys: [&str; 2]) -> Option<&'a str> {
    keys.into_iter().find_map(|key| layer.annotation(key))
}

// Keys of the layer annotations that the overlaybd converter writes.
pub(crate) const BLOB_DIGEST: &str = "containerd.io/snapshot/overlaybd/blob-digest";
const BLOB_SIZE: &str = "containerd.io/snapshot/overlaybd/blob-size";
const FS_TYPE: &str = "containerd.io/snapshot/overlaybd/blob-fs-type";
const VERSION: &str = "containerd.io/snapshot/overlaybd/version";
const ACCELERATION_LAYER: &str = "containerd.io/snapshot/overlaybd/acceleration-layer";
/// The present key and the one of the mode's former name.
pub(crate) const TARGET_DIGEST: [&str; 2] = [
    "containerd.io/snapshot/overlaybd/turbo-oci/target-digest",
    "containerd.io/snapshot/overlaybd/fastoci/target-digest",
];
/// The present key and the one of the mode's former name.
pub(crate) const TARGET_MEDIA_TYPE: [&str; 2] = [
    "containerd.io/snapshot/overlaybd/turbo-oci/target-media-type",
    "containerd.io/snapshot/overlaybd/fastoci/target-media-type",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media_type::{DOCKER_LAYER, DOCKER_LAYER_GZIP, OCI_LAYER, OCI_LAYER_GZIP};

    fn layer(media_type: &str, n: u8, annotations: &[(&str, &str)]) -> Descriptor {
        let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Descriptor::of(media_type, &[n]).with_annotations(annotations)
    }

    fn native(n: u8) -> Descriptor {
        let digest = Digest::sha256_of(&[n]);
        layer(
            OCI_LAYER,
            n,
            &[(BLOB_DIGEST, digest.as_str()), (BLOB_SIZE, "1"), (FS_TYPE, "ext4"), (VERSION, "0.1.0")],
        )
    }

    fn turbo(n: u8) -> Descriptor {
        let target = Digest::sha256_of(&[n, n]);
        let annotations = [(TARGET_DIGEST[0], target.as_str()), (TARGET_MEDIA_TYPE[0], OCI_LAYER_GZIP)];
        layer(OCI_LAYER_GZIP, n, &annotations)
    }

    fn trace(n: u8) -> Descriptor {
        layer(OCI_LAYER, n, &[(ACCELERATION_LAYER, "yes")])
    }

    fn plain(n: u8) -> Descriptor {
        layer(DOCKER_LAYER_GZIP, n, &[])
    }

    fn classified(layers: Vec<Descriptor>) -> Result<Classified, LayerRefusal> {
        let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
        let image = ImageManifest {
            config,
            layers,
            artifact_type: None,
            subject: None,
            annotations: Default::default(),
        };
        classify(&image)
    }

    fn kind(layers: Vec<Descriptor>) -> Option<Kind> {
        match classified(layers).unwrap() {
            Classified::Plain => None,
            Classified::Accelerated { kind, .. } => Some(kind),
        }
    }

    #[test]
    fn one_index_only_layer_decides_the_kind() {
        assert_eq!(kind(vec![]), None);
        assert_eq!(kind(vec![plain(1), plain(2)]), None);
        assert_eq!(kind(vec![native(1), native(2)]), Some(Kind::Native));
        assert_eq!(kind(vec![native(1), native(2), trace(3)]), Some(Kind::Native));
        assert_eq!(kind(vec![turbo(1), turbo(2)]), Some(Kind::Turbo));
        assert_eq!(kind(vec![native(1), turbo(2), turbo(3), trace(4)]), Some(Kind::Turbo));
        assert_eq!(kind(vec![turbo(1), native(2)]), Some(Kind::Turbo));
        assert_eq!(kind(vec![native(1), native(2), turbo(3)]), Some(Kind::Turbo));
        let zfile = layer("application/vnd.containerd.overlaybd.image.layer.v1.zfile", 1, &[]);
        assert_eq!(kind(vec![zfile]), Some(Kind::Native));
    }

    #[test]
    fn facts_of_each_layer() {
        let Classified::Accelerated { layers, .. } = classified(vec![native(1), turbo(2)]).unwrap() else {
            panic!("plain")
        };
        assert_eq!(
            (layers[0].fs_type.as_deref(), layers[0].version.as_deref()),
            (Some("ext4"), Some("0.1.0"))
        );
        assert_eq!(layers[0].digest, Digest::sha256_of(&[1]));
        let role =
            Role::Turbo { target: Digest::sha256_of(&[2, 2]), target_media_type: OCI_LAYER_GZIP.into() };
        assert_eq!(layers[1].role, role);
    }

    #[test]
    fn mixtures_and_contradictions_are_refused() {
        let with = |mut layer: Descriptor, key: &str, value: &str| {
            layer.annotations.insert(key.into(), value.into());
            layer
        };
        for (position, layers) in [
            (0, vec![plain(1), native(2)]),
            (1, vec![native(1), plain(2)]),
            (0, vec![trace(1), native(2)]),
            (1, vec![native(1), trace(2), native(3)]),
            (0, vec![with(native(1), BLOB_DIGEST, Digest::sha256_of(b"other").as_str())]),
            (0, vec![with(native(1), BLOB_SIZE, "2")]),
            (0, vec![layer(DOCKER_LAYER_GZIP, 1, &[(BLOB_DIGEST, Digest::sha256_of(&[1]).as_str())])]),
            (0, vec![with(turbo(1), TARGET_DIGEST[0], "sha256:1")]),
            (0, vec![with(turbo(1), TARGET_MEDIA_TYPE[0], "application/vnd.oci.image.layer.v1.tar+zstd")]),
            (0, vec![layer(DOCKER_LAYER, 1, &[(VERSION, "0.1.0-turbo.ociv1")])]),
        ] {
            assert_eq!(classified(layers).unwrap_err().layer, position);
        }
    }

    #[test]
    fn the_former_name_of_the_mode_is_understood() {
        let target = Digest::sha256_of(b"target");
        let annotations = [(TARGET_DIGEST[1], target.as_str()), (TARGET_MEDIA_TYPE[1], DOCKER_LAYER)];
        assert_eq!(kind(vec![layer(OCI_LAYER_GZIP, 1, &annotations)]), Some(Kind::Turbo));
    }
}
