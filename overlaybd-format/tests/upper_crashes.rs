//! The power fails, or the disk reports an error, at every single change of a workload: what opens
//! afterwards is a legal state, and can be worked on.

use futures::executor::block_on;
use overlaybd_format::{AppendOnly, Error, Layer, LayerBlob, Limits, MemoryBlob, UpperOptions};

use crate::disk::{Disk, Fault, Tearing};
use crate::world::{Kind, Op, World};

#[path = "harness/disk.rs"]
mod disk;
#[path = "harness/faults.rs"]
mod faults;
#[path = "harness/world.rs"]
mod world;

/// Everything that can be done, with writes that cross sectors, blocks and one another.
fn workload(next: Kind) -> Vec<Op> {
    let write = |start, len| Op::Write { start, len };
    let discard = |start, len| Op::Discard { start, len };
    vec![
        write(3, 20),
        discard(5, 4),
        write(21, 12),
        Op::Flush,
        write(0, 9),
        discard(16, 24),
        write(40, 1),
        Op::Flush,
        write(2, 3),
        Op::Compact,
        discard(0, 2),
        write(50, 14),
        Op::Snapshot(next),
        write(8, 8),
        discard(12, 30),
        Op::Flush,
        write(13, 1),
        Op::Resize(45),
        write(44, 1),
        Op::Resize(70),
        write(60, 10),
        discard(62, 3),
        Op::Restack,
        write(1, 40),
        Op::Compact,
        write(5, 5),
    ]
}

/// Runs the workload with `fault` at each change in turn, and then goes on.
fn fail_everywhere(kind: Kind, next: Kind, on_base: bool, tearing: Tearing, fault: Fault, seeds: u64) {
    let mut at = 0;
    loop {
        for seed in 0..seeds {
            let disk = Disk::new(seed << 32 | at, tearing);
            let mut world = World::new(disk.clone(), kind, 65, on_base);
            disk.set_fault(at, fault);
            let last = disk.changes() + at;
            for op in workload(next) {
                if world.apply(world.fit(op)).is_ok() {
                    continue;
                }
                // After an error the workload goes on, or ends with a flush that may work again.
                if fault == Fault::PowerCut {
                    break;
                } else if seed % 2 == 1 {
                    let _ = world.apply(Op::Flush);
                    break;
                }
            }
            let met = disk.changes() > last;
            world.crash();
            for op in [Op::Write { start: 7, len: 30 }, Op::Flush, Op::Write { start: 0, len: 9 }, Op::Crash]
            {
                world.apply(world.fit(op)).unwrap_or_else(|error| panic!("after {fault:?} at {at}: {error}"));
            }
            if !met {
                assert!(at > 40, "the workload makes {at} changes only");
                return;
            }
        }
        at += 1;
    }
}

/// Seals a layer with a power cut at each change in turn: a file that says that it is sealed is.
#[test]
fn power_cuts_of_a_seal() {
    for (at, seed) in (0..8).flat_map(|at| (0..40).map(move |seed| (at, seed))) {
        let disk = Disk::new(seed << 32 | at, Tearing::Everything);
        let (data, index) = (|| disk.open("data"), || disk.open("index"));
        let layer = AppendOnly::create(data(), index(), &UpperOptions::new(1 << 20)).unwrap();
        // An index of more than one sector.
        for n in 0..40 {
            layer.write(n * 1024, &[n as u8 + 1; 512]).unwrap();
        }
        layer.flush().unwrap();
        disk.set_fault(at, Fault::PowerCut);
        let sealed = layer.seal();
        drop(layer);
        disk.crash();
        let segments = match AppendOnly::open(data(), index(), &Limits::default()) {
            Ok(open) => {
                assert!(sealed.is_err(), "a seal that returned is lost");
                open.segments()
            }
            Err(error) => {
                assert!(matches!(error.root(), Error::ReadOnly { .. }), "{error}");
                let blob = LayerBlob::new("data", MemoryBlob::new(disk.bytes("data")));
                block_on(Layer::open(blob, &Limits::default())).unwrap().segments().to_vec()
            }
        };
        assert_eq!(segments.len(), 40, "cut at {at}, {seed}");
    }
}

#[test]
fn power_cuts_of_append_only_layers() {
    for on_base in [false, true] {
        let (kind, tearing) = (Kind::AppendOnly, Tearing::Everything);
        fail_everywhere(kind, kind, on_base, tearing, Fault::PowerCut, 8);
    }
}

#[test]
fn power_cuts_of_sparse_layers() {
    for on_base in [false, true] {
        let (kind, tearing) = (Kind::Sparse, Tearing::Sectors);
        fail_everywhere(kind, kind, on_base, tearing, Fault::PowerCut, 8);
    }
}

#[test]
fn power_cuts_where_kinds_change() {
    for (kind, next) in [(Kind::AppendOnly, Kind::Sparse), (Kind::Sparse, Kind::AppendOnly)] {
        fail_everywhere(kind, next, true, Tearing::Sectors, Fault::PowerCut, 4);
    }
}

#[test]
fn errors_of_append_only_layers() {
    for on_base in [false, true] {
        let (kind, tearing) = (Kind::AppendOnly, Tearing::Everything);
        fail_everywhere(kind, kind, on_base, tearing, Fault::Error, 4);
    }
}

#[test]
fn errors_of_sparse_layers() {
    for on_base in [false, true] {
        let (kind, tearing) = (Kind::Sparse, Tearing::Sectors);
        fail_everywhere(kind, kind, on_base, tearing, Fault::Error, 4);
    }
}
