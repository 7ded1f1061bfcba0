//! An ordinary image and the accelerated one that refers to it, as the content of a registry.

// Each test binary uses a part of this.
#![allow(dead_code)]

use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

use examples::access::Access;
use examples::image_place::ImagePlace;
use examples::oci_image;
use examples::oci_layout::OciLayout;
use examples::progress::Progress;
use examples::publish::publish;
use examples::tree::Tree;
use referrers::{Descriptor, Digest, Manifest, Repository};
use registry::{Registry, Store};
use tempfile::TempDir;

use super::trees;

/// Both images under `demo/app:1`.
pub(crate) struct Images {
    content: TempDir,
    base: Descriptor,
    accelerated: Manifest,
}

impl Images {
    /// The images, which tests that run at the same time share.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Images>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap();
        shared.upgrade().unwrap_or_else(|| {
            let images = Arc::new(Self::build());
            *shared = Arc::downgrade(&images);
            images
        })
    }

    /// What a registry serves that has them.
    pub(crate) fn content(&self) -> &Path {
        self.content.path()
    }

    /// The ordinary image.
    pub(crate) fn base(&self) -> &Descriptor {
        &self.base
    }

    /// The digest of the accelerated image.
    pub(crate) fn accelerated(&self) -> &Digest {
        self.accelerated.digest()
    }

    /// The layers of the accelerated image, bottom first.
    pub(crate) fn layers(&self) -> &[Descriptor] {
        &self.accelerated.image().unwrap().layers
    }

    fn build() -> Self {
        let [root, directory, content] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        trees::varied(root.path());
        let layout = OciLayout::create(directory.path()).unwrap();
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            oci_image::build(&Tree::scan(root.path(), 2).unwrap(), &layout, Progress::Silent).await.unwrap();
            let store = Store::dir(content.path()).unwrap();
            let server = Registry::builder().store(store).serve().await.unwrap();
            let repository = Repository::new(&server.addr().to_string(), "demo/app").unwrap();
            let access = Access { plain_http: true, ..Access::default() };
            let place = ImagePlace::in_repository(access.registry(&repository).unwrap(), repository, &access)
                .unwrap();
            publish(&layout, &place, "1", &|_| ()).await.unwrap();
        });
        let [base, accelerated] = layout.index().unwrap().try_into().unwrap();
        let accelerated = layout.manifest(&accelerated).unwrap();
        Self { content, base, accelerated }
    }
}
