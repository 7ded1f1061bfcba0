//! The converter of these examples as that of the service.

use std::path::Path;

use anyhow::Result;
use async_trait::async_trait;
use referrers::{Digest, Registry};

use super::Convert;
use super::job::Job;
use crate::access::Access;
use crate::convert::options::Options;
use crate::convert::records::Records;
use crate::convert::{Located, convert};
use crate::image_name::ImageName;
use crate::image_place::ImagePlace;
use crate::progress::Progress;

/// Converts in this process, beside the image.
#[derive(Debug)]
pub struct ImageConverter {
    access: Access,
    registry: Registry,
    records: Records,
}

impl ImageConverter {
    /// A converter that reaches images as `access` says, through `registry`, and records in `records` what is
    /// finished of them.
    ///
    /// # Errors
    ///
    /// If the directory cannot be made.
    pub fn new(access: Access, registry: Registry, records: &Path) -> Result<Self> {
        Ok(Self { access, registry, records: Records::open(records)? })
    }
}

#[async_trait]
impl Convert for ImageConverter {
    async fn convert(&self, job: &Job) -> Result<Digest> {
        let Job { image, tag, plan } = job;
        let repository = image.repository().clone();
        // The digest is what is converted; the tag only gets a suffix.
        let tag = tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = image.digest().map(|digest| format!("@{digest}")).unwrap_or_default();
        let name = ImageName::Registry(format!("{repository}{tag}{digest}").parse()?);
        let place = ImagePlace::in_repository(self.registry.clone(), repository, &self.access)?;
        let options = Options::new(plan.mode)
            .with_platforms(plan.platforms.clone())
            .with_suffix(plan.tag_suffix.clone());
        let report =
            convert(&Located { place, name }, None, &options, &self.records, Progress::plain()).await?;
        Ok(report.accelerated.parse()?)
    }
}
