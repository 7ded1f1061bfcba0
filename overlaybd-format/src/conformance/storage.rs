//! The contract of [`Storage`].

use std::io;
use std::ops::Range;

use crate::Storage;
use crate::upper::BLOCK;

/// Checks that `file`, which is empty, keeps what the contract of [`Storage`] promises without a crash.
///
/// # Panics
///
/// If the contract is broken; the message says which promise.
pub fn storage(file: &dyn Storage) {
    assert!(size(file) == 0, "size: the file is not empty");
    sizes(file);
    bytes(file);
    holes(file);
    done("sync", file.sync());
}

fn sizes(file: &dyn Storage) {
    done("set_size", file.set_size(3 * BLOCK + 100));
    assert!(size(file) == 3 * BLOCK + 100, "size: extended to {}", size(file));
    assert!(
        read(file, 0..3 * BLOCK + 100).iter().all(|&byte| byte == 0),
        "size: what is gained is not zeros"
    );
    let mut beyond = [0; 2];
    match file.read_at(&mut beyond, 3 * BLOCK + 99) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
        other => panic!("exactness: a read beyond the end gave {other:?}"),
    }
    done("write_at", file.write_at(&[7; 200], 3 * BLOCK));
    assert!(size(file) == 3 * BLOCK + 200, "size: a write extended it to {}", size(file));
    done("set_size", file.set_size(3 * BLOCK + 50));
    done("set_size", file.set_size(4 * BLOCK));
    let tail = read(file, 3 * BLOCK..4 * BLOCK);
    let kept = tail.iter().take_while(|&&byte| byte == 7).count();
    assert!(kept == 50 && tail[50..].iter().all(|&byte| byte == 0), "size: what was cut off came back");
    done("set_size", file.set_size(0));
}

fn bytes(file: &dyn Storage) {
    let written: Vec<u8> = (0..3 * BLOCK).map(|at| (at % 251) as u8).collect();
    done("write_at", file.write_at(&written, 1000));
    assert!(read(file, 1000..1000 + 3 * BLOCK) == written, "exactness: other bytes than were written");
    assert!(read(file, 0..1000).iter().all(|&byte| byte == 0), "exactness: bytes before what was written");
    done("write_at", file.write_at(&[0xee], 5000));
    assert!(
        read(file, 4999..5002)[..] == [written[3999], 0xee, written[4001]],
        "exactness: neighbours of a byte"
    );
    done("set_size", file.set_size(0));
}

fn holes(file: &dyn Storage) {
    done("set_size", file.set_size(8 * BLOCK));
    assert!(data(file).is_empty(), "holes: a file that was only extended has data at {:?}", data(file));
    done("write_at", file.write_at(&[7; 10], 2 * BLOCK + 100));
    done("write_at", file.write_at(&vec![8; 2 * BLOCK as usize], 5 * BLOCK));
    let expected = [2 * BLOCK..3 * BLOCK, 5 * BLOCK..7 * BLOCK];
    assert!(data(file) == expected, "holes: data at {:?} instead of {expected:?}", data(file));
    done("sync", file.sync());
    assert!(data(file) == expected, "holes: after a sync, data at {:?} instead of {expected:?}", data(file));
    let inside = file.next_data(6 * BLOCK).ok().flatten();
    assert!(inside == Some(6 * BLOCK..7 * BLOCK), "holes: data from the middle of a run on is {inside:?}");

    done("punch", file.punch(5 * BLOCK..6 * BLOCK));
    let expected = [2 * BLOCK..3 * BLOCK, 6 * BLOCK..7 * BLOCK];
    assert!(data(file) == expected, "holes: after a punch, data at {:?} instead of {expected:?}", data(file));
    assert!(
        read(file, 5 * BLOCK..6 * BLOCK).iter().all(|&byte| byte == 0),
        "holes: one does not read as zeros"
    );
    assert!(read(file, 6 * BLOCK..7 * BLOCK).iter().all(|&byte| byte == 8), "holes: a neighbour was punched");
    assert!(size(file) == 8 * BLOCK, "holes: a punch changed the size to {}", size(file));
}

fn data(file: &dyn Storage) -> Vec<Range<u64>> {
    let mut runs = Vec::new();
    let mut at = 0;
    loop {
        match file.next_data(at) {
            Ok(Some(run)) if run.start >= at && run.end > run.start => {
                at = run.end;
                runs.push(run);
            }
            Ok(None) => return runs,
            other => panic!("holes: next_data from {at} on gave {other:?}"),
        }
    }
}

fn read(file: &dyn Storage, range: Range<u64>) -> Vec<u8> {
    let mut bytes = vec![0xa5; (range.end - range.start) as usize];
    done("read_at", file.read_at(&mut bytes, range.start));
    bytes
}

fn size(file: &dyn Storage) -> u64 {
    file.size().unwrap_or_else(|error| panic!("size: {error}"))
}

fn done(call: &str, result: io::Result<()>) {
    if let Err(error) = result {
        panic!("{call} failed: {error}");
    }
}
