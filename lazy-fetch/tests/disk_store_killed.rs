//! What a process had put before it was killed is there for the next one.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use lazy_fetch::conformance::VirtualTime;
use lazy_fetch::{BlobId, ChunkKey, ChunkStore, DiskOptions, DiskStore};

const LEN: u32 = 4096;
/// Where the writer finds its directory.
const DIR: &str = "LAZY_FETCH_TEST_DIR";

fn key(index: u64) -> ChunkKey {
    ChunkKey { blob: BlobId::new("sha256:aa").unwrap(), offset: index * u64::from(LEN), len: LEN }
}

fn chunk(index: u64) -> Bytes {
    Bytes::from(vec![(index % 251) as u8 + 1; LEN as usize])
}

fn open(time: &VirtualTime, dir: &Path) -> DiskStore {
    DiskStore::open(Arc::new(time.clone()), dir, DiskOptions::default()).unwrap()
}

/// Runs in a process of its own: writes until it is killed, and says how far it is.
#[test]
#[ignore = "the other test starts it"]
fn writer() {
    let dir = std::env::var_os(DIR).expect("the directory");
    let time = VirtualTime::new();
    let store = open(&time, Path::new(&dir));
    for index in 0.. {
        time.block_on(store.put(&key(index), chunk(index))).unwrap();
        println!("put {index}");
    }
}

#[test]
fn everything_that_was_put_before_the_kill_is_a_hit_and_the_rest_is_right_or_a_miss() {
    for lines in [1, 2, 50, 333] {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["writer", "--exact", "--ignored", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(writer.stdout.take().unwrap());
        let put: Vec<u64> = output
            .lines()
            .filter_map(|line| line.unwrap().split_once("put ")?.1.parse().ok())
            .take(lines)
            .collect();
        writer.kill().unwrap();
        writer.wait().unwrap();

        assert_eq!(put.len(), lines);
        let time = VirtualTime::new();
        let store = open(&time, dir.path());
        for index in 0..2000 {
            match time.block_on(store.get(&key(index))) {
                Some(got) => assert_eq!(got, chunk(index)),
                None => assert!(!put.contains(&index), "chunk {index} is lost"),
            }
        }
        // The next process goes on.
        time.block_on(store.put(&key(5000), chunk(5000))).unwrap();
        assert_eq!(time.block_on(open(&time, dir.path()).get(&key(5000))), Some(chunk(5000)));
    }
}
