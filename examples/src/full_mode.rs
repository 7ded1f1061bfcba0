//! The accelerated image that belongs to a reference, if it is one that can be read here.

use anyhow::{Result, bail, ensure};
use referrers::{
    Accelerated, AcceptedType, Kind, Layer, Platform, Reference, Registry, Resolution, ResolveOptions,
    Resolver, Role,
};

/// A full-mode image and how it was found.
#[derive(Debug, Clone)]
pub struct FullMode {
    /// The ordinary image, and what was tried to find the accelerated one.
    pub resolution: Resolution,
    /// The accelerated image.
    pub accelerated: Accelerated,
}

impl FullMode {
    /// Finds the image for this machine's platform, looking where `options` say.
    ///
    /// # Errors
    ///
    /// If the reference cannot be resolved, or has no accelerated image in full mode; that error names what
    /// became of each stage.
    pub async fn resolve(
        registry: Registry,
        reference: &Reference,
        options: &ResolveOptions,
    ) -> Result<Self> {
        let accepted = AcceptedType::all_known().into_iter().filter(|accepted| accepted.kind == Kind::Native);
        let options = options.clone().with_accepted(accepted.collect());
        let resolution = Resolver::new(registry, options).resolve(reference, &Platform::current()).await?;
        let Some(accelerated) = resolution.accelerated.clone() else {
            let decisions: Vec<_> = resolution.decisions.iter().map(ToString::to_string).collect();
            bail!("no accelerated image for {reference}: {}", decisions.join("; "));
        };
        ensure!(accelerated.kind == Kind::Native, "{reference} is index-only, which is not supported yet");
        Ok(Self { resolution, accelerated })
    }

    /// The layers that make the device, bottom first.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.accelerated.layers.iter().filter(|layer| layer.role == Role::Native)
    }
}
