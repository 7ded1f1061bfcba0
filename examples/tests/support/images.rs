//! An ordinary image and the accelerated one that refers to it, in a registry.

use std::sync::OnceLock;

use examples::access::Access;
use examples::oci_image;
use examples::oci_layout::OciLayout;
use examples::publish::publish;
use examples::tree::Tree;
use referrers::{ImageManifest, Reference, Repository};
use tempfile::TempDir;

use super::trees;

/// Pushes both images as `demo/app:1` to the registry at `host`.
pub(crate) fn push(host: &str, access: &Access) -> Reference {
    let repository = Repository::new(host, "demo/app").unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let registry = access.registry(&repository).unwrap();
        publish(layout(), &registry, &repository, "1", &|_| ()).await.unwrap()
    })
}

/// The accelerated image.
pub(crate) fn accelerated() -> ImageManifest {
    let descriptor = layout().index().unwrap().pop().unwrap();
    layout().manifest(&descriptor).unwrap().image().unwrap().clone()
}

/// Digest of the ordinary image.
pub(crate) fn base() -> String {
    layout().index().unwrap().remove(0).digest.to_string()
}

/// Both images, built once.
fn layout() -> &'static OciLayout {
    static BUILT: OnceLock<(TempDir, OciLayout)> = OnceLock::new();
    let (_, layout) = BUILT.get_or_init(|| {
        let root = tempfile::tempdir().unwrap();
        trees::varied(root.path());
        let directory = tempfile::tempdir().unwrap();
        let layout = OciLayout::create(directory.path()).unwrap();
        oci_image::build(&Tree::scan(root.path(), 2).unwrap(), &layout, &|_| ()).unwrap();
        (directory, layout)
    });
    layout
}
