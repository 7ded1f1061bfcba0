//! A read of bytes that are not at hand.
//!
//! The pieces of the read are looked up first, without I/O. Pieces of one layer whose stored bytes
//! touch or overlap become one request; all requests of a batch run at once, and each is decoded as
//! it arrives.

use std::ops::Range;

use futures::future::try_join_all;

use super::Image;
use super::pieces::Source;
use crate::{Layer, Result};

pub(super) async fn read(image: &Image, buf: &mut [u8], offset: u64) -> Result<()> {
    let mut parts = plan(image, buf, offset)?.into_iter().peekable();
    while parts.peek().is_some() {
        let mut batch: Vec<Request<'_>> = Vec::new();
        let mut bytes = 0u64;
        while let Some(part) =
            parts.next_if(|part| bytes == 0 || bytes.saturating_add(len(&part.stored)) <= BATCH)
        {
            bytes = bytes.saturating_add(len(&part.stored));
            match batch.last_mut() {
                Some(request) if request.reaches(&part) => request.add(part),
                _ => batch.push(Request::new(part)),
            }
        }
        try_join_all(batch.into_iter().map(|request| request.run(image))).await?;
    }
    Ok(())
}

/// A piece of the read that has stored bytes.
struct Part<'a> {
    layer: usize,
    /// Its place in the layer's content.
    at: u64,
    /// The bytes of the blob that it is in.
    stored: Range<u64>,
    buf: &'a mut [u8],
}

/// The stored pieces, in the order in which their blobs hold them. Zeros are filled in at once.
fn plan<'a>(image: &'a Image, buf: &'a mut [u8], offset: u64) -> Result<Vec<Part<'a>>> {
    let mut parts = Vec::new();
    for (source, buf) in image.pieces(buf, offset) {
        match source {
            Source::Zeros => buf.fill(0),
            Source::Stored { layer, at } => {
                let of = image.layer(layer)?;
                let content = at..at.saturating_add(buf.len() as u64);
                let stored = of.content().stored(content).map_err(|error| of.name_error(error))?;
                parts.push(Part { layer, at, stored, buf });
            }
        }
    }
    parts.sort_by_key(|part| (part.layer, part.stored.start));
    Ok(parts)
}

/// One range of a blob and the pieces that are in it.
struct Request<'a> {
    layer: usize,
    stored: Range<u64>,
    parts: Vec<Part<'a>>,
}

impl<'a> Request<'a> {
    fn new(part: Part<'a>) -> Self {
        Self { layer: part.layer, stored: part.stored.clone(), parts: vec![part] }
    }

    fn reaches(&self, part: &Part<'_>) -> bool {
        self.layer == part.layer && part.stored.start <= self.stored.end
    }

    fn add(&mut self, part: Part<'a>) {
        self.stored.end = self.stored.end.max(part.stored.end);
        self.parts.push(part);
    }

    async fn run(self, image: &Image) -> Result<()> {
        let layer = image.layer(self.layer)?;
        self.read(layer).await.map_err(|error| layer.name_error(error))
    }

    async fn read(mut self, layer: &Layer) -> Result<()> {
        let content = layer.content();
        if let ([part], true) = (self.parts.as_mut_slice(), content.is_plain()) {
            return content.blob().read_at(part.buf, self.stored.start).await;
        }
        let mut stored = vec![0; usize::try_from(len(&self.stored)).unwrap_or(usize::MAX)];
        content.blob().read_at(&mut stored, self.stored.start).await?;
        self.parts
            .into_iter()
            .try_for_each(|part| content.extract(part.at, &stored, self.stored.start, part.buf))
    }
}

fn len(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

/// Stored bytes held at a time. A piece has at most 8 MiB of content, so a batch may exceed this by
/// the stored form of one.
const BATCH: u64 = 32 << 20;
