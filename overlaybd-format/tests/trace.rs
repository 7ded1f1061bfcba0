//! A trace that the reference recorded: what it says, and that we record and replay the same.

use std::collections::BTreeSet;

use futures::executor::block_on;
use overlaybd_format::trace::{Op, Record, Trace};
use overlaybd_format::{Content, Image, LayerBlob, Limits, MemoryBlob, ReadAt};
use serde::Deserialize;

use crate::golden::{Case, manifest};

#[path = "harness/golden.rs"]
mod golden;

#[derive(Deserialize)]
struct Recorded {
    records: Vec<Read>,
    /// How many of the records come from opening the layers.
    opening: usize,
}

#[derive(Deserialize)]
struct Read {
    layer: u32,
    offset: u64,
    len: u64,
}

fn expected() -> (Vec<Record>, usize) {
    let Recorded { records, opening } = manifest("trace");
    let records = records.iter().map(|read| Record::read(read.layer, read.offset..read.offset + read.len));
    (records.collect(), opening)
}

fn image(case: &Case) -> Image {
    let layers = ["L0.obd", "L1.obd"].map(|file| LayerBlob::new(file, case.blob(file)));
    block_on(Image::open(layers.into(), &Limits::default())).unwrap()
}

#[test]
fn the_recorded_trace_is_read_and_written() {
    let file = Case::open("trace").bytes("trace");
    let trace = Trace::decode(&file, &Limits::default()).unwrap();
    assert_eq!(trace.records, expected().0);
    assert!(trace.records.iter().all(|record| record.op == Op::Read));

    // Ours is the same file but for the bytes without meaning, and the checksum, which covers them.
    let ours = trace.encode();
    let meaning = |file: &[u8]| {
        let mut file = file.to_vec();
        file[4..8].fill(0);
        file[16..24].fill(0);
        file[24..].as_chunks_mut::<24>().0.iter_mut().for_each(|record| record[1..4].fill(0));
        file
    };
    assert_eq!(meaning(&ours), meaning(&file));
}

#[test]
fn the_same_reads_make_the_same_trace() {
    let case = Case::open("trace");
    let text = String::from_utf8(case.bytes("reads.txt").to_vec()).unwrap();
    let reads: Vec<_> = text
        .lines()
        .map(|line| {
            let (offset, len) = line.split_once(' ').unwrap();
            let offset: u64 = offset.parse().unwrap();
            offset..offset + len.parse::<u64>().unwrap()
        })
        .collect();
    let image = image(&case);
    let trace = |reads: &[_]| Trace::of(&image, reads, &Limits::default()).unwrap().records;
    let (recorded, opening) = expected();
    let recorded = &recorded[opening..];

    // The reference records what is read again, so each read is compared on its own.
    let single: Vec<Record> = reads.iter().flat_map(|read| trace(std::slice::from_ref(read))).collect();
    assert_eq!(joined(&single), joined(recorded));

    let bytes = |records: &[Record]| -> BTreeSet<_> {
        records.iter().flat_map(|record| record.content.clone().map(|byte| (record.layer, byte))).collect()
    };
    let together = trace(&reads);
    assert_eq!(bytes(&together), bytes(recorded));
    let len: u64 = together.iter().map(|record| record.content.end - record.content.start).sum();
    assert_eq!(len, bytes(recorded).len() as u64, "a byte is in two records");
}

/// The records, with those that go on where the one before ends taken as one, as we record them.
fn joined(records: &[Record]) -> Vec<Record> {
    let mut joined: Vec<Record> = Vec::new();
    for record in records {
        match joined.last_mut() {
            Some(last) if (last.layer, last.content.end) == (record.layer, record.content.start) => {
                last.content.end = record.content.end;
            }
            _ => joined.push(record.clone()),
        }
    }
    joined
}

#[test]
fn a_replay_names_every_stored_byte_once_and_in_order() {
    let case = Case::open("trace");
    let image = image(&case);
    let (records, _) = expected();
    let ranges = Trace { records: records.clone() }.blob_ranges(&image).unwrap();

    assert_eq!((ranges[0].layer, ranges[0].range.start), (0, 0), "the first read is of the lower header");
    for layer in 0..2 {
        let size = case.blob(["L0.obd", "L1.obd"][layer]).size();
        let mut named: Vec<_> = ranges.iter().filter(|r| r.layer == layer).map(|r| r.range.clone()).collect();
        named.sort_by_key(|range| range.start);
        assert!(named.is_sorted_by(|a, b| a.end <= b.start), "a byte is named twice: {named:?}");
        assert!(named.iter().all(|range| range.end <= size));
        // The upper layer is compressed; the lower one is not, so its bytes can be told one by one.
        if layer == 0 {
            for record in records.iter().filter(|record| record.layer == 0) {
                let missing = record.content.clone().find(|at| !named.iter().any(|range| range.contains(at)));
                assert_eq!(missing, None, "of {record:?} in {named:?}");
            }
        }
    }
}

#[test]
fn the_trace_of_an_acceleration_layer_is_its_content() {
    let file = Case::open("trace").bytes("trace");
    let mut header = tar::Header::new_ustar();
    header.set_size(file.len() as u64);
    header.set_mode(0o444);
    let mut layer = tar::Builder::new(Vec::new());
    layer.append_data(&mut header, "trace", file.as_ref()).unwrap();
    let layer = MemoryBlob::new(layer.into_inner().unwrap());

    let content = block_on(Content::open(layer, &Limits::default())).unwrap();
    let mut bytes = vec![0; content.size() as usize];
    block_on(content.read_at(&mut bytes, 0)).unwrap();
    assert!(content.has_tar() && bytes == file);
}

#[test]
fn records_of_nothing_are_passed_over() {
    let image = image(&Case::open("trace"));
    let write = Record { op: Op::Write, ..Record::read(0, 0..4096) };
    let beyond = Record::read(1, i64::MAX as u64 - 1..i64::MAX as u64);
    let partly = Record::read(0, 118_784..u64::MAX / 2);
    let records = vec![write, Record::read(7, 0..4096), beyond, Record::read(0, 5..5), partly];
    let ranges = Trace { records }.blob_ranges(&image).unwrap();
    assert_eq!(ranges.len(), 1);
    assert_eq!((ranges[0].layer, ranges[0].range.clone()), (0, 118_784..122_880));
}

#[test]
fn a_trace_of_much_is_cut_at_the_limit() {
    let mut limits = Limits::default();
    limits.trace_records = 3;
    let image = image(&Case::open("trace"));
    let trace = Trace::of(&image, &[0..image.size(), 0..image.size()], &limits).unwrap();
    assert_eq!(trace.records.len(), 3);
    assert!(Trace::decode(&trace.encode(), &limits).is_ok());
}
