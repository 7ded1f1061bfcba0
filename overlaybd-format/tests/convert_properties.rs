//! Random layers through the converter: the files are those of a plain model of layers, in every mode; and a
//! converter that was resumed writes the bytes of one that never stopped.
#![cfg(feature = "convert")]

use std::collections::BTreeMap;

use futures::executor::block_on;
use overlaybd_format::Limits;
use overlaybd_format::convert::Converter;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::stack::{Mode, blob, convert, list, open, options};
use crate::tars::Tar;

#[path = "harness/golden.rs"]
mod golden;
#[path = "harness/stack.rs"]
mod stack;
#[path = "harness/tars.rs"]
mod tars;

/// One entry of a layer.
#[derive(Debug, Clone)]
enum Op {
    Directory(String, u32),
    File(String, Vec<u8>, u32),
    Fifo(String),
    Link(String, String),
    Whiteout(String),
    Opaque(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Directory,
    File(Vec<u8>),
    Fifo,
}

/// What the layers come to: names, and the files that they are of.
#[derive(Debug, Clone, Default)]
struct Model {
    names: BTreeMap<String, usize>,
    files: Vec<(Kind, u32)>,
}

impl Model {
    /// Applies a layer, or gives the number of its first entry that no unpacker takes.
    fn apply(&mut self, layer: &[Op]) -> Result<(), usize> {
        for op in layer {
            match op {
                Op::Whiteout(path) if self.is_directory(parent(path)) => self.remove(path),
                Op::Opaque(path) if self.is_directory(path) => {
                    self.names.retain(|name, _| !is_below(name, path))
                }
                _ => {}
            }
        }
        for (number, op) in layer.iter().enumerate() {
            self.apply_one(op).ok_or(number)?;
        }
        Ok(())
    }

    fn apply_one(&mut self, op: &Op) -> Option<()> {
        match op {
            Op::Directory(path, mode) => {
                self.make_parents(path)?;
                if self.is_directory(path) {
                    let file = self.names[path];
                    self.files[file].1 = *mode;
                } else {
                    self.put(path, Kind::Directory, *mode);
                }
            }
            Op::File(path, content, mode) => {
                self.make_parents(path)?;
                self.put(path, Kind::File(content.clone()), *mode);
            }
            Op::Fifo(path) => {
                self.make_parents(path)?;
                self.put(path, Kind::Fifo, 0o644);
            }
            Op::Link(path, target) => {
                let file = *self.names.get(target).filter(|_| !self.is_directory(target))?;
                self.make_parents(path)?;
                if self.names.get(path) != Some(&file) {
                    self.remove(path);
                    self.names.insert(path.clone(), file);
                }
            }
            Op::Whiteout(_) | Op::Opaque(_) => {}
        }
        Some(())
    }

    fn put(&mut self, path: &str, kind: Kind, mode: u32) {
        self.remove(path);
        self.names.insert(path.to_owned(), self.files.len());
        self.files.push((kind, mode));
    }

    fn remove(&mut self, path: &str) {
        self.names.retain(|name, _| name != path && !is_below(name, path));
    }

    fn is_directory(&self, path: &str) -> bool {
        path.is_empty() || self.names.get(path).is_some_and(|file| self.files[*file].0 == Kind::Directory)
    }

    fn make_parents(&mut self, path: &str) -> Option<()> {
        for (at, _) in path.match_indices('/') {
            let directory = &path[..at];
            if !self.names.contains_key(directory) {
                self.put(directory, Kind::Directory, 0o755);
            }
            self.is_directory(directory).then_some(())?;
        }
        Some(())
    }

