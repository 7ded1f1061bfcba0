//! From what containerd is unpacking to the layers of the accelerated image that stand for it.
//!
//! containerd pulls the ordinary image and names each set of layers by its chain id. The accelerated image
//! has one layer for each of them, so the layers up to the same depth make the same files:
//!
//! ```text
//! ordinary      layer 1 ── layer 2 ── layer 3          depth of a chain id: 2
//!               └───── chain id ────┘
//! accelerated   [base] ── layer 1 ── layer 2 ── layer 3
//!               └───────── the device ───────┘
//! ```
//!
//! The depth comes from the configuration of the image that the registry names now. If the tag has moved
//! since containerd looked, no depth has this chain id, and the image is unpacked: files of one image never
//! stand for another's. The same is done with an accelerated image that has its layers divided in another
//! way, because images that share layers share their snapshots, too.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use examples::access::Access;
use referrers::{
    Accelerated, Cache, CacheOptions, Descriptor, Digest, ImageSource, Layer, Platform, Reference,
    Resolution, Resolver, Role, Stage,
};
use serde::Deserialize;

use crate::device::{Device, DeviceLayer};

/// The images of the registries.
#[derive(Debug)]
pub struct Images {
    access: Access,
    plain_http: BTreeSet<String>,
    cache: Cache,
}

impl Images {
    /// Images that are reached by `access`; without TLS, if their host is in `plain_http`.
    pub fn new(access: Access, plain_http: BTreeSet<String>) -> Self {
        Self { access, plain_http, cache: Cache::new(CacheOptions::default()) }
    }

    /// The layers that stand for those that make up `target`, a chain id, in the image `reference`.
    ///
    /// # Errors
    ///
    /// If there are none, for a reason that the error says, or the registry does not answer.
    pub async fn find(&self, reference: &str, target: &str) -> Result<Device> {
        let reference: Reference = reference.parse()?;
        let target: Digest = target.parse().with_context(|| format!("chain id {target}"))?;
        let repository = reference.repository().clone();
        let plain_http = self.plain_http.contains(repository.host());
        let registry = Access { plain_http, ..self.access.clone() }.registry(&repository)?;
        // Each layer of an image asks the same. All ask as the same user.
        let found = self.resolve(self.cache.of("", registry.clone()), &reference).await?;
        let (found, depth) = match depth(&found.base.config.bytes, &target) {
            Ok(depth) => (found, depth),
            // The tag has moved since then.
            Err(_) => {
                let found = self.resolve(registry, &reference).await?;
                let depth = depth(&found.base.config.bytes, &target)?;
                (found, depth)
            }
        };
        let Some(accelerated) = &found.accelerated else {
            bail!("no accelerated image: {}", reasons(&found));
        };
        let is_whole = depth.depth == depth.of;
        Ok(Device {
            host: repository.host().to_owned(),
            repository: repository.path().to_owned(),
            plain_http,
            layers: layers(accelerated, depth)?,
            image: is_whole.then(|| accelerated.descriptor.digest.clone()),
        })
    }

    async fn resolve(&self, source: impl ImageSource + 'static, reference: &Reference) -> Result<Resolution> {
        let resolver = Resolver::new(source, self.access.resolve.clone());
        Ok(resolver.resolve(reference, &Platform::current()).await?)
    }
}

/// How many layers `target` stands for, of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Depth {
    depth: usize,
    of: usize,
}

fn depth(config: &[u8], target: &Digest) -> Result<Depth> {
    let config: Config = serde_json::from_slice(config).context("image configuration")?;
    let diff_ids = config.rootfs.diff_ids;
    let mut chain: Option<Digest> = None;
    for (below, diff_id) in diff_ids.iter().enumerate() {
        // OCI image-spec, "Layer ChainID".
        let id = match chain {
            None => diff_id.clone(),
            Some(chain) => Digest::sha256_of(format!("{chain} {diff_id}").as_bytes()),
        };
        if id == *target {
            return Ok(Depth { depth: below.saturating_add(1), of: diff_ids.len() });
        }
        chain = Some(id);
    }
    bail!("the image that the tag names now has no layers with the chain id {target}")
}

