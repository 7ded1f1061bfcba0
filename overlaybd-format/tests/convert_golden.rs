//! The tars from which the reference made its layers, converted by us in every mode: the files are those that the
//! kernel sees on the reference's device, but for what the reference gets wrong.
#![cfg(feature = "convert")]

use std::io::Read;

use serde::Deserialize;

use crate::golden::{Case, manifest};
use crate::stack::{Listed, Listing, Mode, list, open, stack};

#[path = "harness/golden.rs"]
mod golden;
#[path = "harness/stack.rs"]
mod stack;
#[path = "harness/tars.rs"]
mod tars;

fn tar(name: &str) -> Vec<u8> {
    let gzip = Case::open("turbooci").bytes(&format!("{name}.tar.gz"));
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(gzip.as_ref()).read_to_end(&mut bytes).unwrap();
    bytes
}

#[derive(Deserialize)]
struct Expected {
    entries: Listing,
}

#[test]
fn layers_hold_the_files_of_the_reference() {
    let tars = ["L1", "L2", "L3"].map(tar);
    let case = Case::open("conversion");
    for modes in [
        [Mode::Full; 3],
        [Mode::IndexOnly; 3],
        [Mode::Full, Mode::IndexOnly, Mode::Full],
        [Mode::IndexOnly, Mode::Full, Mode::IndexOnly],
    ] {
        for layers in 1..=3 {
            let stacked: Vec<_> = tars.iter().map(Vec::as_slice).zip(modes).take(layers).collect();
            let found = list(&*open(stack(&stacked).unwrap()));
            let expected: Expected =
                serde_json::from_slice(&case.bytes(&format!("fs-L{layers}.json"))).unwrap();
            for (path, expected) in &expected.entries {
                let found = found.get(path).unwrap_or_else(|| panic!("no {path} in {layers} layers"));
                assert_eq!(
                    as_the_reference(path, layers, found),
                    *expected,
                    "{path} in {layers} layers, {modes:?}"
                );
            }
            assert!(found.keys().eq(expected.entries.keys()), "{layers} layers hold more, {modes:?}");
        }
    }
}

/// The file as the reference would have made it of the same tar.
fn as_the_reference(path: &str, layers: usize, listed: &Listed) -> Listed {
    let mut listed = listed.clone();
    // It gives a file the time that the header of its second name has, from that layer on.
    let linked = match path {
        "bin/sh" => layers == 1,
        "etc/sh.hard" => true,
        "bin/setuid" | "bin/setuid.hard" | "etc/hello.txt" | "etc/hello.hard2" => layers > 1,
        _ => false,
    };
    if linked {
        assert!(listed.mtime > 0);
        listed.mtime = 0;
    }
    if let Some(target) = &mut listed.target {
        // It cleans what links point to, and its lists do not count their names.
        *target = target.replace("/./", "/").trim_end_matches('/').to_owned();
        listed.nlink = 1;
    }
    listed
}

#[test]
fn sparse_files_are_whole_in_both_modes() {
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
    let SparseFile { path, size, sha256 } = manifest::<Sparse>("sparse-tar").sparse_file;
    for (file, tar) in Case::open("sparse-tar").files() {
        for mode in [Mode::Full, Mode::IndexOnly] {
            let found = list(&*open(stack(&[(&tar, mode)]).unwrap()));
            assert!(found.keys().eq(["post", "pre", "sp"]), "{file}");
            let sparse = &found[&path];
            assert_eq!(
                (sparse.size, sparse.sha256.as_ref()),
                (Some(size), Some(&sha256)),
                "{file}, {mode:?}"
            );
        }
    }
}

#[test]
fn pieces_of_a_sparse_file_may_lie_anywhere() {
    // The second piece begins in the sector in which a mebibyte that is held ends.
    let (first, second) = (100..1_048_500, 1_048_626..1_118_626);
    let content: Vec<u8> = (0..first.len() + second.len()).map(|at| (at % 251) as u8 + 1).collect();
    let mut whole = vec![0; 1_200_000];
    whole[first.clone()].copy_from_slice(&content[..first.len()]);
    whole[second.clone()].copy_from_slice(&content[first.len()..]);
    let map = format!("{},{},{},{}", first.start, first.len(), second.start, second.len());
    let tar = tars::Tar::new()
        .with("GNU.sparse.map", map)
        .with("GNU.sparse.size", whole.len().to_string())
        .file("sparse", content)
        .end();
    for mode in [Mode::Full, Mode::IndexOnly] {
        let found = list(&*open(stack(&[(&tar, mode)]).unwrap()));
        assert_eq!(found["sparse"].sha256.as_deref(), Some(&*golden::sha256(&whole)), "{mode:?}");
    }
}
