//! Conversion: an ordinary image gets an accelerated one beside it.
//!
//! ```text
//!  image ─► layers, bottom first
//!            full mode        read, check, decompress ─► files ─► compress ─► spool ─► upload
//!                             └ a thread of its own     └ the stack        └ threads  └ while the next is made
//!            index-only mode  read, check, decompress, index, list ─► metadata ─► spool ─► upload
//!                             └ layers in parallel                    └ the stack
//!         ◄─ manifest with artifact type and subject, then the index, then the tag
//! ```
//!
//! The accelerated image belongs into the same place as the ordinary one: that is where it is looked for,
//! where its subject keeps it, and where index-only layers read from. If the ordinary image is to be
//! converted to another place it is copied there first.
//!
//! A layer is spooled to a file before it is uploaded: the length of what is in its tar stands in front of it
//! and is known last, and so is the digest that many registries want to know before. No more than a few layers are
//! on the disk at a time, and none in memory.

pub mod ahead;
pub mod document;
mod image;
pub mod layer_stream;
pub mod options;
pub mod records;
pub mod report;
mod selection;
mod stack;

use std::collections::HashMap;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use referrers::{Content, Descriptor, Digest, Manifest, artifact_type};
use serde::{Deserialize, Serialize};

use crate::copy_image::copy_image;
use crate::image_name::ImageName;
use crate::image_place::ImagePlace;
use crate::progress::Progress;

use self::options::Options;
use self::records::{Key, Records};
use self::report::{ImageReport, Report};
use self::selection::Selection;

/// An image and the place that it is in.
#[derive(Debug)]
pub struct Located {
    /// The place.
    pub place: ImagePlace,
    /// The name of the image there.
    pub name: ImageName,
}

/// Converts the image at `from`, after it was copied to `to` if that is another place or name. What `records` know
/// to be done is not done again. To be called from a task of a tokio runtime with several threads.
///
/// # Errors
///
/// If the image cannot be read, is none that can be converted, or does not have the digests that it says; if
/// the place cannot be written. What was finished until then is there for the next run.
pub async fn convert(
    from: &Located,
    to: Option<&Located>,
    options: &Options,
    records: &Records,
    progress: Progress,
) -> Result<Report> {
    let begun = Instant::now();
    let source = from.place.named(&from.name).await.with_context(|| from.name.to_string())?;
    let Located { place, name } = match to {
        None => from,
        Some(to) => {
            copy_base(from, to, &source, progress).await?;
            to
        }
    };
    let work = Work { place, options, records, progress };
    let converted = work.manifests(&source).await.with_context(|| name.to_string())?;
    let tag = work.tag(name, &converted).await?;
    Ok(Report::new(options.mode, &source, &converted, tag, begun.elapsed()))
}

/// Copies the ordinary image, unless it is there.
async fn copy_base(from: &Located, to: &Located, source: &Manifest, progress: Progress) -> Result<()> {
    if !to.place.has_manifest(&source.descriptor()).await? {
        let step = progress.step("Copying the ordinary image", 0);
        copy_image(&from.place, &to.place, source, &|n| step.add(n)).await?;
        step.finish(&to.name.to_string());
    }
    if let Some(tag) = to.name.tag() {
        set_tag(&to.place, &to.name, source, tag).await?;
    }
    Ok(())
}

/// Gives the manifest the tag, unless it has it.
async fn set_tag(place: &ImagePlace, name: &ImageName, manifest: &Manifest, tag: &str) -> Result<()> {
    let tagged = place.named(&name.with_tag(tag)?).await;
    if tagged.is_ok_and(|tagged| tagged.digest() == manifest.digest()) {
        return Ok(());
    }
    // An error of reading shows itself again here, if it matters.
    place.tag(manifest, tag).await
}

/// A conversion under way.
struct Work<'a> {
    place: &'a ImagePlace,
    options: &'a Options,
    records: &'a Records,
    progress: Progress,
}

