//! Which manifests of an index are converted.

use anyhow::{Result, bail, ensure};
use referrers::{Content, Descriptor, Manifest, Platform, media_type};
use serde_json::Value;

use crate::image_place::ImagePlace;

/// A manifest, and of an index the entries that are converted, each with its position.
type Chosen = (Manifest, Vec<(usize, Descriptor)>);

/// The manifests that are converted, each behind what lists it.
#[derive(Debug)]
pub(super) struct Selection(Vec<Chosen>);

impl Selection {
    /// The images below `top` that are for one of `platforms`, or for any if there are none. Attestations and
    /// what else is no image for Linux is left out, also of the converted index.
    ///
    /// # Errors
    ///
    /// If a manifest cannot be read, or there is no image for one of the platforms.
    pub(super) async fn of(place: &ImagePlace, top: &Manifest, platforms: &[Platform]) -> Result<Self> {
        let mut chosen: Vec<Chosen> = vec![(top.clone(), Vec::new())];
        let mut found = vec![false; platforms.len()];
        let mut next = 0;
        while let Some((manifest, children)) = chosen.get_mut(next) {
            next += 1;
            if !matches!(manifest.content(), Content::Index(_)) {
                continue;
            }
            *children = entries(manifest, platforms, &mut found)?;
            let children = children.clone();
            for (_, child) in children {
                ensure!(chosen.len() < MAX_MANIFESTS, "there are more than {MAX_MANIFESTS} manifests");
                chosen.push((place.manifest(&child).await?, Vec::new()));
            }
        }
        if let Content::Index(_) = top.content()
            && let Some((missing, _)) = platforms.iter().zip(found).find(|(_, found)| !found)
        {
            bail!("there is no image for {missing}");
        }
        Ok(Self(chosen))
    }

    /// The manifests, what is listed before what lists it.
    pub(super) fn children_first(&self) -> impl Iterator<Item = (&Manifest, &[(usize, Descriptor)])> {
        self.0.iter().rev().map(|(manifest, children)| (manifest, children.as_slice()))
    }
}

/// The entries of an index that are converted. Notes which of `platforms` are among them.
fn entries(index: &Manifest, platforms: &[Platform], found: &mut [bool]) -> Result<Vec<(usize, Descriptor)>> {
    let body: Value = serde_json::from_slice(index.bytes())?;
    let listed = body.get("manifests").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let readable = listed.iter().enumerate().filter_map(|(position, entry)| {
        // One that cannot be read says nothing about the others.
        Some((position, serde_json::from_value::<Descriptor>(entry.clone()).ok()?))
    });
    let mut chosen = Vec::new();
    for (position, entry) in readable {
        if media_type::is_index(&entry.media_type) {
            chosen.push((position, entry));
            continue;
        }
        if !media_type::is_image(&entry.media_type) || !is_image_for_linux(&entry) {
            continue;
        }
        let wanted = platforms
            .iter()
            .position(|wanted| entry.platform.as_ref().is_some_and(|platform| platform.is_same(wanted)));
        if let Some(slot) = wanted.and_then(|wanted| found.get_mut(wanted)) {
            *slot = true;
        }
        if platforms.is_empty() || wanted.is_some() {
            chosen.push((position, entry));
        }
    }
    Ok(chosen)
}

/// Attestations stand beside the images that they speak of, and what has an artifact type was made for one.
fn is_image_for_linux(entry: &Descriptor) -> bool {
    entry.annotation("vnd.docker.reference.type").is_none()
        && entry.artifact_type.is_none()
        && entry.platform.as_ref().is_none_or(|platform| platform.os == "linux")
}

/// Far more than the platforms of any image, and attestations for each.
const MAX_MANIFESTS: usize = 1024;