    /// Names, types and permissions, digests of contents, and how many names a file has.
    fn listing(&self) -> BTreeMap<String, (String, Option<String>, u32)> {
        let listed = self.names.iter().map(|(name, file)| {
            let (kind, mode) = &self.files[*file];
            let names = self.names.values().filter(|other| *other == file).count();
            let below = |other: &&String| parent(other) == name && self.is_directory(other);
            let (type_bits, sha256, links) = match kind {
                Kind::Directory => (0o040_000, None, 2 + self.names.keys().filter(below).count()),
                Kind::File(content) => (0o100_000, Some(golden::sha256(content)), names),
                Kind::Fifo => (0o010_000, None, names),
            };
            (name.clone(), (format!("{:#o}", type_bits | mode), sha256, u32::try_from(links).unwrap()))
        });
        listed.collect()
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn is_below(name: &str, path: &str) -> bool {
    path.is_empty() || name.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
}

fn tar(layer: &[Op]) -> Vec<u8> {
    let tar = layer.iter().fold(Tar::new(), |tar, op| match op {
        Op::Directory(path, mode) => tar.mode(*mode).directory(path),
        Op::File(path, content, mode) => tar.mode(*mode).file(path, content),
        Op::Fifo(path) => tar.fifo(path),
        Op::Link(path, target) => tar.link(path, target),
        Op::Whiteout(path) => {
            let name = path.rsplit('/').next().unwrap();
            tar.whiteout(&format!("./{}", parent(path)), name)
        }
        Op::Opaque(path) => tar.opaque(&format!("./{path}")),
    });
    tar.end()
}

fn path() -> impl Strategy<Value = String> {
    vec(prop::sample::select(vec!["a", "b", "c", "a-name-that-takes-a-little-more-room"]), 1..4)
        .prop_map(|names| names.join("/"))
}

fn op() -> impl Strategy<Value = Op> {
    let mode = || prop::sample::select(vec![0o644, 0o755, 0o4711]);
    let content = (prop::sample::select(vec![0_usize, 1, 511, 512, 4096, 5000, 20_000]), any::<u8>())
        .prop_map(|(len, seed)| (0..len).map(|n| (n as u8).wrapping_mul(seed)).collect());
    prop_oneof![
        3 => (path(), mode()).prop_map(|(path, mode)| Op::Directory(path, mode)),
        5 => (path(), content, mode()).prop_map(|(path, content, mode)| Op::File(path, content, mode)),
        1 => path().prop_map(Op::Fifo),
        2 => (path(), path()).prop_map(|(path, target)| Op::Link(path, target)),
        2 => path().prop_map(Op::Whiteout),
        1 => path().prop_map(Op::Opaque),
    ]
}

fn mode() -> impl Strategy<Value = Mode> {
    prop::sample::select(vec![Mode::Full, Mode::IndexOnly])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn layers_hold_the_files_of_a_plain_model_and_do_not_show_where_they_were_resumed(
        mut layers in vec((vec(op(), 0..14), mode()), 1..5),
        breaks in prop::bool::weighted(0.1),
    ) {
        let (mut model, mut converter) = (Model::default(), Converter::new(options()));
        let mut stack: Vec<(Vec<u8>, Vec<u8>, Mode)> = Vec::new();
        let opened = |stack: &[(Vec<u8>, Vec<u8>, Mode)]| {
            open(stack.iter().map(|(layer, tar, mode)| blob(layer.clone(), tar, *mode)).collect())
        };
        for (layer, mode) in &mut layers {
            while !breaks && let Err(number) = model.clone().apply(layer) {
                layer.remove(number);
            }
            let tar = tar(layer);
            let converted = convert(&mut converter, &tar, *mode);
            if !stack.is_empty() {
                let mut resumed = block_on(Converter::resume(&*opened(&stack), options())).unwrap();
                match (convert(&mut resumed, &tar, *mode), &converted) {
                    (Ok(resumed), Ok(converted)) => prop_assert!(resumed == *converted, "other bytes"),
                    (Err(resumed), Err(error)) => prop_assert_eq!(resumed.to_string(), error.to_string()),
                    (resumed, converted) => {
                        prop_assert_eq!(resumed.map(|_| ()).is_ok(), converted.is_ok(), "one of them fails");
                    }
                }
            }
            if model.apply(layer).is_err() {
                prop_assert!(converted.is_err());
                break;
            }
            stack.push((converted.unwrap(), tar, *mode));
            let found: BTreeMap<_, _> = list(&*opened(&stack))
                .into_iter()
                .map(|(name, listed)| (name, (listed.mode, listed.sha256, listed.nlink)))
                .collect();
            prop_assert_eq!(found, model.listing());
        }
    }
}

#[test]
fn files_that_are_gone_do_not_count() {
    let limits = Limits::default().with_files(8);
    let mut converter = Converter::new(options().with_limits(limits));
    let layer = (0..6).fold(Tar::new(), |tar, number| tar.file(format!("{number}"), b"again")).end();
    for _ in 0..5 {
        convert(&mut converter, &layer, Mode::Full).unwrap();
    }
    let more = (6..9).fold(Tar::new(), |tar, number| tar.file(format!("{number}"), b"more")).end();
    convert(&mut converter, &more, Mode::Full).unwrap_err();
}
