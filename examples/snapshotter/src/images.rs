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

use anyhow::{Context, Result, bail, ensure};
use examples::access::Access;
use referrers::{
    Accelerated, AcceptedType, Cache, CacheOptions, Digest, ImageSource, Kind, Layer, Platform, Reference,
    Repository, Resolution, Resolver, Role, Stage,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The images of the registries.
#[derive(Debug)]
pub struct Images {
    access: Access,
    plain_http: BTreeSet<String>,
    cache: Cache,
}

/// Layers in a registry that make a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    repository: Repository,
    plain_http: bool,
    /// Digests and sizes, bottom first.
    layers: Vec<(Digest, u64)>,
    /// The accelerated image, if these are all of its layers.
    image: Option<Reference>,
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
    pub async fn find(&self, reference: &str, target: &str) -> Result<Stack> {
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
            bail!("no accelerated image in full mode: {}", reasons(&found));
        };
        let is_whole = depth.depth == depth.of;
        let image = is_whole.then(|| repository.with_digest(accelerated.descriptor.digest.clone()));
        Ok(Stack { repository, plain_http, layers: layers(accelerated, depth)?, image })
    }

    async fn resolve(&self, source: impl ImageSource + 'static, reference: &Reference) -> Result<Resolution> {
        let accepted = AcceptedType::all_known().into_iter().filter(|accepted| accepted.kind == Kind::Native);
        let options = self.access.resolve.clone().with_accepted(accepted.collect());
        let found = Resolver::new(source, options).resolve(reference, &Platform::current()).await?;
        let index_only = found.accelerated.as_ref().is_some_and(|found| found.kind != Kind::Native);
        ensure!(!index_only, "it is in index-only mode");
        Ok(found)
    }
}

impl Stack {
    /// The device as overlaybd's `config.v1.json`, with one key more.
    pub fn config(&self) -> Value {
        let scheme = if self.plain_http { "http" } else { "https" };
        let lowers: Vec<_> =
            self.layers.iter().map(|(digest, size)| json!({ "digest": digest, "size": size })).collect();
        let url = format!("{scheme}://{}/v2/{}/blobs", self.repository.host(), self.repository.path());
        let mut config =
            Map::from_iter([("repoBlobUrl".into(), url.into()), ("lowers".into(), lowers.into())]);
        config.extend(self.image.iter().map(|image| (IMAGE_KEY.into(), image.to_string().into())));
        config.into()
    }
}

/// The key of the accelerated image in the configuration of a device that is all of it. Other readers pass over
/// keys that the format does not name.
pub(crate) const IMAGE_KEY: &str = "acceleratedImage";

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
fn layers(accelerated: &Accelerated, depth: Depth) -> Result<Vec<(Digest, u64)>> {
    let layer = |layer: &Layer| ((layer.digest.clone(), layer.size), layer.role == Role::Native);
    let layers = accelerated.layers.iter().map(layer).collect();
    lowest(layers, accelerated.stage == Stage::Itself, depth)
}

/// Those of `layers`, of which some are native, that stand for the lowest of the ordinary image.
fn lowest<T>(layers: Vec<(T, bool)>, itself: bool, Depth { depth, of }: Depth) -> Result<Vec<T>> {
    let natives =
        |layers: Vec<(T, bool)>| layers.into_iter().filter(|(_, native)| *native).map(|(layer, _)| layer);
    if itself {
        // Its own layers were counted, with one that is no part of the device.
        return Ok(natives(layers.into_iter().take(depth).collect()).collect());
    }
    let natives: Vec<_> = natives(layers).collect();
    // There may be one more in all: the base, an empty filesystem.
    let Some(base) = natives.len().checked_sub(of).filter(|base| *base <= 1) else {
        bail!("the accelerated image divides its files into {} layers, not {of}", natives.len());
    };
    Ok(natives.into_iter().take(depth.saturating_add(base)).collect())
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
            lowest(natives.iter().map(|layer| (*layer, true)).collect(), false, Depth { depth, of })
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
        let layers = vec![(1, true), (2, true), (9, false)];
        let of = |itself, depth, of| lowest(layers.clone(), itself, Depth { depth, of }).unwrap();
        assert_eq!((of(true, 1, 3), of(true, 3, 3)), (vec![1], vec![1, 2]));
        assert_eq!((of(false, 1, 2), of(false, 2, 2)), (vec![1], vec![1, 2]));
    }
}
