//! A layer opened from slices alone is the layer that `Layer::open` gives, and hostile ranges are
//! refused.

use std::ops::Range;

use bytes::Bytes;
use futures::executor::block_on;
use overlaybd_format::{
    Error, Layer, LayerBlob, Limits, MemoryBlob, ReadAt, Result, Segment, lsmt, tar, zfile,
};

use crate::golden::{Case, DEVICE_CASES};

#[path = "harness/golden.rs"]
mod golden;

/// The content of a blob and how to read it.
struct Stream {
    inside: Bytes,
    blocks: Option<zfile::Blocks>,
}

impl Stream {
    fn open(blob: &Bytes, limits: &Limits) -> Result<Self> {
        let inside = tar::unwrap(&blob[..blob.len().min(tar::HEAD)], blob.len() as u64)?;
        let inside = slice(blob, inside);
        let size = inside.len() as u64;
        if !zfile::Header::detect(&inside) {
            return Ok(Self { inside, blocks: None });
        }
        let mut header = zfile::Header::decode_header(&inside)?;
        if !header.is_finished() {
            let at = zfile::Header::trailer_range(size)?;
            header = zfile::Header::decode_trailer(&slice(&inside, at.clone()), at.start)?;
        }
        let table = slice(&inside, zfile::Blocks::table_range(&header, size, limits)?);
        let blocks = zfile::Blocks::decode_table(&header, &table)?;
        Ok(Self { inside, blocks: Some(blocks) })
    }

    fn size(&self) -> u64 {
        self.blocks.as_ref().map_or(self.inside.len() as u64, zfile::Blocks::content_size)
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let Some(blocks) = &self.blocks else { return Ok(slice(&self.inside, range).to_vec()) };
        let mut content = vec![0; (range.end - range.start) as usize];
        let stored = slice(&self.inside, blocks.stored(range.clone())?);
        blocks.decode(range.start, &stored, &mut content)?;
        Ok(content)
    }

    fn segments(&self, limits: &Limits) -> Result<Vec<Segment>> {
        lsmt::Header::decode_header(&self.read(0..4096)?)?;
        let at = lsmt::Header::trailer_range(self.size())?;
        let trailer = lsmt::Header::decode_trailer(&self.read(at.clone())?, at.start)?;
        trailer.decode_index(&self.read(trailer.index_range(self.size(), limits)?)?)
    }
}

fn slice(bytes: &Bytes, range: Range<u64>) -> Bytes {
    bytes.slice(range.start as usize..range.end as usize)
}

#[test]
fn slices_give_what_the_reader_gives() {
    let limits = Limits::default();
    for name in DEVICE_CASES {
        let case = Case::open(name);
        for device in case.devices() {
            for file in &device.layers {
                let blob = case.bytes(file);
                let stream = Stream::open(&blob, &limits).unwrap();
                let layer = LayerBlob::new(file.as_str(), MemoryBlob::new(blob));
                let layer = block_on(Layer::open(layer, &limits)).unwrap();

                assert_eq!(stream.size(), layer.content().size());
                assert_eq!(stream.segments(&limits).unwrap(), layer.segments(), "{file} of {name}");
                let mut expected = vec![0; stream.size() as usize];
                block_on(layer.content().read_at(&mut expected, 0)).unwrap();
                assert!(stream.read(0..stream.size()).unwrap() == expected, "{file} of {name}");
            }
        }
    }
}

#[test]
fn an_index_only_layer_is_decoded_over_its_target() {
    let limits = Limits::default();
    let blob = Case::open("turbooci").bytes("erofs-tar-L3.fs.meta");
    let target_size = 1 << 20;
    let stream = Stream::open(&blob, &limits).unwrap();
    let at = lsmt::Header::trailer_range(stream.size()).unwrap();
    let trailer = lsmt::Header::decode_trailer(&stream.read(at.clone()).unwrap(), at.start).unwrap();
    let index = stream.read(trailer.index_range(stream.size(), &limits).unwrap()).unwrap();
    assert!(matches!(trailer.decode_index(&index), Err(Error::MissingTarget)));
    assert!(matches!(
        trailer.decode_index_with_target(&index, stream.size(), 512),
        Err(Error::Broken { .. })
    ));
    let segments = trailer.decode_index_with_target(&index, stream.size(), target_size).unwrap();

    let target = MemoryBlob::new(vec![0; target_size as usize]);
    let layer = LayerBlob::new("layer", MemoryBlob::new(blob)).with_target("tar", target);
    let layer = block_on(Layer::open(layer, &limits)).unwrap();
    assert_eq!(segments, layer.segments());
}

#[test]
#[expect(clippy::reversed_empty_ranges)]
fn ranges_outside_the_content_are_refused() {
    let blob = Case::open("zfile-raw").bytes("z.s.4097");
    let blocks = Stream::open(&blob, &Limits::default()).unwrap().blocks.unwrap();
    let out_of_bounds = |error| matches!(error, Error::OutOfBounds { .. });
    for range in [0..4098, 4097..4098, u64::MAX - 1..u64::MAX] {
        assert!(out_of_bounds(blocks.stored(range).unwrap_err()));
    }
    assert!(blocks.stored(100..50).unwrap().is_empty());
    assert!(blocks.stored(4097..4097).is_ok());

    let stored = slice(&blob, blocks.stored(0..4097).unwrap());
    let mut out = [0; 4097];
    blocks.decode(0, &stored, &mut out).unwrap();
    assert!(out_of_bounds(blocks.decode(1, &stored, &mut out).unwrap_err()), "beyond the content");
    let short = &stored[..stored.len() - 1];
    assert!(out_of_bounds(blocks.decode(0, short, &mut out).unwrap_err()), "too few stored bytes");
}

#[test]
fn sizes_without_room_for_records_are_broken() {
    for size in [0, 4095, 4096, 8191] {
        assert!(matches!(lsmt::Header::trailer_range(size), Err(Error::Broken { .. })), "{size}");
    }
    assert_eq!(lsmt::Header::trailer_range(8192).unwrap(), 4096..8192);
    assert!(matches!(zfile::Header::trailer_range(511), Err(Error::Broken { .. })));
}
