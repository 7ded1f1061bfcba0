//! The accelerated image that belongs to a name.

use anyhow::{Result, bail};
use futures::future::try_join_all;
use referrers::{Accelerated, Descriptor, Digest, Layer, Resolution, ResolveOptions, Role};

use crate::image_name::ImageName;
use crate::image_place::ImagePlace;
use crate::lazy_image::OpenBlob;
use crate::open_layer::open_layer;

/// An accelerated image and how it was found.
#[derive(Debug, Clone)]
pub struct AcceleratedImage {
    /// The ordinary image, and what was tried to find the accelerated one.
    pub resolution: Resolution,
    /// The accelerated image.
    pub accelerated: Accelerated,
}

impl AcceleratedImage {
    /// Finds the image for this machine's platform in `place`, looking where `options` say.
    ///
    /// # Errors
    ///
    /// If the name cannot be resolved, or has no accelerated image; that error names what became of each
    /// stage.
    pub async fn find(place: &ImagePlace, name: &ImageName, options: &ResolveOptions) -> Result<Self> {
        let resolution = place.resolve(name, options).await?;
        let Some(accelerated) = resolution.accelerated.clone() else {
            let decisions: Vec<_> = resolution.decisions.iter().map(ToString::to_string).collect();
            bail!("no accelerated image for {name}: {}", decisions.join("; "));
        };
        Ok(Self { resolution, accelerated })
    }

    /// The layers that make the device, bottom first.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.accelerated.layers.iter().filter(|layer| layer.role != Role::Acceleration)
    }

    /// Opens the layers, bottom first. Of full layers nothing is fetched yet.
    ///
    /// # Errors
    ///
    /// As [`open_layer`].
    pub async fn open(&self, place: &ImagePlace) -> Result<Vec<OpenBlob>> {
        let layers = self.layers().map(async |layer| {
            let blob = Descriptor::new(layer.media_type.as_str(), layer.digest.clone(), layer.size);
            open_layer(place, &blob, target(layer)).await
        });
        try_join_all(layers).await
    }
}

/// The layer of the ordinary image that `layer` points into, if it is index-only.
pub fn target(layer: &Layer) -> Option<&Digest> {
    match &layer.role {
        Role::Turbo { target, .. } => Some(target),
        Role::Native | Role::Acceleration => None,
    }
}
