//! The toolbox on index-only layers: the device of the layers and their targets, compressed or not, and
//! what it says when a target is not there or not right.

#[path = "support/golden.rs"]
mod golden;
#[path = "support/obd.rs"]
mod obd;

use std::fs::File;

use flate2::read::GzDecoder;
use obd::{Obd, assert_names};
use serde::Deserialize;
use serde_json::{Value, json};

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

/// A directory with the layers and their targets, and a device of three layers.
fn case() -> (Obd, Device) {
    let obd = Obd::new();
    golden::unpack("turbooci", &obd.path(""));
    let devices = golden::expected::<Devices>("turbooci").index_only_devices;
    let device = devices.into_iter().rfind(|device| device.layers.len() == 3).unwrap();
    for target in &device.targets {
        let mut gzip = GzDecoder::new(File::open(obd.path(&format!("{target}.tar.gz"))).unwrap());
        std::io::copy(&mut gzip, &mut File::create(obd.path(&format!("{target}.tar"))).unwrap()).unwrap();
    }
    (obd, device)
}

/// Writes a configuration with the keys that `keys` gives for each target.
fn configure(obd: &Obd, device: &Device, keys: impl Fn(&str) -> Value) {
    let lowers: Vec<_> = device
        .layers
        .iter()
        .zip(&device.targets)
        .map(|(file, target)| {
            let mut lower = keys(target);
            lower["file"] = json!(file);
            lower
        })
        .collect();
    obd.write("c.json", json!({ "lowers": lowers }).to_string());
}

fn plain(target: &str) -> Value {
    json!({ "targetFile": format!("{target}.tar") })
}

fn compressed(target: &str) -> Value {
    json!({ "targetFile": format!("{target}.tar.gz"), "gzipIndex": format!("{target}.gzip.meta") })
}

#[test]
fn the_device_is_that_of_the_reference() {
    let (obd, device) = case();
    configure(&obd, &device, compressed);
    obd.said("cat c.json -o device");
    assert_eq!(obd.sha256("device"), device.sha256);
}

#[test]
fn layers_are_described_with_their_targets() {
    let (obd, device) = case();
    configure(&obd, &device, plain);
    let first = &obd.said("info c.json")["layer"][0];
    assert_eq!(first["target"], json!("L1.tar"));
    assert_eq!(first["wrappers"], json!("ZFile Lz4 in blocks of 4096 bytes with CRCs"));
}

#[test]
fn targets_are_counted_by_what_protects_them() {
    let (obd, device) = case();
    let tars: u64 = device.targets.iter().map(|target| obd.read(&format!("{target}.tar")).len() as u64).sum();
    configure(&obd, &device, plain);
    assert_eq!(obd.said("verify c.json")["bytes_without_crc"], json!(tars));
    configure(&obd, &device, compressed);
    let said = obd.said("verify c.json");
    assert_eq!((&said["bytes_without_crc"], &said["layers"]), (&json!(0), &json!(3)));

    let digest = obd.sha256("L1.tar.gz");
    configure(&obd, &device, |target| {
        let mut keys = compressed(target);
        if target == "L1" {
            keys["targetDigest"] = json!(format!("sha256:{digest}"));
        }
        keys
    });
    assert_eq!(obd.said("verify c.json")["digests"], json!(1));
}

#[test]
fn a_target_that_is_not_there_is_named() {
    let (obd, device) = case();
    configure(&obd, &device, plain);
    std::fs::remove_file(obd.path("L3.tar")).unwrap();
    assert_names(&obd.refused("info c.json"), &["c.json", "L3.tar"]);

    configure(&obd, &device, |_| json!({}));
    assert_names(&obd.refused("info c.json"), &[&device.layers[0], "without its target"]);
}

#[test]
fn a_wrong_target_is_found_out() {
    let (obd, device) = case();
    configure(&obd, &device, |_| compressed("L3"));
    assert_names(&obd.refused("info c.json"), &[&device.layers[0], "beyond the end of the target"]);

    configure(
        &obd,
        &device,
        |target| json!({ "targetFile": format!("{target}.tar.gz"), "gzipIndex": "L3.gzip.meta" }),
    );
    assert_names(&obd.refused("info c.json"), &["L1.tar.gz", "of a blob of"]);

    configure(&obd, &device, compressed);
    let mut bytes = obd.read("L3.tar.gz");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    obd.write("L3.tar.gz", bytes);
    assert_names(&obd.refused("verify c.json"), &["L3.tar.gz"]);
}
