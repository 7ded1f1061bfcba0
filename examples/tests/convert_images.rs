//! Conversion in a layout: the documents that are made, and the files that the device then has.

#[path = "support/conversions.rs"]
mod conversions;
#[path = "support/layers.rs"]
mod layers;
#[path = "support/ordinary.rs"]
mod ordinary;
#[path = "support/trees.rs"]
mod trees;

use conversions::{Scene, document, open};
use examples::convert::options::{Mode, Options};
use layers::{expected, found, tars};
use ordinary::{Layer, gzip};
use referrers::media_type::{
    DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_LAYER_GZIP,
    OCI_MANIFEST,
};
use referrers::{Descriptor, Digest, Platform};
use serde_json::{Value, json};

const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const KEYS: &str = "containerd.io/snapshot/overlaybd";

/// The three layers as tar and as gzip of one member and of several.
fn gzip_layers() -> [Layer; 3] {
    let [one, two, three] = tars();
    [(OCI_LAYER_GZIP, gzip(&one, 1)), (OCI_LAYER, two), (OCI_LAYER_GZIP, gzip(&three, 3))]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_mode_image_holds_the_files_of_all_layers() {
    let scene = Scene::new();
    let layout = scene.layout("images");
    let base = ordinary::image(&layout, "amd64", &gzip_layers());
    layout.list(base.clone(), Some("1")).unwrap();
    let options = Options::new(Mode::Full).with_suffix(Some("_containerd_accelerated".into()));
    let report = scene.convert(&scene.image("images"), &options).await.unwrap();
    assert_eq!(
        (report.base.as_str(), report.tag.as_deref()),
        (base.digest.as_str(), Some("1_containerd_accelerated"))
    );

    assert_eq!(found(&*open(&scene.image("images")).await.device).await, expected(3));
    let tagged = layout.tagged(Some("1_containerd_accelerated")).unwrap();
    assert_eq!(tagged.digest.as_str(), report.accelerated);
    assert_eq!(layout.tagged(Some("1")).unwrap().digest, base.digest);

    let made = document(&layout, &report.accelerated);
    let digests: Vec<_> = report.image[0].layer.iter().map(|layer| layer.digest.clone()).collect();
    let layer = |n: usize| {
        let size = report.image[0].layer[n].bytes;
        json!({
            "mediaType": OCI_LAYER, "digest": digests[n], "size": size,
            "annotations": {
                format!("{KEYS}/blob-digest"): digests[n], format!("{KEYS}/blob-size"): size.to_string(),
                format!("{KEYS}/blob-fs-type"): "erofs", format!("{KEYS}/version"): "0.1.0",
            },
        })
    };
    let config = made["config"].clone();
    let expected = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.containerd.overlaybd.native.v1+json",
        "config": config, "layers": [layer(0), layer(1), layer(2)],
        "subject": { "mediaType": OCI_MANIFEST, "digest": base.digest, "size": base.size },
        "annotations": { "org.example.kept": "yes" },
    });
    assert_eq!(made, expected);
    assert_eq!(config["mediaType"], OCI_CONFIG);

    let ordinary = document(&layout, base.digest.as_str());
    let mut kept = document(&layout, ordinary["config"]["digest"].as_str().unwrap());
    kept["rootfs"]["diff_ids"] = json!(digests);
    assert_eq!(document(&layout, config["digest"].as_str().unwrap()), kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_only_image_points_into_the_layers() {
    let scene = Scene::new();
    let layout = scene.layout("images");
    let layers = gzip_layers();
    let base = ordinary::image(&layout, "amd64", &layers);
    layout.list(base.clone(), Some("1")).unwrap();
    let report = scene.convert(&scene.image("images"), &Options::new(Mode::IndexOnly)).await.unwrap();
    assert_eq!(report.tag, None);
    assert_eq!(found(&*open(&scene.image("images")).await.device).await, expected(3));
    assert!(report.bytes < report.base_bytes / 10, "{report:?}");

    let made = document(&layout, &report.accelerated);
    assert_eq!(made["artifactType"], "application/vnd.containerd.overlaybd.turbo.v1+json");
    let config = document(&layout, made["config"]["digest"].as_str().unwrap());
    for (n, (media_type, target)) in layers.iter().enumerate() {
        let layer = &made["layers"][n];
        assert_eq!(layer["mediaType"], OCI_LAYER_GZIP);
        let digest = layer["digest"].as_str().unwrap();
        let tar = ordinary::tar_of(&conversions::blob(&layout, digest));
        assert_eq!(config["rootfs"]["diff_ids"][n], json!(Digest::sha256_of(&tar)));
        let annotations = json!({
            format!("{KEYS}/blob-digest"): digest, format!("{KEYS}/blob-size"): layer["size"].to_string(),
            format!("{KEYS}/blob-fs-type"): "erofs", format!("{KEYS}/version"): "0.1.0-turbo.ociv1",
            format!("{KEYS}/turbo-oci/target-digest"): Digest::sha256_of(target),
            format!("{KEYS}/turbo-oci/target-media-type"): media_type,
        });
        assert_eq!(layer["annotations"], annotations);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_images_become_oci_images_that_refer_to_them() {
    let [one, two, three] = tars();
    // The second type is wrong, as it is in the wild.
    let layers =
        [(DOCKER_LAYER_GZIP, gzip(&one, 1)), (DOCKER_LAYER_GZIP, two), (DOCKER_LAYER_GZIP, gzip(&three, 1))];
    for mode in [Mode::Full, Mode::IndexOnly] {
        let scene = Scene::new();
        let layout = scene.layout("images");
        let base = ordinary::docker_image(&layout, "amd64", &layers);
        layout.list(base.clone(), Some("1")).unwrap();
        let report = scene.convert(&scene.image("images"), &Options::new(mode)).await.unwrap();
        assert_eq!(found(&*open(&scene.image("images")).await.device).await, expected(3));
        let made = document(&layout, &report.accelerated);
        assert_eq!(
            (&made["mediaType"], &made["config"]["mediaType"]),
            (&json!(OCI_MANIFEST), &json!(OCI_CONFIG))
        );
        assert_eq!(made["subject"]["mediaType"], DOCKER_MANIFEST);
        if mode == Mode::IndexOnly {
            let types: Vec<_> = (0..3)
                .map(|n| {
                    made["layers"][n]["annotations"][format!("{KEYS}/turbo-oci/target-media-type")].clone()
                })
                .collect();
            assert_eq!(types, [DOCKER_LAYER_GZIP, DOCKER_LAYER, DOCKER_LAYER_GZIP]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn zstd_layers_become_full_layers_or_a_refusal() {
    let [one, two, three] = tars();
    let zstd = |tar: &[u8]| (OCI_LAYER_ZSTD, zstd::encode_all(tar, 3).unwrap());
    for layers in [
        [zstd(&one), (OCI_LAYER_GZIP, gzip(&two, 1)), zstd(&three)],
        [(OCI_LAYER_GZIP, gzip(&one, 1)), zstd(&two), (OCI_LAYER_GZIP, gzip(&three, 1))],
    ] {
        let scene = Scene::new();
        let layout = scene.layout("images");
        let base = ordinary::image(&layout, "amd64", &layers);
        layout.list(base, Some("1")).unwrap();
        let options = Options::new(Mode::IndexOnly);
        let refused = scene.convert(&scene.image("images"), &options.clone().with_only_index(true)).await;
        let error = format!("{:#}", refused.unwrap_err());
        assert!(error.contains("compressed by zstd"), "{error}");

        let report = scene.convert(&scene.image("images"), &options).await.unwrap();
        let modes: Vec<_> = report.image[0].layer.iter().map(|layer| layer.mode == Mode::Full).collect();
        let zstd: Vec<_> = layers.iter().map(|(media_type, _)| *media_type == OCI_LAYER_ZSTD).collect();
        assert_eq!(modes, zstd);
        assert_eq!(found(&*open(&scene.image("images")).await.device).await, expected(3));
    }
    // Nothing of such an image needs the ordinary one.
    let scene = Scene::new();
    let layout = scene.layout("images");
    layout.list(ordinary::image(&layout, "amd64", &[zstd(&one)]), Some("1")).unwrap();
    let report = scene.convert(&scene.image("images"), &Options::new(Mode::IndexOnly)).await.unwrap();
    let made = document(&layout, &report.accelerated);
    assert_eq!(made["artifactType"], "application/vnd.containerd.overlaybd.native.v1+json");
    assert_eq!(found(&*open(&scene.image("images")).await.device).await, expected(1));
}

/// An index of an image for each architecture, an attestation and an image for another system.
fn platforms(scene: &Scene) -> (Value, Vec<Descriptor>) {
    let layout = scene.layout("images");
    let [one, two, _] = tars();
    let layers = [(OCI_LAYER_GZIP, gzip(&one, 1)), (OCI_LAYER_GZIP, gzip(&two, 1))];
    let amd64 = ordinary::image(&layout, "amd64", &layers);
    let arm64 = ordinary::image(&layout, "arm64", &layers[..1]);
    let entry = |image: &Descriptor, os: &str, architecture: &str| {
        let mut entry = json!(image);
        entry["platform"] = json!({ "os": os, "architecture": architecture });
        entry
    };
    let mut attestation = entry(&amd64, "unknown", "unknown");
    attestation["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": amd64.digest,
    });
    let mut first = entry(&amd64, "linux", "amd64");
    first["annotations"] = json!({ "kept": "yes" });
    let entries = [attestation, first, entry(&amd64, "windows", "amd64"), entry(&arm64, "linux", "arm64")];
    let index = ordinary::index(&layout, &entries);
    layout.list(index.clone(), Some("1")).unwrap();
    (json!(index), vec![amd64, arm64])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_converted_image_by_image() {
    let scene = Scene::new();
    let (index, bases) = platforms(&scene);
    let layout = scene.layout("images");
    let report = scene.convert(&scene.image("images"), &Options::new(Mode::Full)).await.unwrap();
    assert_eq!(report.base, index["digest"].as_str().unwrap());
    let made = document(&layout, &report.accelerated);
    assert_eq!(made["mediaType"], OCI_INDEX);
    assert_eq!(made["artifactType"], "application/vnd.containerd.overlaybd.native.v1+json");
    assert_eq!(made["subject"]["digest"], index["digest"]);
    let entries = made["manifests"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0]["annotations"], json!({ "kept": "yes" }));
    for ((entry, base), architecture) in entries.iter().zip(&bases).zip(["amd64", "arm64"]) {
        assert_eq!(entry["platform"], json!({ "os": "linux", "architecture": architecture }));
        assert_eq!(entry["mediaType"], OCI_MANIFEST);
        let child = document(&layout, entry["digest"].as_str().unwrap());
        assert_eq!(child["subject"]["digest"], base.digest.as_str());
    }
    // The layer that both have is converted once.
    let layer = |image: usize| &report.image[image].layer[0];
    assert_eq!(layer(0).digest, layer(1).digest);
    assert_eq!(report.image.iter().flat_map(|image| &image.layer).filter(|layer| layer.reused).count(), 1);
    assert_eq!(found(&*open(&scene.image("images")).await.device).await, expected(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_platforms_that_are_wanted_are_converted() {
    let scene = Scene::new();
    platforms(&scene);
    let options = Options::new(Mode::Full);
    let arm64 = options.clone().with_platforms(vec![Platform::new("linux", "arm64").with_variant("v8")]);
    let report = scene.convert(&scene.image("images"), &arm64).await.unwrap();
    let platforms: Vec<_> = report.image.iter().map(|image| image.platform.as_str()).collect();
    assert_eq!(platforms, ["linux/arm64"]);
    let made = document(&scene.layout("images"), &report.accelerated);
    assert_eq!(made["manifests"].as_array().unwrap().len(), 1);

    let missing = options.with_platforms(vec![Platform::new("linux", "riscv64")]);
    let error = scene.convert(&scene.image("images"), &missing).await.unwrap_err();
    assert!(format!("{error:#}").contains("no image for linux/riscv64"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_image_gives_the_same_bytes() {
    for mode in [Mode::Full, Mode::IndexOnly] {
        let mut made = Vec::new();
        for threads in [1, 3] {
            let scene = Scene::new();
            let layout = scene.layout("images");
            layout.list(ordinary::image(&layout, "amd64", &gzip_layers()), Some("1")).unwrap();
            let options = Options::new(mode);
            let compression = options.compression.with_threads(threads);
            let report = scene.convert(&scene.image("images"), &options.with_compression(compression)).await;
            made.push(report.unwrap().accelerated);
        }
        assert_eq!(made[0], made[1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_converted_says_why() {
    let [one, ..] = tars();
    let scene = Scene::new();
    let layout = scene.layout("images");
    let base = ordinary::image(&layout, "amd64", &[(OCI_LAYER_GZIP, gzip(&one, 1))]);
    layout.list(base.clone(), Some("1")).unwrap();
    let options = Options::new(Mode::Full).with_suffix(Some("_obd".into()));
    scene.convert(&scene.image("images"), &options).await.unwrap();
    let again = format!("oci:{}:1_obd", scene.path("images").display());
    let error = format!("{:#}", scene.convert(&again, &options).await.unwrap_err());
    assert!(error.contains("accelerated already"), "{error}");

    // A configuration that promises another tar.
    let other = scene.layout("other");
    let (_, mut config, mut manifest) = documents(&layout, &base);
    config["rootfs"]["diff_ids"] = json!([Digest::sha256_of(b"other")]);
    manifest["config"] = json!(other.add_json(&config, OCI_CONFIG).unwrap());
    other.add_bytes(&gzip(&one, 1), OCI_LAYER_GZIP).unwrap();
    other.list(other.add_json(&manifest, OCI_MANIFEST).unwrap(), Some("1")).unwrap();
    // A blob with other bytes.
    let broken = scene.layout("broken");
    let base = ordinary::image(&broken, "amd64", &[(OCI_LAYER_GZIP, gzip(&one, 1))]);
    broken.list(base.clone(), Some("1")).unwrap();
    let (_, _, manifest) = documents(&broken, &base);
    let path = broken.blob_path(&manifest["layers"][0]["digest"].as_str().unwrap().parse().unwrap());
    let mut bytes = std::fs::read(&path).unwrap();
    // The time in the header of gzip, which changes nothing of the tar.
    bytes[5] ^= 1;
    std::fs::write(&path, bytes).unwrap();

    for (name, why) in [("other", "the configuration says"), ("broken", "has the digest")] {
        for mode in [Mode::Full, Mode::IndexOnly] {
            let options = Options::new(mode).with_suffix(Some("_made".into()));
            let result = scene.convert_to(&scene.image(name), None, &options, name).await;
            let error = format!("{:#}", result.unwrap_err());
            assert!(error.contains(why), "{error}");
            assert!(scene.layout(name).tagged(Some("1_made")).is_err());
            let found = std::fs::read_dir(scene.path(name)).unwrap().count();
            assert_eq!(found, 3, "a spool is left");
        }
    }
}

/// The manifest's descriptor, the configuration and the manifest.
fn documents(layout: &examples::oci_layout::OciLayout, base: &Descriptor) -> (Descriptor, Value, Value) {
    let manifest = document(layout, base.digest.as_str());
    let config = document(layout, manifest["config"]["digest"].as_str().unwrap());
    (base.clone(), config, manifest)
}
