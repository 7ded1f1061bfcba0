//! The layers of a writable device: an image, uppers that were sealed by snapshots, and the upper.

use std::ops::Range;
use std::sync::Arc;

use futures::future::try_join_all;

use crate::lsmt::SECTOR_SIZE;
use crate::upper::{Below, Edges, Found};
use crate::{Error, Image, ReadAt, Result, Segment, Upper, Warm};

#[derive(Debug)]
pub(super) struct Stack {
    image: Option<Arc<Image>>,
    /// Bottom first, the writable layer last.
    uppers: Vec<Arc<Upper>>,
    top: Arc<Upper>,
}

impl Stack {
    pub(super) fn new(image: Option<Arc<Image>>, upper: Upper) -> Self {
        let top = Arc::new(upper);
        Self { image, uppers: vec![Arc::clone(&top)], top }
    }

    /// The stack with `upper` on top, its present upper layer being sealed.
    pub(super) fn with_upper_on_top(&self, upper: Upper) -> Self {
        let top = Arc::new(upper);
        let uppers = self.uppers.iter().chain([&top]).map(Arc::clone).collect();
        Self { image: self.image.clone(), uppers, top }
    }

    /// The stack with another upper layer in the place of its present one.
    pub(super) fn with_upper(&self, upper: Upper) -> Self {
        let top = Arc::new(upper);
        let uppers = self.sealed().iter().chain([&top]).map(Arc::clone).collect();
        Self { image: self.image.clone(), uppers, top }
    }

    /// The stack with `image` in the place of everything below its upper layer.
    pub(super) fn with_image(&self, image: Arc<Image>) -> Self {
        Self { image: Some(image), uppers: vec![Arc::clone(&self.top)], top: Arc::clone(&self.top) }
    }

    pub(super) fn upper(&self) -> &Upper {
        &self.top
    }

    pub(super) fn size(&self) -> u64 {
        self.top.virtual_size()
    }

    /// Size of what the upper layer is on, in bytes.
    pub(super) fn size_below(&self) -> u64 {
        let of_image = || self.image.as_ref().map_or(0, |image| image.size());
        self.sealed().last().map_or_else(of_image, |upper| upper.virtual_size())
    }

    /// Makes the upper layer one that is on these lowers: with a size, and with their number in its
    /// segments.
    pub(super) fn adopt(&self) -> Result<()> {
        if self.top.virtual_size() == 0 {
            let size = self.size_below();
            if size == 0 {
                let why = "neither the upper layer nor one below says how large it is";
                return Err(Error::Refused { operation: "make a device", why });
            }
            self.top.set_virtual_size(size)?;
        }
        let of_image = self.image.as_ref().map_or(0, |image| image.layers().len());
        let lowers = of_image.saturating_add(self.sealed().len());
        let tag = u8::try_from(lowers).map_err(|_| Error::Limit {
            what: "layers in a stack",
            value: lowers as u64,
            limit: u64::from(u8::MAX),
        })?;
        self.top.stack_on(tag);
        Ok(())
    }

    /// Everything, to be read.
    pub(super) fn whole(&self) -> View<'_> {
        View { uppers: &self.uppers, image: self.image.as_deref() }
    }

    /// What is below the upper layer in the blocks that a write of `sectors` covers in part.
    pub(super) async fn edges(&self, sectors: Range<u64>) -> Result<Edges> {
        let mut edges = Edges::default();
        for block in self.top.edges(sectors) {
            let mut bytes = vec![0; bytes_of(block.end.saturating_sub(block.start)) as usize];
            self.lowers().read(&mut bytes, bytes_of(block.start)).await?;
            edges.add(block.start, bytes);
        }
        Ok(edges)
    }

    /// What a discard of `sectors` has to hide.
    pub(super) async fn below(&self, sectors: Range<u64>) -> Result<Below> {
        let stored = match self.upper() {
            Upper::AppendOnly(_) => Vec::new(),
            Upper::Sparse(_) => self.lowers().stored(sectors.clone()),
        };
        Ok(Below { edges: self.edges(sectors).await?, stored })
    }

    fn lowers(&self) -> View<'_> {
        View { uppers: self.sealed(), image: self.image.as_deref() }
    }

    fn sealed(&self) -> &[Arc<Upper>] {
        self.uppers.split_last().map_or(&[], |(_, sealed)| sealed)
    }
}

