//! The toolbox on index-only images of a layout and of a registry, made of the layers that the reference
//! made: the device is the reference's, and a base image that is gone is named.

#[path = "support/golden.rs"]
mod golden;
#[path = "support/obd.rs"]
mod obd;
#[path = "support/ordinary.rs"]
mod ordinary;

use examples::access::Access;
use examples::convert::document::{self, ImageLayer};
use examples::image_place::ImagePlace;
use examples::index_only_blob::IndexOnlyBlob;
use examples::oci_layout::OciLayout;
use examples::publish::publish;
use obd::{Obd, RegistryProcess, assert_names};
use referrers::{Descriptor, Repository, media_type};
use serde::Deserialize;
use serde_json::json;
use tokio::runtime::Runtime;

#[derive(Deserialize)]
struct Devices {
    index_only_devices: Vec<Device>,
}

#[derive(Deserialize)]
struct Device {
    layers: Vec<String>,
    targets: Vec<String>,
    sha256: String,
}

/// A directory with a layout `images` that has both images, the ordinary one under the tag `1`.
struct Scene {
    obd: Obd,
    layout: OciLayout,
    base: Descriptor,
    accelerated: Descriptor,
    device: String,
}

fn scene() -> Scene {
    let obd = Obd::new();
    golden::unpack("turbooci", &obd.path(""));
    let devices = golden::expected::<Devices>("turbooci").index_only_devices;
    let device = devices.into_iter().rfind(|device| device.layers.len() == 3).unwrap();
    let layout = OciLayout::open_or_create(obd.path("images")).unwrap();
    let layers: Vec<_> = device
        .targets
        .iter()
        .map(|target| (media_type::OCI_LAYER_GZIP, obd.read(&format!("{target}.tar.gz"))))
        .collect();
    let base = ordinary::image(&layout, "amd64", &layers);
    layout.list(base.clone(), Some("1")).unwrap();

    let manifest = layout.manifest(&base).unwrap();
    let image = manifest.image().unwrap();
    let layers: Vec<_> = device
        .layers
        .iter()
        .zip(&device.targets)
        .zip(&image.layers)
        .map(|((layer, target), original)| {
            let gzip_index = Some(obd.read(&format!("{target}.gzip.meta")).into());
            let parts = IndexOnlyBlob { fs_meta: obd.read(layer).into(), gzip_index };
            let mut blob = Vec::new();
            let diff_id = parts.write(&mut blob).unwrap();
            let blob = layout.add_bytes(&blob, media_type::OCI_LAYER_GZIP).unwrap();
            ImageLayer::index_only(blob, diff_id, original, true)
        })
        .collect();
    let config = std::fs::read(layout.blob_path(&image.config.digest)).unwrap();
    let config = document::config(&config, &layers).unwrap();
    let config = layout.add_bytes(&config, media_type::OCI_CONFIG).unwrap();
    let accelerated = document::manifest(&manifest, image, &config, &layers).unwrap();
    let place = ImagePlace::Layout(layout.clone());
    let accelerated =
        Runtime::new().unwrap().block_on(place.put_manifest(media_type::OCI_MANIFEST, accelerated));
    Scene { obd, layout, base, accelerated: accelerated.unwrap(), device: device.sha256 }
}

impl Scene {
    /// The file of a layer of the ordinary image.
    fn target(&self, n: usize) -> std::path::PathBuf {
        let base = self.layout.manifest(&self.base).unwrap();
        self.layout.blob_path(&base.image().unwrap().layers[n].digest)
    }

    /// Serves both images as `demo/app:1`; gives the reference, too.
    fn serve(&self) -> (RegistryProcess, String) {
        std::fs::create_dir(self.obd.path("content")).unwrap();
        let registry = RegistryProcess::start(&self.obd.path("content"), "");
        let repository = Repository::new(registry.address(), "demo/app").unwrap();
        Runtime::new().unwrap().block_on(async {
            let access = Access { plain_http: true, ..Access::default() };
            let client = access.registry(&repository).unwrap();
            let place = ImagePlace::in_repository(client, repository, &access).unwrap();
            publish(&self.layout, &place, "1", &|_| ()).await.unwrap();
        });
        let reference = format!("{}/demo/app:1 --plain-http", registry.address());
        (registry, reference)
    }
}

#[test]
fn the_device_of_a_layout_is_that_of_the_reference() {
    let scene = scene();
    let Scene { obd, accelerated, .. } = &scene;
    let found = &obd.said("resolve oci:images:1")["accelerated"];
    assert_eq!((&found["digest"], &found["kind"]), (&json!(accelerated.digest), &json!("Turbo")));
    obd.said("cat oci:images:1 -o device");
    assert_eq!(obd.sha256("device"), scene.device);
    let verified = obd.said("verify oci:images:1");
    assert_eq!((&verified["layers"], &verified["digests"]), (&json!(3), &json!(3)), "{verified}");
    let info = obd.said("info oci:images");
    assert!(scene.target(2).ends_with(info["layer"][2]["target"].as_str().unwrap()), "{info}");
    assert_names(&obd.refused("info oci:images:2"), &["not found"]);
}

#[test]
fn the_device_of_a_registry_is_read_lazily() {
    let scene = scene();
    let (_registry, reference) = scene.serve();
    let obd = &scene.obd;
    obd.said(&format!("cat {reference} -o device"));
    assert_eq!(obd.sha256("device"), scene.device);
    let targets: u64 =
        scene.layout.manifest(&scene.base).unwrap().image().unwrap().layers.iter().map(|l| l.size).sum();
    let info = obd.said(&format!("info {reference}"));
    assert!(info["fetched_bytes"].as_u64().unwrap() < targets / 10, "{info}");
    assert!(
        obd.said(&format!("bench {reference} --random-4k --seconds 0.1"))["ops_per_s"].as_f64() > Some(0.0)
    );

    let pulled = obd.said(&format!("pull {reference} pulled"));
    assert!(pulled["bytes"].as_u64().unwrap() > targets, "{pulled}");
    let checked = obd.said("verify pulled/config.v1.json");
    assert_eq!((&checked["layers"], &checked["digests"]), (&json!(3), &json!(3)), "{checked}");
}

#[test]
fn a_layer_of_the_base_that_is_gone_is_named() {
    let scene = scene();
    let layer = scene.layout.manifest(&scene.base).unwrap().image().unwrap().layers[1].digest.clone();
    let (registry, reference) = scene.serve();
    drop(registry);
    for entry in find(&scene.obd.path("content"), layer.hex()) {
        std::fs::remove_file(entry).unwrap();
    }
    let registry = RegistryProcess::start(&scene.obd.path("content"), "");
    let path = reference.split_once('/').unwrap().1;
    for verb in ["info", "cat -o device", "verify"] {
        let (verb, rest) = verb.split_once(' ').unwrap_or((verb, ""));
        let error = scene.obd.refused(format!("{verb} {}/{path} {rest}", registry.address()).trim());
        assert_names(&error, &[layer.as_str(), "ordinary image is not in", "demo/app"]);
    }
}

/// The files below `directory` whose path has `text`.
fn find(directory: &std::path::Path, text: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(find(&path, text));
        } else if path.display().to_string().contains(text) {
            found.push(path);
        }
    }
    found
}
