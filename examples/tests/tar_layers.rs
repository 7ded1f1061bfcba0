//! Layers of an ordinary image: unpacked one over the other they give the tree back.

#[path = "support/trees.rs"]
mod trees;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;

use examples::hashing::digest_of;
use examples::tar_layer;
use examples::tree::Tree;
use flate2::read::GzDecoder;

#[test]
fn unpacked_layers_are_the_tree() {
    let root = tempfile::tempdir().unwrap();
    trees::varied(root.path());
    let tree = Tree::scan(root.path(), 3).unwrap();
    assert_eq!(tree.layers.len(), 3);
    let unpacked = tempfile::tempdir().unwrap();
    for layer in 0..3 {
        let mut archive =
            tar::Archive::new(GzDecoder::new(fs::File::open(layer_blob(&tree, layer).path()).unwrap()));
        archive.set_preserve_permissions(true);
        archive.set_preserve_mtime(true);
        archive.unpack(unpacked.path()).unwrap();
    }
    let entries = |tree: &Tree| {
        let files =
            tree.files().map(|file| (file.path.clone(), (fs::read(&file.source).unwrap(), file.meta)));
        files.collect::<BTreeMap<_, _>>()
    };
    let copy = Tree::scan(unpacked.path(), 3).unwrap();
    assert_eq!(entries(&copy), entries(&tree));
    assert_eq!(
        copy.links.iter().map(|l| (&l.path, &l.target)).collect::<Vec<_>>(),
        tree.links.iter().map(|l| (&l.path, &l.target)).collect::<Vec<_>>()
    );
    assert_eq!(
        copy.directories.iter().map(|d| &d.path).collect::<Vec<_>>(),
        tree.directories.iter().map(|d| &d.path).collect::<Vec<_>>()
    );
}

#[test]
fn the_diff_id_is_the_digest_of_the_uncompressed_tar() {
    let root = tempfile::tempdir().unwrap();
    trees::varied(root.path());
    let tree = Tree::scan(root.path(), 1).unwrap();
    let blob = tempfile::NamedTempFile::new().unwrap();
    let diff_id = tar_layer::write(&tree, 0, blob.as_file(), &|_| ()).unwrap();
    let mut tar = Vec::new();
    GzDecoder::new(blob.reopen().unwrap()).read_to_end(&mut tar).unwrap();
    assert_eq!(digest_of(&mut tar.as_slice()).unwrap().0, diff_id);
}

#[test]
fn a_source_that_became_shorter_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), [1; 9000]).unwrap();
    let tree = Tree::scan(root.path(), 1).unwrap();
    fs::write(root.path().join("file"), [1; 5000]).unwrap();
    let error = tar_layer::write(&tree, 0, std::io::sink(), &|_| ()).unwrap_err();
    assert!(format!("{error:#}").contains("4000 bytes shorter"), "{error:#}");
}

fn layer_blob(tree: &Tree, layer: usize) -> tempfile::NamedTempFile {
    let blob = tempfile::NamedTempFile::new().unwrap();
    tar_layer::write(tree, layer, blob.as_file(), &|_| ()).unwrap();
    blob
}
