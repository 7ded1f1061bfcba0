//! Every source and store of this crate keeps the contract of its trait.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use lazy_fetch::conformance::{
    Fault, FaultySource, VirtualTime, blob_source, blob_source_under_fault, chunk_store, chunk_store_damaged,
};
use lazy_fetch::{
    BlobSource, ChunkStore, DiskOptions, DiskStore, Error, ErrorKind, FileSource, MemorySource, MemoryStore,
    Runtime,
};

fn content() -> Vec<u8> {
    (0..300_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn check(time: &VirtualTime, source: Arc<dyn BlobSource>) {
    let deadline = time.now() + Duration::from_secs(60);
    time.block_on(blob_source(source, &content(), deadline));
}

#[test]
fn memory_source() {
    check(&VirtualTime::new(), Arc::new(MemorySource::new(content())));
}

#[test]
fn file_source() {
    let (time, dir) = (VirtualTime::new(), tempfile::tempdir().unwrap());
    let path = dir.path().join("blob");
    std::fs::write(&path, content()).unwrap();
    let source = Arc::new(FileSource::open(Arc::new(time.clone()), &path).unwrap());
    check(&time, source.clone());
    let deadline = time.now() + Duration::from_secs(60);

    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(280_000).unwrap();
    let mut stream =
        time.block_on(source.fetch(lazy_fetch::FetchRequest::new(0..300_000, deadline))).unwrap();
    let mut got = Vec::new();
    let error = time.block_on(async {
        loop {
            match futures::StreamExt::next(&mut stream).await {
                Some(Ok(piece)) => got.extend_from_slice(&piece),
                Some(Err(error)) => return error,
                None => panic!("a file that shrank was read to its end"),
            }
        }
    });
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(content().starts_with(&got));
    file.write_all_at(&content()[280_000..], 280_000).unwrap();
    check(&time, source);

    let missing = FileSource::open(Arc::new(time), dir.path().join("missing")).unwrap_err();
    assert!(missing.to_string().contains("missing"), "{missing}");
}

#[test]
fn faulty_source() {
    let time = VirtualTime::new();
    let source = FaultySource::new(Arc::new(time.clone()), Arc::new(MemorySource::new(content())));
    let source = Arc::new(source.with_latency(Duration::from_millis(1)));
    check(&time, source.clone());
    let deadline = time.now() + Duration::from_secs(60);
    for fault in
        [Fault::CutAfter(0), Fault::CutAfter(5000), Fault::Refuse(Error::new(ErrorKind::Denied, "no"))]
    {
        let break_next = || source.break_next(fault.clone());
        time.block_on(blob_source_under_fault(source.clone(), &content(), deadline, break_next));
    }
}

#[test]
#[should_panic(expected = "ended without an error")]
fn the_suite_finds_a_stream_that_ends_early() {
    let time = VirtualTime::new();
    let source = Arc::new(FaultySource::new(Arc::new(time.clone()), Arc::new(MemorySource::new(content()))));
    let break_next = || source.break_next(Fault::EndAfter(7));
    time.block_on(blob_source_under_fault(source.clone(), &content(), time.now(), break_next));
}

#[test]
#[should_panic(expected = "are wrong")]
fn the_suite_finds_wrong_bytes() {
    let mut wrong = content();
    wrong[100_000] ^= 1;
    check(&VirtualTime::new(), Arc::new(MemorySource::new(wrong)));
}

#[test]
fn memory_store() {
    let time = VirtualTime::new();
    time.block_on(chunk_store(Arc::new(MemoryStore::new(1 << 20))));
}

#[test]
fn disk_store() {
    let (time, dir) = (VirtualTime::new(), tempfile::tempdir().unwrap());
    time.block_on(chunk_store(Arc::new(open(&time, dir.path()))));
}

#[test]
fn disk_store_under_damage() {
    let data = |path: &std::path::Path| path.join("chunks-v1/sha256:dd.data");
    let map = |path: &std::path::Path| path.join("chunks-v1/sha256:dd.map");
    let write = |path: &std::path::Path, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = std::fs::read(path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    };
    type Damage<'a> = &'a dyn Fn(&std::path::Path);
    let damages: [Damage<'_>; 10] = [
        &|dir| write(&data(dir), &|bytes| bytes.truncate(10_000)),
        &|dir| write(&data(dir), &|bytes| bytes.clear()),
        &|dir| write(&data(dir), &|bytes| bytes[5000] ^= 1),
        &|dir| write(&data(dir), &|bytes| bytes[4096..8192].fill(0)),
        &|dir| write(&map(dir), &|bytes| bytes.truncate(50)),
        &|dir| write(&map(dir), &|bytes| bytes.clear()),
        &|dir| write(&map(dir), &|bytes| bytes[..40].rotate_left(20)),
        &|dir| write(&map(dir), &|bytes| bytes[8] ^= 0xff),
        &|dir| std::fs::remove_file(data(dir)).unwrap(),
        &|dir| std::fs::remove_file(map(dir)).unwrap(),
    ];
    for damage in damages {
        let (time, dir) = (VirtualTime::new(), tempfile::tempdir().unwrap());
        let open = || Arc::new(open(&time, dir.path())) as Arc<dyn ChunkStore>;
        time.block_on(chunk_store_damaged(open, || damage(dir.path())));
    }
}

fn open(time: &VirtualTime, dir: &std::path::Path) -> DiskStore {
    DiskStore::open(Arc::new(time.clone()), dir, DiskOptions::default()).unwrap()
}
