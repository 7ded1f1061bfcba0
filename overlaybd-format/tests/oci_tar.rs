//! Tar streams as layers have them: what an independent reader finds in them, in every form in which
//! numbers, names, times, attributes and sparse files are written, and what hostile ones come to.
#![cfg(feature = "convert")]

use std::collections::BTreeMap;
use std::io::Read;

use overlaybd_format::oci_tar::{EntryKind, TarEntry, TarReader, Timestamp};
use overlaybd_format::{Error, Limits, Result};
use serde::Deserialize;
use tar::{Builder, EntryType, Header};

use crate::golden::{Case, manifest, sha256};

#[path = "harness/golden.rs"]
mod golden;

fn entries(bytes: &[u8]) -> Result<Vec<TarEntry>> {
    let mut reader = TarReader::new(bytes, &Limits::default());
    std::iter::from_fn(|| reader.next_entry().transpose()).collect()
}

fn layer(name: &str) -> Vec<u8> {
    let gzip = Case::open("turbooci").bytes(&format!("{name}.tar.gz"));
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(gzip.as_ref()).read_to_end(&mut bytes).unwrap();
    bytes
}

/// What both readers can say of an entry: path, type, size and place of the content, mode, owner, time.
type Summary = (Vec<u8>, EntryType, u64, u64, u32, u64, i64);

fn summary(entry: &TarEntry) -> Summary {
    let (entry_type, size, at) = match &entry.kind {
        EntryKind::File { size, content } => {
            (EntryType::Regular, *size, content.first().map_or(0, |range| range.at))
        }
        EntryKind::HardLink { .. } => (EntryType::Link, 0, 0),
        EntryKind::Symlink { .. } => (EntryType::Symlink, 0, 0),
        EntryKind::Directory => (EntryType::Directory, 0, 0),
        EntryKind::CharacterDevice { .. } => (EntryType::Char, 0, 0),
        EntryKind::BlockDevice { .. } => (EntryType::Block, 0, 0),
        EntryKind::Fifo => (EntryType::Fifo, 0, 0),
    };
    let owner = u64::from(entry.uid) << 32 | u64::from(entry.gid);
    (entry.path.clone(), entry_type, size, at, entry.mode, owner, entry.mtime.seconds)
}

#[test]
fn layers_are_read_as_an_independent_reader_does() {
    for name in ["L1", "L2", "L2e", "L3"] {
        let bytes = layer(name);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let expected: Vec<Summary> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let is_file = header.entry_type() == EntryType::Regular;
                let at = if is_file && entry.size() > 0 { entry.raw_file_position() } else { 0 };
                (
                    entry.path_bytes().into_owned(),
                    header.entry_type(),
                    if is_file { entry.size() } else { 0 },
                    at,
                    header.mode().unwrap() & 0o7777,
                    header.uid().unwrap() << 32 | header.gid().unwrap(),
                    i64::try_from(header.mtime().unwrap()).unwrap(),
                )
            })
            .collect();
        let found: Vec<Summary> = entries(&bytes).unwrap().iter().map(summary).collect();
        assert!(found.len() > 10);
        assert_eq!(found.len(), expected.len(), "{name}");
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{name}: {}", found.0.escape_ascii());
        }
    }
}

#[test]
fn sparse_files_in_all_four_forms() {
    #[derive(Deserialize)]
    struct Sparse {
        sparse_file: SparseFile,
    }
    #[derive(Deserialize)]
    struct SparseFile {
        path: String,
        size: u64,
        sha256: String,
    }
    let SparseFile { path, size: expected_size, sha256: digest } =
        manifest::<Sparse>("sparse-tar").sparse_file;
    let case = Case::open("sparse-tar");
    for (file, bytes) in case.files() {
        let mut reader = TarReader::new(bytes.as_ref(), &Limits::default());
        let mut names = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            names.push(String::from_utf8(entry.path.clone()).unwrap());
            let EntryKind::File { size, content } = entry.kind else { panic!("{file}") };
            let mut stored = Vec::new();
            reader.content().read_to_end(&mut stored).unwrap();
            let mut whole = vec![0; usize::try_from(size).unwrap()];
            let mut from = 0;
            for range in content {
                let (at, offset, len) = (range.at as usize, range.offset as usize, range.len as usize);
                whole[offset..offset + len].copy_from_slice(&bytes[at..at + len]);
                assert_eq!(bytes[at..at + len], stored[from..from + len], "{file}");
                from += len;
            }
            assert_eq!(from, stored.len(), "{file}");
            if entry.path == path.as_bytes() {
                assert_eq!((size, sha256(&whole)), (expected_size, digest.clone()), "{file}");
                assert!(stored.len() < whole.len(), "{file}");
            }
        }
        assert_eq!(names, ["pre", "sp", "post"], "{file}");
    }
}

/// One file with `records` before it.
fn with_pax(records: &[(&str, &[u8])], change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    builder.append_pax_extensions(records.iter().copied()).unwrap();
    // Header and records, without the zeros that the builder ends with.
    let mut bytes = builder.into_inner().unwrap();
    bytes.truncate(1024);
    bytes.extend(plain(change));
    bytes
}

/// One file of three bytes.
fn plain(change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_path("a").unwrap();
    header.set_size(3);
    header.set_mode(0o644);
    change(&mut header);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(b"abc");
    bytes.resize(1024, 0);
    bytes
}