/// Layers to be read: all of a stack, or those below its upper.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    uppers: &'a [Arc<Upper>],
    image: Option<&'a Image>,
}

/// Where bytes come from.
enum Source<'a> {
    Zeros,
    /// The data file of an upper, from this byte on.
    Upper(&'a Upper, u64),
    Image(&'a Image),
}

impl<'a> View<'a> {
    pub(super) fn try_read(self, buf: &mut [u8], offset: u64) -> Result<Warm> {
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let (source, part, tail) = self.next(at, rest);
            let len = part.len() as u64;
            match source {
                Source::Zeros => part.fill(0),
                Source::Upper(upper, byte) => upper.data().read(part, byte)?,
                Source::Image(image) => match image.try_read_at(part, at)? {
                    Warm::Yes => {}
                    Warm::No => return Ok(Warm::No),
                },
            }
            (at, rest) = (at.saturating_add(len), tail);
        }
        Ok(Warm::Yes)
    }

    /// Reads all parts that come from the image at once.
    pub(super) async fn read(self, buf: &mut [u8], offset: u64) -> Result<()> {
        let mut of_image = Vec::new();
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let (source, part, tail) = self.next(at, rest);
            let len = part.len() as u64;
            match source {
                Source::Zeros => part.fill(0),
                Source::Upper(upper, byte) => upper.data().read(part, byte)?,
                Source::Image(image) => of_image.push(image.read_at(part, at)),
            }
            (at, rest) = (at.saturating_add(len), tail);
        }
        try_join_all(of_image).await.map(|_| ())
    }

    /// The sectors within `sectors` that have stored bytes, in ascending order: those beyond the size
    /// of the image too, because they show when a larger layer is put on it.
    pub(super) fn stored(self, sectors: Range<u64>) -> Vec<Range<u64>> {
        let mut stored = Vec::new();
        let mut at = sectors.start;
        while at < sectors.end {
            let (found, end) = self.find_upper(at, sectors.end);
            match (found, self.image) {
                (Some((_, segment)), _) if !segment.is_zeroed() => stored.push(at..end),
                (None, Some(image)) => {
                    let segments = image.index().lookup(at..end).filter(|segment| !segment.is_zeroed());
                    stored.extend(segments.map(|segment| segment.sectors()));
                }
                _ => {}
            }
            at = end;
        }
        stored
    }

    /// Takes from the front of `rest`, which is for the bytes from `at` on, what comes from one place.
    fn next<'b>(self, at: u64, rest: &'b mut [u8]) -> (Source<'a>, &'b mut [u8], &'b mut [u8]) {
        let sector = at / SECTOR_SIZE;
        let read_end = at.saturating_add(rest.len() as u64);
        let (source, end) = self.find(sector, read_end.div_ceil(SECTOR_SIZE));
        let end = bytes_of(end).min(read_end);
        let source = match source {
            Source::Upper(upper, byte) => {
                Source::Upper(upper, byte.saturating_add(at.saturating_sub(bytes_of(sector))))
            }
            other => other,
        };
        let (part, tail) = rest.split_at_mut(end.saturating_sub(at) as usize);
        (source, part, tail)
    }

    /// Where sector `at` comes from, and up to which sector before `end` it is the same place.
    fn find(self, at: u64, end: u64) -> (Source<'a>, u64) {
        let (found, end) = self.find_upper(at, end);
        match (found, self.image) {
            (Some((upper, segment)), _) if !segment.is_zeroed() => {
                (Source::Upper(upper, bytes_of(segment.stored_at())), end)
            }
            // The device may have grown beyond the layers below.
            (None, Some(image)) if bytes_of(at) < image.size() => {
                (Source::Image(image), end.min(image.size() / SECTOR_SIZE))
            }
            _ => (Source::Zeros, end),
        }
    }

    /// The topmost upper that maps sector `at`, if one does, and up to which sector before `end` that
    /// is so.
    fn find_upper(self, at: u64, mut end: u64) -> (Option<(&'a Upper, Segment)>, u64) {
        for upper in self.uppers.iter().rev() {
            match upper.find(at, end) {
                Found::Gap(gap_end) => end = gap_end,
                Found::Mapped(segment) => return (Some((&**upper, segment)), segment.end()),
            }
        }
        (None, end)
    }
}

pub(super) fn bytes_of(sectors: u64) -> u64 {
    sectors.saturating_mul(SECTOR_SIZE)
}
