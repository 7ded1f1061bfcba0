//! The layers of one image, one above the other.

use std::collections::VecDeque;
use std::io::{self, BufWriter};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use overlaybd_format::convert::{ConvertOptions, Converter, TarIndex};
use overlaybd_format::{
    Algorithm, Compression, GzipIndexOptions, LayerOptions, LayerWriter, Limits, Tar, Uuid,
};
use referrers::{Descriptor, Digest, media_type};
use tempfile::NamedTempFile;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, block_in_place};

use super::Work;
use super::ahead::ahead;
use super::document::{EROFS, ImageLayer};
use super::layer_stream::{Encoding, Finished, LayerStream};
use super::options::{Mode, Options, threads};
use super::records::{Key, Records};
use crate::image_place::ImagePlace;
use crate::index_only_blob::IndexOnlyBlob;
use crate::lazy_image::LazyImage;
use crate::open_layer::open_layer;
use crate::progress::Step;
use crate::workers;

/// A layer that is to be converted.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// The layer of the ordinary image.
    pub(super) blob: Descriptor,
    /// The digest of its tar, as the configuration gives it.
    pub(super) diff_id: Digest,
    /// Of the record of what it becomes.
    pub(super) key: Key,
    pub(super) uuid: Uuid,
    pub(super) parent: Uuid,
}

/// How layers are made and where they go.
pub(super) struct Stack<'a> {
    place: &'a ImagePlace,
    options: &'a Options,
    records: &'a Records,
    step: &'a Step,
    runtime: Handle,
}

/// A layer whose tar was read ahead, without those below it.
struct Indexed {
    tar: TarIndex,
    finished: Finished,
    took: Duration,
}

/// A layer on its way to its place.
type Upload = JoinHandle<Result<(ImageLayer, Duration)>>;

impl<'a> Stack<'a> {
    pub(super) fn new(work: &Work<'a>, step: &'a Step) -> Self {
        let runtime = Handle::current();
        Self { place: work.place, options: work.options, records: work.records, step, runtime }
    }

    /// Converts what of `layers` is above those that were `made` before. To be called from a task, whose thread
    /// it keeps busy.
    ///
    /// # Errors
    ///
    /// Of the first layer that cannot be converted. Those below it are finished and recorded.
    pub(super) fn convert(
        &self,
        layers: &[Layer],
        made: &[ImageLayer],
    ) -> Result<Vec<(ImageLayer, Duration)>> {
        block_in_place(|| {
            let mut uploads = VecDeque::new();
            let mut done = Vec::new();
            let converted = self.convert_into(layers, made, &mut uploads, &mut done);
            // What is on its way is what the next run goes on from.
            let uploaded = uploads.into_iter().try_for_each(|upload| self.wait(upload, &mut done));
            converted.and(uploaded).map(|()| done)
        })
    }