#[test]
fn records_and_numbers_in_every_form() {
    let one = |bytes: &[u8]| entries(bytes).unwrap().remove(0);
    let entry = one(&with_pax(
        &[
            ("uid", b"3000000000"),
            ("gid", b"2097152"),
            ("mtime", b"-1.25"),
            ("path", b"b/\xff"),
            ("SCHILY.xattr.security.capability", b"\x01\0\0\x02\n="),
        ],
        |_| (),
    ));
    assert_eq!((entry.uid, entry.gid), (3_000_000_000, 2_097_152));
    assert_eq!(entry.mtime, Timestamp { seconds: -2, nanoseconds: 750_000_000 });
    assert_eq!(entry.path, b"b/\xff");
    let xattrs = BTreeMap::from([(b"security.capability".to_vec(), b"\x01\0\0\x02\n=".to_vec())]);
    assert_eq!(entry.xattrs, xattrs);

    let entry = one(&plain(|header| {
        header.set_uid(u64::from(u32::MAX));
        header.as_gnu_mut().unwrap().mtime = [0xff; 12];
    }));
    assert_eq!((entry.uid, entry.mtime.seconds), (u32::MAX, -1));

    let mut builder = Builder::new(Vec::new());
    let long = format!("{}/file", "directory/".repeat(30));
    let mut header = Header::new_gnu();
    header.set_size(0);
    header.set_entry_type(EntryType::Symlink);
    builder.append_link(&mut header, &long, format!("../{long}")).unwrap();
    let entry = one(&builder.into_inner().unwrap());
    assert_eq!(entry.path, long.as_bytes());
    assert_eq!(entry.kind, EntryKind::Symlink { target: format!("../{long}").into_bytes() });
}

#[test]
fn a_cut_archive_is_an_error_unless_it_ends_with_an_entry() {
    let bytes = with_pax(&[("mtime", b"1.5")], |_| ());
    assert_eq!(bytes.len(), 2048);
    for len in 0..=bytes.len() {
        let outcome = entries(&bytes[..len]);
        match len {
            // Records without an entry say nothing.
            0 | 1024 => assert_eq!(outcome.unwrap(), []),
            2048 => assert_eq!(outcome.unwrap().len(), 1),
            _ => assert!(matches!(outcome, Err(Error::Broken { .. })), "{len}"),
        }
    }
}

#[test]
fn each_rule_has_its_error() {
    let broken: [(&[u8], &str); 10] = [
        (&[1; 512], "checksum"),
        (&with_pax(&[("size", b"9223372036854775808")], |_| ()), "no file has"),
        (&with_pax(&[("size", b"x")], |_| ()), "no number"),
        (&with_pax(&[("uid", b"4294967296")], |_| ()), "32-bit"),
        (&with_pax(&[("mtime", b"soon")], |_| ()), "no time"),
        (&with_pax(&[("GNU.sparse.map", b"0,1,1"), ("GNU.sparse.size", b"9")], |_| ()), "sparse map"),
        (&with_pax(&[("GNU.sparse.map", b"0,2,1,1"), ("GNU.sparse.size", b"9")], |_| ()), "sparse map"),
        (&with_pax(&[("GNU.sparse.map", b"0,2"), ("GNU.sparse.size", b"9")], |_| ()), "does not cover"),
        (&with_pax(&[("GNU.sparse.map", b"7,3"), ("GNU.sparse.size", b"9")], |_| ()), "sparse map"),
        (&with_pax(&[("GNU.sparse.map", b"0,1")], |_| ()), "without the size"),
    ];
    for (bytes, why) in broken {
        let error = entries(bytes).unwrap_err();
        assert!(matches!(error, Error::Broken { .. }), "{error:?}");
        assert!(error.to_string().contains(why), "{error}, not {why}");
    }
    let error = entries(&plain(|header| header.set_entry_type(EntryType::new(b'V')))).unwrap_err();
    assert!(matches!(error, Error::Unsupported { value: 0x56, .. }), "{error:?}");
    let huge = plain(|header| {
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(1 << 40);
    });
    assert!(matches!(entries(&huge).unwrap_err(), Error::Limit { .. }));
}

#[test]
fn two_blocks_of_zeros_are_the_end_and_one_before_more_is_broken() {
    let (file, zeros) = (plain(|_| ()), vec![0; 512]);
    let outcome =
        |parts: &[&Vec<u8>]| entries(&parts.iter().flat_map(|part| part.to_vec()).collect::<Vec<_>>());
    assert_eq!(outcome(&[&file, &zeros]).unwrap().len(), 1);
    assert_eq!(outcome(&[&file, &zeros, &zeros, &file]).unwrap().len(), 1);
    let error = outcome(&[&file, &zeros, &file]).unwrap_err();
    assert!(error.to_string().contains("a lone block of zeros"), "{error}");
}

#[test]
fn records_of_many_headers_count_together() {
    let records = with_pax(&[("comment", b"0123456789")], |_| ())[..1024].to_vec();
    let mut limits = Limits::default();
    limits.tar_records = 100;
    let read = |headers| {
        let mut bytes = records.repeat(headers);
        bytes.extend(plain(|_| ()));
        TarReader::new(bytes.as_slice(), &limits).next_entry()
    };
    assert!(read(3).unwrap().is_some());
    assert!(matches!(read(10), Err(Error::Limit { .. })));

    // A header of global records is the same but for its type and checksum.
    let global = |len: usize| {
        let mut builder = Builder::new(Vec::new());
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XGlobalHeader);
        let text = vec![b'x'; len];
        let line = format!("{} comment={}\n", len + 14, String::from_utf8(text).unwrap());
        header.set_size(line.len() as u64);
        header.set_cksum();
        builder.append(&header, line.as_bytes()).unwrap();
        builder.into_inner().unwrap()[..512 + line.len().next_multiple_of(512)].to_vec()
    };
    let error = entries(&global(9_980).repeat(2)).unwrap_err();
    assert!(matches!(error, Error::Limit { what: "bytes of global tar records", .. }), "{error:?}");
}