/// The layers of `accelerated` that stand for the lowest of the ordinary image.
fn layers(accelerated: &Accelerated, depth: Depth) -> Result<Vec<DeviceLayer>> {
    let layer = |layer: &Layer| match &layer.role {
        Role::Acceleration => None,
        Role::Native => Some(DeviceLayer { blob: blob(layer), target: None }),
        Role::Turbo { target, .. } => Some(DeviceLayer { blob: blob(layer), target: Some(target.clone()) }),
    };
    let layers = accelerated.layers.iter().map(layer).collect();
    lowest(layers, accelerated.stage == Stage::Itself, depth)
}

fn blob(layer: &Layer) -> Descriptor {
    Descriptor::new(layer.media_type.as_str(), layer.digest.clone(), layer.size)
}

/// Those of `layers` that stand for the lowest of the ordinary image. None stands for a layer that is no part
/// of the device.
fn lowest<T>(layers: Vec<Option<T>>, itself: bool, Depth { depth, of }: Depth) -> Result<Vec<T>> {
    if itself {
        // Its own layers were counted, all of them.
        return Ok(layers.into_iter().take(depth).flatten().collect());
    }
    let layers: Vec<_> = layers.into_iter().flatten().collect();
    // There may be one more in all: the base, an empty filesystem.
    let Some(base) = layers.len().checked_sub(of).filter(|base| *base <= 1) else {
        bail!("the accelerated image divides its files into {} layers, not {of}", layers.len());
    };
    Ok(layers.into_iter().take(depth.saturating_add(base)).collect())
}

fn reasons(found: &Resolution) -> String {
    let decisions: Vec<_> = found.decisions.iter().map(ToString::to_string).collect();
    decisions.join("; ")
}

/// OCI image-spec, "Image Configuration".
#[derive(Deserialize)]
struct Config {
    rootfs: Rootfs,
}

#[derive(Deserialize)]
struct Rootfs {
    diff_ids: Vec<Digest>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_chain_id_has_its_depth() {
        let ids = [b"1", b"2", b"3"].map(|layer| Digest::sha256_of(layer));
        let config = json!({ "rootfs": { "diff_ids": ids } }).to_string();
        let two = Digest::sha256_of(format!("{} {}", ids[0], ids[1]).as_bytes());
        let three = Digest::sha256_of(format!("{two} {}", ids[2]).as_bytes());
        for (target, expected) in [(&ids[0], 1), (&two, 2), (&three, 3)] {
            assert_eq!(depth(config.as_bytes(), target).unwrap(), Depth { depth: expected, of: 3 });
        }
        assert!(depth(config.as_bytes(), &ids[1]).is_err());
        assert!(depth(b"{}", &ids[0]).is_err());
        assert!(depth(br#"{"rootfs": {"diff_ids": ["x"]}}"#, &ids[0]).is_err());
    }

    #[test]
    fn only_layers_that_stand_for_others_one_by_one_are_used() {
        let of = |natives: &[u32], depth, of| {
            lowest(natives.iter().copied().map(Some).collect(), false, Depth { depth, of })
        };
        assert_eq!(of(&[1, 2, 3], 2, 3).unwrap(), [1, 2]);
        assert_eq!(of(&[0, 1, 2, 3], 2, 3).unwrap(), [0, 1, 2]);
        assert_eq!(of(&[0, 1], 1, 1).unwrap(), [0, 1]);
        for natives in [&[1][..], &[1, 2], &[1, 2, 3, 4, 5]] {
            let error = of(natives, 1, 3).unwrap_err().to_string();
            assert!(error.contains("not 3"), "{error}");
        }
    }

    #[test]
    fn an_acceleration_layer_is_no_part_of_the_device() {
        let layers = vec![Some(1), Some(2), None];
        let of = |itself, depth, of| lowest(layers.clone(), itself, Depth { depth, of }).unwrap();
        assert_eq!((of(true, 1, 3), of(true, 3, 3)), (vec![1], vec![1, 2]));
        assert_eq!((of(false, 1, 2), of(false, 2, 2)), (vec![1], vec![1, 2]));
    }
}