    fn convert_into<'l>(
        &self,
        layers: &'l [Layer],
        made: &[ImageLayer],
        uploads: &mut VecDeque<Upload>,
        done: &mut Vec<(ImageLayer, Duration)>,
    ) -> Result<()> {
        let layers = layers.get(made.len()..).unwrap_or_default();
        let mut converter = self.runtime.block_on(self.below(made))?;
        let index = |layer: &'l Layer| {
            let indexed = self.index(layer).with_context(|| layer.blob.digest.to_string())?;
            Ok((layer, indexed))
        };
        workers::in_order(threads(), layers.iter().collect(), index, |(layer, indexed)| {
            let made = match indexed {
                Some(indexed) => self.index_only(&mut converter, layer, indexed),
                None => self.full(&mut converter, layer),
            };
            uploads.push_back(made.with_context(|| layer.blob.digest.to_string())?);
            let full = uploads.len() > SPOOLED;
            full.then(|| uploads.pop_front()).flatten().map_or(Ok(()), |oldest| self.wait(oldest, done))
        })
    }

    /// A converter that goes on above the layers that were made before.
    async fn below(&self, made: &[ImageLayer]) -> Result<Converter> {
        let options = ConvertOptions::default();
        if made.is_empty() {
            return Ok(Converter::new(options));
        }
        let mut blobs = Vec::new();
        for layer in made {
            let target = layer.target().map(str::parse).transpose()?;
            blobs.push(open_layer(self.place, &layer.descriptor, target.as_ref()).await?);
        }
        let below = LazyImage::open(blobs).await?;
        Converter::resume(&*below.device, options).await.context("going on above the layers that are there")
    }

    /// Reads the tar of a layer for index-only mode; `None` if it is to become a full layer.
    fn index(&self, layer: &Layer) -> Result<Option<Indexed>> {
        if self.options.mode == Mode::Full {
            return Ok(None);
        }
        let begun = Instant::now();
        let blob = self.place.blob(&layer.blob)?.reader;
        if Encoding::of(&*blob, &self.runtime)? == Encoding::Zstd {
            if self.options.only_index {
                bail!("it is compressed by zstd, which cannot be read at any position");
            }
            return Ok(None);
        }
        let index = Some(GzipIndexOptions::default());
        let mut stream = LayerStream::open(blob, &layer.blob.digest, index, self.runtime.clone())?;
        let tar = TarIndex::read(&mut stream, &Limits::default())?;
        let finished = stream.finish()?;
        layer.check(&finished)?;
        self.step.add(layer.blob.size);
        Ok(Some(Indexed { tar, finished, took: begun.elapsed() }))
    }

    /// Makes an index-only layer.
    fn index_only(&self, converter: &mut Converter, layer: &Layer, indexed: Indexed) -> Result<Upload> {
        let begun = Instant::now();
        let options = layer.identify(converter.layer_options()).with_index_only(true);
        let options = options.with_compression(Some(Compression::new(Algorithm::Lz4)));
        let writer = LayerWriter::new(io::Cursor::new(Vec::new()), options)?;
        let (fs_meta, _) = converter.index_only(indexed.tar, writer)?;
        let gzip_index = indexed.finished.gzip_index.map(Into::into);
        let target_is_gzip = gzip_index.is_some();
        let parts = IndexOnlyBlob { fs_meta: fs_meta.into_inner().into(), gzip_index };
        let spool = self.place.spool()?;
        let diff_id = parts.write(BufWriter::new(spool.as_file()))?;
        let target = layer.blob.clone();
        let took = indexed.took + begun.elapsed();
        Ok(self.upload(layer, spool, media_type::OCI_LAYER_GZIP, took, move |blob| {
            ImageLayer::index_only(blob, diff_id, &target, target_is_gzip)
        }))
    }

    /// Makes a full layer.
    fn full(&self, converter: &mut Converter, layer: &Layer) -> Result<Upload> {
        let begun = Instant::now();
        let blob = self.place.blob(&layer.blob)?.reader;
        let stream = LayerStream::open(blob, &layer.blob.digest, None, self.runtime.clone())?;
        let spool = self.place.spool()?;
        let options = layer.identify(converter.layer_options());
        let options = options.with_compression(Some(self.options.compression)).with_tar(Some(Tar::Pax));
        let writer = LayerWriter::new(BufWriter::with_capacity(BUFFER, spool.reopen()?), options)?;
        let (stream, written) = ahead(stream, |tar| {
            let written = converter.full(&mut *tar, writer)?;
            io::copy(tar, &mut io::sink())?;
            anyhow::Ok(written)
        });
        written?;
        layer.check(&stream.finish()?)?;
        self.step.add(layer.blob.size);
        Ok(self.upload(layer, spool, media_type::OCI_LAYER, begun.elapsed(), |blob| {
            ImageLayer::full(blob, EROFS)
        }))
    }

    /// Begins to bring a layer to its place; it is recorded once it is there.
    fn upload(
        &self,
        layer: &Layer,
        spool: NamedTempFile,
        media_type: &'static str,
        took: Duration,
        describe: impl FnOnce(Descriptor) -> ImageLayer + Send + 'static,
    ) -> Upload {
        let (place, records, key) = (self.place.clone(), self.records.clone(), layer.key.clone());
        self.runtime.spawn(async move {
            let begun = Instant::now();
            let layer = describe(place.put(spool, media_type).await?);
            records.keep(&key, &layer)?;
            Ok((layer, took + begun.elapsed()))
        })
    }

    fn wait(&self, upload: Upload, done: &mut Vec<(ImageLayer, Duration)>) -> Result<()> {
        done.push(self.runtime.block_on(upload)??);
        Ok(())
    }
}

impl Layer {
    fn identify(&self, options: LayerOptions) -> LayerOptions {
        options.with_identity(self.uuid, self.parent)
    }

    /// Checks that the tar is the one that the configuration promises.
    fn check(&self, finished: &Finished) -> Result<()> {
        ensure!(
            finished.diff_id == self.diff_id,
            "its tar has the digest {}, and the configuration says {}",
            finished.diff_id,
            self.diff_id
        );
        Ok(())
    }
}

/// Finished layers that wait on the disk for their upload, beside the one under way.
const SPOOLED: usize = 2;

const BUFFER: usize = 1 << 20;
