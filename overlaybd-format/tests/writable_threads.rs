//! Readers, writers, flushes, snapshots and compactions of one device at once, on real files.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use futures::executor::block_on;
use overlaybd_format::{
    AppendOnly, FileStorage, Limits, ReadWriteAt, Sparse, Upper, UpperOptions, WritableImage,
};

#[derive(Debug, Clone, Copy)]
enum Kind {
    AppendOnly,
    Sparse,
}

fn create(directory: &Path, name: &str, kind: Kind, size: u64) -> Upper {
    let file = |suffix| FileStorage::create(directory.join(format!("{name}.{suffix}"))).unwrap();
    let options = UpperOptions::new(size);
    match kind {
        Kind::AppendOnly => AppendOnly::create(file("data"), file("index"), &options).unwrap().into(),
        Kind::Sparse => Sparse::create(file("data"), &options).unwrap().into(),
    }
}

/// Each writer has sectors of its own and counts up in them; what a reader sees never goes back, and
/// is never older than what was acknowledged before it looked.
fn storm(kind: Kind, next: Kind) {
    let directory = tempfile::tempdir().unwrap();
    let device =
        WritableImage::new(None, create(directory.path(), "first", kind, WRITERS * RUN * SECTOR)).unwrap();
    let acknowledged: Vec<AtomicU64> = (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
    let done = AtomicBool::new(false);

    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (device, acknowledged) = (&device, &acknowledged[writer as usize]);
                scope.spawn(move || {
                    for count in 1..=WRITES {
                        let bytes: Vec<u8> =
                            std::iter::repeat_n(count.to_le_bytes(), (RUN * SECTOR / 8) as usize)
                                .flatten()
                                .collect();
                        block_on(device.write_at(&bytes, writer * RUN * SECTOR)).unwrap();
                        acknowledged.store(count, Ordering::SeqCst);
                        if count % 16 == writer {
                            device.flush().unwrap();
                        }
                    }
                })
            })
            .collect();
        for reader in 0..2 {
            let (device, acknowledged, done) = (&device, &acknowledged, &done);
            scope.spawn(move || {
                let mut last = [[0; RUN as usize]; WRITERS as usize];
                let mut buf = vec![0; (RUN * SECTOR) as usize];
                while !done.load(Ordering::SeqCst) {
                    for writer in (0..WRITERS).rev().map(|writer| (writer + reader) % WRITERS) {
                        let least = acknowledged[writer as usize].load(Ordering::SeqCst);
                        let _ = device.try_read_at(&mut buf, writer * RUN * SECTOR).unwrap();
                        for (sector, last) in buf.chunks(SECTOR as usize).zip(&mut last[writer as usize]) {
                            let seen = sector.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
                            assert!(
                                seen.clone().all(|count| count >= least.max(*last)),
                                "older than {least}, {last}"
                            );
                            *last = seen.min().unwrap();
                        }
                    }
                }
            });
        }

        let exchanges = scope.spawn(|| {
            let file = |name: &str| FileStorage::create(directory.path().join(name)).unwrap();
            for round in 0..6 {
                if let Kind::AppendOnly = if round == 0 { kind } else { next } {
                    let (data, index) = (format!("compact-{round}"), format!("compact-{round}.index"));
                    device.compact(file(&data), file(&index), || Ok(())).unwrap();
                }
                let upper = create(directory.path(), &format!("upper-{round}"), next, 0);
                device.snapshot(upper, || Ok(())).unwrap();
                thread::yield_now();
            }
        });
        let ended: Vec<_> = writers.into_iter().chain([exchanges]).map(|thread| thread.join()).collect();
        done.store(true, Ordering::SeqCst);
        ended.into_iter().for_each(|end| end.unwrap());
    });

    let mut whole = vec![0; device.size() as usize];
    block_on(device.read_at(&mut whole, 0)).unwrap();
    assert!(whole.as_chunks::<8>().0.iter().all(|word| u64::from_le_bytes(*word) == WRITES));
}

#[test]
fn append_only_layers_are_exchanged_under_load() {
    storm(Kind::AppendOnly, Kind::AppendOnly);
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "files are not asked for their holes here")]
fn sparse_layers_are_exchanged_under_load() {
    storm(Kind::Sparse, Kind::Sparse);
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "files are not asked for their holes here")]
fn kinds_are_exchanged_under_load() {
    storm(Kind::AppendOnly, Kind::Sparse);
    storm(Kind::Sparse, Kind::AppendOnly);
}

/// What threads flushed is there in the files, whoever did the work.
#[test]
fn flushes_of_many_threads_are_all_durable() {
    let directory = tempfile::tempdir().unwrap();
    let layer = create(directory.path(), "layer", Kind::AppendOnly, 1 << 20);
    thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (layer, directory) = (&layer, directory.path());
            scope.spawn(move || {
                for n in 0..8 {
                    let sector = thread * 8 + n;
                    layer.write(sector * SECTOR, &[7; SECTOR as usize]).unwrap();
                    layer.flush().unwrap();
                    let index = std::fs::read(directory.join("layer.index")).unwrap();
                    let flushed =
                        index[4096..].as_chunks::<16>().0.iter().any(|entry| {
                            u64::from_le_bytes(*entry.first_chunk().unwrap()) == sector | 1 << 50
                        });
                    assert!(flushed, "sector {sector} is not in the index file after its flush");
                }
            });
        }
    });
    drop(layer);
    let file = |name: &str| FileStorage::open(directory.path().join(name)).unwrap();
    let layer = AppendOnly::open(file("layer.data"), file("layer.index"), &Limits::default()).unwrap();
    assert_eq!(layer.segments().len(), 64);
}

const SECTOR: u64 = 512;
const WRITERS: u64 = 4;
/// Sectors of a writer: no whole number of blocks, so that neighbours share one.
const RUN: u64 = 11;
const WRITES: u64 = 400;
