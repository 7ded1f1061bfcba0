//! Which layers make a device, as it is remembered beside where it is mounted.
//!
//! All that is known when an image is resolved is written down, so that nothing is asked twice: a device is
//! opened with requests for its layers alone.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use examples::access::Access;
use examples::document;
use examples::image_place::ImagePlace;
use examples::lazy_image::OpenBlob;
use examples::open_layer::open_layer;
use futures::future::try_join_all;
use referrers::{Descriptor, Digest, Reference, Repository};
use serde::{Deserialize, Serialize};

/// Layers in a registry that make a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// The registry, as references spell it.
    pub host: String,
    /// The repository there.
    pub repository: String,
    /// Whether the registry is spoken to without TLS.
    pub plain_http: bool,
    /// The layers, bottom first.
    pub layers: Vec<DeviceLayer>,
    /// The digest of the accelerated image, if the device is all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
}

/// A layer of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceLayer {
    /// The blob of the layer.
    pub blob: Descriptor,
    /// The layer of the ordinary image that it points into, if it is index-only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Digest>,
}

impl Device {
    /// Reads what [`write`](Self::write) has written.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is something else.
    pub fn read(path: &Path) -> Result<Self> {
        serde_json::from_slice(&document::read(path)?).with_context(|| path.display().to_string())
    }

    /// Writes it into a new file, through to the disk.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let mut file = File::create_new(path)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    }

    /// Opens the layers, bottom first. Of full layers nothing is fetched yet.
    ///
    /// # Errors
    ///
    /// As [`open_layer`].
    pub async fn open(&self, access: &Access) -> Result<Vec<OpenBlob>> {
        let (access, repository) = (self.access(access), self.repository()?);
        let place = ImagePlace::in_repository(access.registry(&repository)?, repository, &access)?;
        let open = async |layer: &DeviceLayer| open_layer(&place, &layer.blob, layer.target.as_ref()).await;
        try_join_all(self.layers.iter().map(open)).await
    }

    /// The accelerated image, if the device is all of it.
    ///
    /// # Errors
    ///
    /// If there is no such repository.
    pub fn image(&self) -> Result<Option<Reference>> {
        let repository = self.repository()?;
        Ok(self.image.as_ref().map(|digest| repository.with_digest(digest.clone())))
    }

    /// How its registry is reached.
    pub fn access(&self, access: &Access) -> Access {
        Access { plain_http: self.plain_http, ..access.clone() }
    }

    fn repository(&self) -> Result<Repository> {
        Ok(Repository::new(&self.host, &self.repository)?)
    }
}