/// A converted manifest: what a record of it keeps.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Converted {
    media_type: String,
    body: String,
    /// The images in it.
    images: Vec<ImageReport>,
}

impl Converted {
    fn manifest(&self) -> Result<Manifest> {
        Ok(Manifest::parse(Bytes::from(self.body.clone()), &self.media_type, None)?)
    }
}

impl Work<'_> {
    /// Converts a manifest and what it lists, what is listed first.
    async fn manifests(&self, source: &Manifest) -> Result<Converted> {
        let selection = Selection::of(self.place, source, &self.options.platforms).await?;
        let mut done: HashMap<Digest, Converted> = HashMap::new();
        for (manifest, children) in selection.children_first() {
            let key = self.key(manifest);
            let converted = match self.recorded(&key).await? {
                Some(known) => known,
                None => {
                    let new = match manifest.content() {
                        Content::Image(image) => self.image(manifest, image).await?,
                        Content::Index(_) => self.index(manifest, children, &done).await?,
                    };
                    self.records.keep(&key, &new)?;
                    new
                }
            };
            done.insert(manifest.digest().clone(), converted);
        }
        done.remove(source.digest()).context("nothing of the image can be converted")
    }

    fn key(&self, manifest: &Manifest) -> Key {
        let options = self.options.key();
        let platforms = match manifest.content() {
            Content::Index(_) => self.options.platforms.iter().map(ToString::to_string).collect(),
            Content::Image(_) => Vec::new(),
        };
        options.with(["manifest", manifest.digest().as_str(), &platforms.join(" ")])
    }

    /// What was made under `key` before, if it is still there.
    async fn recorded(&self, key: &Key) -> Result<Option<Converted>> {
        let Some(mut known) = self.records.get::<Converted>(key) else { return Ok(None) };
        let Ok(manifest) = known.manifest() else { return Ok(None) };
        if !self.place.has_manifest(&manifest.descriptor()).await? {
            return Ok(None);
        }
        known.images.iter_mut().for_each(ImageReport::reuse);
        Ok(Some(known))
    }

    async fn index(
        &self,
        source: &Manifest,
        children: &[(usize, Descriptor)],
        done: &HashMap<Digest, Converted>,
    ) -> Result<Converted> {
        let mut listed = Vec::new();
        let mut images = Vec::new();
        let mut kind = artifact_type::OVERLAYBD_NATIVE;
        for (position, child) in children {
            let child = done.get(&child.digest).context("a child of the index was not converted")?;
            let manifest = child.manifest()?;
            if manifest.artifact_type() == Some(artifact_type::OVERLAYBD_TURBO) {
                kind = artifact_type::OVERLAYBD_TURBO;
            }
            listed.push((*position, manifest.descriptor()));
            images.extend(child.images.iter().cloned());
        }
        let body = document::index(source, &listed, kind)?;
        self.store(body, referrers::media_type::OCI_INDEX, images).await
    }

    /// Puts a document that was made where it belongs.
    async fn store(&self, body: Bytes, media_type: &str, images: Vec<ImageReport>) -> Result<Converted> {
        self.place.put_manifest(media_type, body.clone()).await?;
        let body = String::from_utf8(body.into()).context("a document is text")?;
        Ok(Converted { media_type: media_type.to_owned(), body, images })
    }

    /// Gives the result its tag: that of the ordinary image with the suffix of the mode.
    async fn tag(&self, name: &ImageName, converted: &Converted) -> Result<Option<String>> {
        let (Some(suffix), Some(tag)) = (&self.options.suffix, name.tag()) else { return Ok(None) };
        ensure!(!suffix.is_empty(), "without a suffix the tag would be that of the ordinary image");
        let tag = format!("{tag}{suffix}");
        set_tag(self.place, name, &converted.manifest()?, &tag).await?;
        Ok(Some(tag))
    }
}
