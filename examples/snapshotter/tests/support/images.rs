//! Two images in a registry that share their lower layers, each with its accelerated image.

// Each test binary uses a part of this.
#![allow(dead_code)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

use examples::access::Access;
use examples::convert::options::{Mode, Options};
use examples::convert::records::Records;
use examples::convert::{Located, convert};
use examples::image_place::ImagePlace;
use examples::oci_image;
use examples::oci_layout::OciLayout;
use examples::progress::Progress;
use examples::publish::publish;
use examples::start_profile::Profiles;
use examples::tree::{Tree, TreeLayer};
use overlaybd_format::trace::{Record, Trace};
use referrers::{Descriptor, Digest, Manifest, Platform, Repository, Resolver};
use registry::{Registry, Server, Store};
use serde_json::Value;
use snapshotter::DeviceLayer;
use tempfile::TempDir;

/// The images `demo/two:1` of the layers `bin` and `data`, and `demo/three:1` with `app` above them.
pub(crate) struct Images {
    pub(crate) server: Server,
    layouts: Arc<Layouts>,
}

/// The smaller and the larger image.
type Layouts = [(TempDir, OciLayout); 2];

impl Images {
    pub(crate) async fn serve() -> Self {
        let server = Registry::builder().store(Store::memory()).serve().await.unwrap();
        let images = Self { server, layouts: shared() };
        images.publish(0, "demo/two").await;
        images.publish(1, "demo/three").await;
        images
    }

    /// Pushes the smaller (0) or larger image (1) and its accelerated image, with the tag `1`.
    pub(crate) async fn publish(&self, image: usize, name: &str) {
        let repository = Repository::new(&self.host(), name).unwrap();
        let access = Access { plain_http: true, ..Access::default() };
        let registry = access.registry(&repository).unwrap();
        let to = ImagePlace::in_repository(registry, repository, &access).unwrap();
        publish(&self.layouts[image].1, &to, "1", &|_| ()).await.unwrap();
    }

    /// Puts the larger image without its accelerated image into the registry, with the tag `1`.
    pub(crate) fn publish_plain(&self, name: &str) {
        self.put(0, name);
    }

    /// Puts the larger image into the registry, with an accelerated image in index-only mode.
    pub(crate) async fn publish_index_only(&self, name: &str) {
        self.put(0, name);
        let access = Access { plain_http: true, ..Access::default() };
        let name = format!("{}/{name}:1", self.host()).parse().unwrap();
        let place = ImagePlace::of(&name, &access, true).unwrap();
        let options = Options::new(Mode::IndexOnly).with_only_index(true);
        let from = Located { place, name };
        let directory = tempfile::tempdir().unwrap();
        let records = Records::open(directory.path()).unwrap();
        convert(&from, None, &options, &records, Progress::Silent).await.unwrap();
    }

    /// Puts the accelerated image of the larger image into the registry, with the tag `1`, and gives its
    /// chain ids.
    pub(crate) fn publish_accelerated(&self, name: &str) -> Vec<String> {
        self.put(1, name);
        self.chains_of(1)
    }

    /// The registry's host, as references spell it.
    pub(crate) fn host(&self) -> String {
        self.server.addr().to_string()
    }

    pub(crate) fn two(&self) -> String {
        format!("{}/demo/two:1", self.host())
    }

    pub(crate) fn three(&self) -> String {
        format!("{}/demo/three:1", self.host())
    }

    /// The chain ids of the larger image, whose first two are those of the smaller one.
    pub(crate) fn chains(&self) -> Vec<String> {
        self.chains_of(0)
    }

    /// The layers of the accelerated image of the smaller (0) or larger image (1).
    pub(crate) fn layers(&self, image: usize) -> Vec<DeviceLayer> {
        let layers = layers(&manifest(&self.layouts[image].1, 1)).into_iter();
        let blob = |layer: Descriptor| Descriptor::new(layer.media_type, layer.digest, layer.size);
        layers.map(|layer| DeviceLayer { blob: blob(layer), target: None }).collect()
    }

    /// The layers of the larger ordinary image.
    pub(crate) fn ordinary_layers(&self) -> Vec<Option<Digest>> {
        layers(&manifest(&self.layouts[1].1, 0)).into_iter().map(|layer| Some(layer.digest)).collect()
    }

    /// The digest of the accelerated image of the smaller (0) or larger image (1).
    pub(crate) fn accelerated(&self, image: usize) -> Digest {
        manifest(&self.layouts[image].1, 1).digest().clone()
    }

    /// Attaches a profile to the larger image, of starts that read all of `data/shared`.
    pub(crate) async fn attach_profile(&self) {
        let repository = Repository::new(&self.host(), "demo/three").unwrap();
        let access = Access { plain_http: true, ..Access::default() };
        let registry = access.registry(&repository).unwrap();
        let image = repository.with_digest(self.accelerated(1));
        let resolver = Resolver::new(registry.clone(), access.resolve);
        let image = resolver.resolve(&image, &Platform::current()).await.unwrap().accelerated.unwrap();
        let trace = Trace { records: vec![Record::read(1, 0..8 << 20)] };
        Profiles::of(registry, repository, &image).attach(&trace, 1).await.unwrap();
    }

