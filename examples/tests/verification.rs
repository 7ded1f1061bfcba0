//! The check of a filesystem against its tree: it passes for the tree it was made from and names what
//! differs from any other.

#[path = "support/trees.rs"]
mod trees;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use examples::accelerated_image::AcceleratedImage;
use examples::hashing::digest_of;
use examples::image_files::ImageFilesystem;
use examples::image_name::ImageName;
use examples::image_place::ImagePlace;
use examples::lazy_image::LazyImage;
use examples::oci_image;
use examples::oci_layout::OciLayout;
use examples::progress::Progress;
use examples::start::read_start_set;
use examples::tree::Tree;
use examples::verify;
use overlaybd_format::{MemoryBlob, ReadAt};
use referrers::ResolveOptions;
use tokio::runtime::Runtime;

#[test]
fn a_tree_equals_its_own_device() {
    with_device(|root, device, runtime| {
        let tree = Tree::scan(root, 3).unwrap();
        let files =
            ImageFilesystem::open(Arc::clone(device), runtime.handle().clone()).unwrap().files().unwrap();
        verify::same_tree(&files, &tree, &|_| ()).unwrap();
        let (count, bytes) = verify::read_all(&files, &|_| ()).unwrap();
        assert_eq!((count, bytes), (tree.files().count(), tree.bytes()));
    });
}

#[test]
fn any_difference_is_named() {
    type Edit = fn(&Path);
    let edits: [(Edit, &str); 6] = [
        (
            |root| fs::remove_file(root.join("bin/tool")).unwrap(),
            "bin/tool is in the image and not in the tree",
        ),
        (|root| fs::write(root.join("bin/novel"), "x").unwrap(), "bin/novel is not in the image"),
        (
            |root| {
                let mtime = fs::metadata(root.join("lib/big")).unwrap().modified().unwrap();
                let mut bytes = fs::read(root.join("lib/big")).unwrap();
                bytes[2_000_000] ^= 1;
                fs::set_permissions(root.join("lib/big"), Permissions::from_mode(0o644)).unwrap();
                let file = fs::File::create(root.join("lib/big")).unwrap();
                std::io::Write::write_all(&mut &file, &bytes).unwrap();
                file.set_modified(mtime).unwrap();
                fs::set_permissions(root.join("lib/big"), Permissions::from_mode(0o444)).unwrap();
            },
            "lib/big in the image: other bytes",
        ),
        (
            |root| fs::set_permissions(root.join("bin/nothing"), Permissions::from_mode(0o644)).unwrap(),
            "bin/nothing",
        ),
        (
            |root| {
                fs::remove_file(root.join("lib/block")).unwrap();
                std::os::unix::fs::symlink("elsewhere", root.join("lib/block")).unwrap();
            },
            "elsewhere",
        ),
        (|root| fs::remove_dir(root.join("empty")).unwrap(), "empty is in the image and not in the tree"),
    ];
    for (edit, expected) in edits {
        with_device(|root, device, runtime| {
            // An edit changes the times of the directory as well, if the clock has moved on by a second.
            let directories = ["", "bin", "lib"].map(|path| root.join(path));
            let times = directories.each_ref().map(|path| path.metadata().unwrap().modified().unwrap());
            edit(root);
            for (path, time) in directories.iter().zip(times) {
                fs::File::open(path).unwrap().set_modified(time).unwrap();
            }
            let tree = Tree::scan(root, 3).unwrap();
            let files =
                ImageFilesystem::open(Arc::clone(device), runtime.handle().clone()).unwrap().files().unwrap();
            let error = format!("{:#}", verify::same_tree(&files, &tree, &|_| ()).unwrap_err());
            assert!(error.contains(expected), "{expected}: {error}");
        });
    }
}

#[test]
fn the_start_set_is_read_and_compared() {
    with_device(|root, device, runtime| {
        let tree = Tree::scan(root, 3).unwrap();
        let start = read_start_set(device, runtime.handle(), Some(&tree), &|_| ()).unwrap();
        assert!(start.bytes > 100_000 && start.bytes <= tree.bytes() / 10, "{start:?}");
        assert!(start.first_byte <= start.end);

        let big = tree.files().find(|file| file.path == "lib/big").unwrap().clone();
        fs::set_permissions(&big.source, Permissions::from_mode(0o644)).unwrap();
        fs::write(&big.source, vec![7; big.size as usize]).unwrap();
        let error = read_start_set(device, runtime.handle(), Some(&tree), &|_| ()).unwrap_err();
        assert!(format!("{error:#}").contains("lib/big in the image: other bytes"), "{error:#}");
    });
}

#[test]
fn the_digest_of_a_blob_covers_all_of_it() {
    let bytes = trees::noise(5, 3_000_000);
    let blob: Arc<dyn ReadAt> = Arc::new(MemoryBlob::new(bytes.clone()));
    let digest = Runtime::new().unwrap().block_on(verify::digest(&blob, &|_| ())).unwrap();
    assert_eq!(digest, digest_of(&mut bytes.as_slice()).unwrap().0);
}

fn with_device(test: impl FnOnce(&Path, &Arc<dyn ReadAt>, &Runtime)) {
    let root = tempfile::tempdir().unwrap();
    trees::varied(root.path());
    let directory = tempfile::tempdir().unwrap();
    let layout = OciLayout::create(directory.path()).unwrap();
    let runtime = Runtime::new().unwrap();
    let device = runtime.block_on(async {
        oci_image::build(&Tree::scan(root.path(), 3).unwrap(), &layout, Progress::Silent).await.unwrap();
        let name = ImageName::Layout { directory: directory.path().to_owned(), tag: None };
        let place = ImagePlace::Layout(layout);
        let image = AcceleratedImage::find(&place, &name, &ResolveOptions::default()).await.unwrap();
        LazyImage::open(image.open(&place).await.unwrap()).await.unwrap().reader()
    });
    test(root.path(), &device, &runtime);
}
