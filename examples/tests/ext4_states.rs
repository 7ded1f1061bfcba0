//! The ext4 states of a tree: valid filesystems with the tree's content, whose differences, laid over
//! one another, give the devices back.

#[path = "support/devices.rs"]
mod devices;
#[path = "support/trees.rs"]
mod trees;

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::Command;

use examples::ext4::{Change, Ext4State};
use examples::tree::Tree;

#[test]
fn each_state_passes_e2fsck() {
    let root = tempfile::tempdir().unwrap();
    trees::varied(root.path());
    let tree = Tree::scan(root.path(), 3).unwrap();
    for layers in 1..=tree.layers.len() {
        let image = root.path().join("image");
        fs::write(&image, devices::bytes(&tree, layers)).unwrap();
        match Command::new("e2fsck").arg("-fn").arg(&image).output() {
            Ok(output) => {
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                // The test runner withholds what a passing test prints, but not what it writes.
                writeln!(io::stderr(), "SKIPPED: e2fsck is not installed, so no state was checked by it")
                    .unwrap();
                return;
            }
            Err(e) => panic!("running e2fsck: {e}"),
        }
    }
}

#[test]
fn the_top_state_has_the_whole_tree() {
    let root = tempfile::tempdir().unwrap();
    trees::varied(root.path());
    let tree = Tree::scan(root.path(), 3).unwrap();
    let fs = ext4_view::Ext4::load(Box::new(devices::bytes(&tree, 3))).unwrap();
    for file in tree.files() {
        let path = format!("/{}", file.path);
        assert_eq!(fs.read(path.as_str()).unwrap(), fs::read(&file.source).unwrap(), "{path}");
        let metadata = fs.symlink_metadata(path.as_str()).unwrap();
        assert_eq!(metadata.mode(), file.meta.mode, "{path}");
        assert_eq!(metadata.modified().seconds(), file.meta.mtime, "{path}");
    }
    for link in &tree.links {
        let path = format!("/{}", link.path);
        assert_eq!(fs.read_link(path.as_str()).unwrap().to_str().unwrap(), link.target);
    }
    for directory in &tree.directories {
        assert!(fs.metadata(format!("/{}", directory.path).as_str()).unwrap().is_dir());
    }
    assert_eq!(tree.files().count(), 305);
}

#[test]
fn differences_laid_over_one_another_give_each_state() {
    let root = tempfile::tempdir().unwrap();
    trees::varied(root.path());
    let tree = Tree::scan(root.path(), 3).unwrap();
    let mut below: Option<Ext4State<'_>> = None;
    let mut layered = Vec::new();
    for layers in 1..=3 {
        let state = Ext4State::new(&tree, layers).unwrap();
        layered.resize(state.size() as usize, 0);
        devices::apply(&state, below.as_ref(), &mut layered);
        assert!(layered == devices::bytes(&tree, layers), "state {layers} differs");
        below = Some(state);
    }
}

#[test]
fn an_upper_layer_has_little_beside_its_files() {
    let root = tempfile::tempdir().unwrap();
    for n in 0..6 {
        fs::write(root.path().join(format!("{n}")), trees::noise(n, 1 << 20)).unwrap();
    }
    let tree = Tree::scan(root.path(), 3).unwrap();
    let lower = Ext4State::new(&tree, 2).unwrap();
    let mut written = 0;
    Ext4State::new(&tree, 3)
        .unwrap()
        .changes(Some(&lower), |change| {
            if let Change::Write { bytes, .. } = change {
                written += bytes.len();
            }
            Ok(())
        })
        .unwrap();
    let files: u64 = tree.layers[2].files.iter().map(|file| file.size).sum();
    assert!(written as u64 - files < 64 << 10, "{written} bytes for {files} bytes of files");
}

#[test]
fn a_source_that_changed_its_length_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), [1; 9000]).unwrap();
    let tree = Tree::scan(root.path(), 1).unwrap();
    let state = Ext4State::new(&tree, 1).unwrap();
    fs::write(root.path().join("file"), [1; 5000]).unwrap();
    let error = state.changes(None, |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("changed its length"), "{error:#}");
}

#[test]
fn a_tree_of_nothing_is_an_empty_filesystem() {
    let root = tempfile::tempdir().unwrap();
    let tree = Tree::scan(Path::new(root.path()), 3).unwrap();
    let fs = ext4_view::Ext4::load(Box::new(devices::bytes(&tree, 1))).unwrap();
    let names: Vec<_> =
        fs.read_dir("/").unwrap().map(|entry| entry.unwrap().file_name().display().to_string()).collect();
    assert_eq!(names, [".", "..", "lost+found"]);
}