    /// Bytes of the layer of the larger accelerated image that has `data/shared`, as far as they were asked for,
    /// and all of them.
    pub(crate) fn shared_layer(&self) -> (u64, u64) {
        let layer = layers(&manifest(&self.layouts[1].1, 1)).remove(1);
        let log = self.server.log();
        let reads = log.iter().filter(|request| request.path.ends_with(layer.digest.as_str()));
        (reads.map(|request| request.body_bytes).sum(), layer.size)
    }

    /// Requests for layers of ordinary images.
    pub(crate) fn downloads(&self) -> usize {
        let ordinary = self.layouts.iter().flat_map(|(_, layout)| layers(&manifest(layout, 0)));
        let ordinary: Vec<_> = ordinary.map(|layer| format!("/blobs/{}", layer.digest)).collect();
        let log = self.server.log();
        let reads = log.iter().filter(|request| request.method == "GET");
        reads.filter(|request| ordinary.iter().any(|blob| request.path.ends_with(blob))).count()
    }

    /// Puts the larger image (0) or its accelerated image (1) alone into the registry.
    fn put(&self, which: usize, name: &str) {
        let (_, layout) = &self.layouts[1];
        let manifest = manifest(layout, which);
        for blob in layers(&manifest).iter().chain([&manifest.image().unwrap().config]) {
            let bytes = fs::read(layout.blob_path(&blob.digest)).unwrap();
            self.server.put_blob(name, bytes.into()).unwrap();
        }
        self.server.put_manifest(name, Some("1"), manifest.bytes().clone()).unwrap();
    }

    /// The chain ids of the larger image (0) or its accelerated image (1).
    fn chains_of(&self, which: usize) -> Vec<String> {
        let (_, layout) = &self.layouts[1];
        let config = layout.blob_path(&manifest(layout, which).image().unwrap().config.digest);
        let config: Value = serde_json::from_slice(&fs::read(config).unwrap()).unwrap();
        let mut chains: Vec<String> = Vec::new();
        for diff_id in config["rootfs"]["diff_ids"].as_array().unwrap() {
            let diff_id = diff_id.as_str().unwrap();
            let chain = match chains.last() {
                None => diff_id.to_owned(),
                Some(below) => Digest::sha256_of(format!("{below} {diff_id}").as_bytes()).to_string(),
            };
            chains.push(chain);
        }
        chains
    }
}

/// The ordinary image (0) or the accelerated one (1).
fn manifest(layout: &OciLayout, which: usize) -> Manifest {
    layout.manifest(&layout.index().unwrap()[which]).unwrap()
}

fn layers(manifest: &Manifest) -> Vec<Descriptor> {
    manifest.image().unwrap().layers.clone()
}

/// The images, which tests that run at the same time share.
fn shared() -> Arc<Layouts> {
    static SHARED: Mutex<Weak<Layouts>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap();
    shared.upgrade().unwrap_or_else(|| {
        let layouts = Arc::new(build());
        *shared = Arc::downgrade(&layouts);
        layouts
    })
}

fn build() -> Layouts {
    let root = tempfile::tempdir().unwrap();
    for directory in ["proc", "sys", "dev", "etc", "tmp"] {
        fs::create_dir(root.path().join(directory)).unwrap();
    }
    put(root.path(), "bin/busybox", &fs::read(BUSYBOX).unwrap_or_default());
    put(root.path(), "data/shared", &incompressible(2_000_000));
    put(root.path(), "app/own", b"only in three\n");
    let mut three = Tree::scan(root.path(), 1).unwrap();
    let files = three.layers.remove(0).files;
    three.layers = ["bin/", "data/", "app/"]
        .map(|name| TreeLayer {
            name: name.to_owned(),
            files: files.iter().filter(|file| file.path.starts_with(name)).cloned().collect(),
        })
        .into();
    let mut two = three.clone();
    two.layers.truncate(2);
    [&two, &three].map(layout)
}

fn layout(tree: &Tree) -> (TempDir, OciLayout) {
    let directory = tempfile::tempdir().unwrap();
    let layout = OciLayout::create(directory.path()).unwrap();
    // The caller is in a runtime already, which a test makes with one thread.
    let build = || {
        tokio::runtime::Runtime::new().unwrap().block_on(oci_image::build(tree, &layout, Progress::Silent))
    };
    std::thread::scope(|scope| scope.spawn(build).join()).unwrap().unwrap();
    (directory, layout)
}

/// Bytes that no codec makes fewer: a linear congruential sequence.
fn incompressible(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let bytes = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    bytes.take(len).collect()
}

fn put(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A program that needs nothing else: of Debian's package `busybox-static`.
pub(crate) const BUSYBOX: &str = "/bin/busybox";
