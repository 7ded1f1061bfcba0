//! One image: its configuration, its layers, its manifest.

use anyhow::{Context, Result, bail, ensure};
use referrers::{Classified, Digest, ImageConfig, ImageManifest, Manifest, classify, media_type};

use super::document::{self, ImageLayer, diff_ids};
use super::report::{ImageReport, LayerReport};
use super::stack::{Layer, Stack};
use super::{Converted, Work};
use crate::progress::bytes;

impl Work<'_> {
    /// Converts the image of `source`, whose content is `image`.
    pub(super) async fn image(&self, source: &Manifest, image: &ImageManifest) -> Result<Converted> {
        if let Ok(Classified::Accelerated { kind, .. }) = classify(image) {
            bail!("{} is accelerated already, in {kind}", source.digest());
        }
        let config = self.place.document(&image.config).await?;
        let parsed = ImageConfig::parse(config.clone()).with_context(|| image.config.digest.to_string())?;
        ensure!(
            parsed.platform.os == "linux",
            "{} is for {}, not for Linux",
            source.digest(),
            parsed.platform
        );
        let layers = self.layers(image, &diff_ids(&config)?)?;
        ensure!(!layers.is_empty(), "{} has no layers", source.digest());

        let mut made = self.there(&layers).await?;
        let mut reports: Vec<_> =
            layers.iter().zip(&made).map(|(layer, made)| LayerReport::new(&layer.blob, made, None)).collect();
        let total = layers.iter().skip(made.len()).map(|layer| layer.blob.size).sum();
        if made.len() < layers.len() {
            let step = self.progress.step(&format!("Converting {}", parsed.platform), total);
            let new = Stack::new(self, &step).convert(&layers, &made)?;
            for (layer, (made, took)) in layers.iter().skip(made.len()).zip(&new) {
                reports.push(LayerReport::new(&layer.blob, made, Some(*took)));
            }
            made.extend(new.into_iter().map(|(layer, _)| layer));
            let size = made.iter().map(|layer| layer.descriptor.size).sum();
            step.finish(&format!("{} to {} layers of {}", self.options.mode, made.len(), bytes(size)));
        }

        let config = document::config(&config, &made)?;
        let config = self.place.put_document(config, media_type::OCI_CONFIG).await?;
        let body = document::manifest(source, image, &config, &made)?;
        let report = ImageReport {
            platform: parsed.platform.to_string(),
            base: source.digest().to_string(),
            accelerated: Digest::sha256_of(&body).to_string(),
            layer: reports,
        };
        self.store(body, media_type::OCI_MANIFEST, vec![report]).await
    }

    /// What the layers are to become. The key of one is decided by all below it, because a layer is what
    /// changes above those.
    fn layers(&self, image: &ImageManifest, diff_ids: &[Digest]) -> Result<Vec<Layer>> {
        ensure!(
            image.layers.len() == diff_ids.len(),
            "there are {} layers, and DiffIDs of {}",
            image.layers.len(),
            diff_ids.len()
        );
        let mut key = self.options.key();
        let mut parent = None;
        let chain_ids = document::chain_ids(diff_ids);
        let all = image.layers.iter().zip(diff_ids).zip(chain_ids);
        let layers = all.map(|((blob, diff_id), chain_id)| {
            key = key.with(["layer", blob.digest.as_str()]);
            let uuid = document::uuid(&chain_id);
            let below = parent.replace(uuid).unwrap_or_default();
            Layer { blob: blob.clone(), diff_id: diff_id.clone(), key: key.clone(), uuid, parent: below }
        });
        Ok(layers.collect())
    }

    /// The lowest layers that were made before and are still there.
    async fn there(&self, layers: &[Layer]) -> Result<Vec<ImageLayer>> {
        let mut there = Vec::new();
        for layer in layers {
            let Some(made) = self.records.get::<ImageLayer>(&layer.key) else { break };
            if self.place.size(&made.descriptor.digest).await? != Some(made.descriptor.size) {
                break;
            }
            there.push(made);
        }
        Ok(there)
    }
}
