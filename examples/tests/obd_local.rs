//! The toolbox on layers in files: what it says of them, that they are sound, and the device they make.

#[path = "support/golden.rs"]
mod golden;
#[path = "support/obd.rs"]
mod obd;

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use golden::Device;
use obd::{Obd, assert_names};
use serde_json::{Value, json};

/// A directory with the layers of a case, and a configuration of each of its devices.
fn case(name: &str) -> (Obd, Vec<Device>) {
    let obd = Obd::new();
    golden::unpack(name, &obd.path(""));
    let devices = golden::devices(name);
    for (n, device) in devices.iter().enumerate() {
        let lowers: Vec<_> = device.layers.iter().map(|file| json!({ "file": file })).collect();
        obd.write(&format!("{n}.json"), json!({ "lowers": lowers }).to_string());
    }
    (obd, devices)
}

fn every_device_is_reproduced(name: &str) {
    let (obd, devices) = case(name);
    for (n, device) in devices.iter().enumerate() {
        let said = obd.said(&format!("cat {n}.json -o device"));
        let bytes = (said["bytes"].as_u64(), said["virtual_size"].as_u64());
        assert_eq!(bytes, (Some(device.size), Some(device.size)), "{device:?}");
        assert_eq!(obd.sha256("device"), device.sha256, "{device:?}");
    }
}

#[test]
fn every_device_of_five_layers_in_five_forms() {
    every_device_is_reproduced("stack");
}

#[test]
fn every_compressed_form_of_one_layer() {
    every_device_is_reproduced("lsmt-commit-zfile");
}

#[test]
fn every_sealed_form_of_written_layers() {
    for name in ["lsmt-append", "lsmt-append-group", "lsmt-sparse"] {
        every_device_is_reproduced(name);
    }
}

#[test]
fn a_filesystem_that_is_mostly_empty_is_written_with_holes() {
    let (obd, devices) = case("apply-ext4");
    let (n, device) = devices.iter().enumerate().max_by_key(|(_, device)| device.layers.len()).unwrap();
    obd.said(&format!("cat {n}.json -o device"));
    let file = File::open(obd.path("device")).unwrap();
    let metadata = file.metadata().unwrap();
    assert_eq!(metadata.len(), device.size);
    assert!(metadata.blocks() * 512 < device.size / 10, "{} blocks of 512 bytes", metadata.blocks());
    assert_eq!(metadata.permissions().mode() & 0o111, 0);
    // The magic number of ext4, in the superblock at byte 1024.
    let mut magic = [0; 2];
    file.read_exact_at(&mut magic, 1024 + 56).unwrap();
    assert_eq!(magic, [0x53, 0xef]);
}

#[test]
fn ranges_of_a_device_larger_than_any_disk() {
    #[derive(serde::Deserialize)]
    struct Huge {
        size: u64,
        ranges: Vec<Range>,
    }
    #[derive(serde::Deserialize)]
    struct Range {
        offset: u64,
        len: u64,
        sha256: String,
    }
    let obd = Obd::new();
    golden::unpack("lsmt-huge", &obd.path(""));
    let huge: Huge = golden::expected("lsmt-huge");
    for Range { offset, len, sha256 } in huge.ranges {
        let said = obd.said(&format!("cat rw.commit -o part --offset {offset} --length {len}"));
        assert_eq!((&said["bytes"], &said["virtual_size"]), (&json!(len), &json!(huge.size)));
        assert_eq!(obd.sha256("part"), sha256, "{len} bytes at {offset}");
    }
    // The last bytes without a length, and nothing at the end.
    obd.said(&format!("cat rw.commit -o part --offset {}", huge.size - 5));
    assert_eq!(obd.read("part").len(), 5);
    obd.said(&format!("cat rw.commit -o part --offset {}", huge.size));
    assert_eq!(obd.read("part"), b"");
}

#[test]
fn a_part_is_cut_out_at_any_byte() {
    let (obd, _) = case("stack");
    obd.text("cat 4.json -o device");
    let device = obd.read("device");
    for (offset, length) in [(0, 1), (511, 2), (1_048_570, 3_000_001)] {
        let text = obd.text(&format!("cat 4.json --output part --offset {offset} --length {length}"));
        assert_names(&text, &[&format!("bytes: {length}\n"), "virtual_size: 33554432\n"]);
        assert_eq!(obd.read("part"), device[offset..][..length], "{length} bytes at {offset}");
    }
}

#[test]
fn a_stack_is_described_layer_by_layer() {
    let (obd, _) = case("stack");
    let said = obd.said("info 4.json");
    assert_eq!((&said["virtual_size"], &said["requests"]), (&json!(33_554_432), &json!(0)));
    let wrappers: Vec<_> = said["layer"].as_array().unwrap().iter().map(|layer| &layer["wrappers"]).collect();
    assert_eq!(
        json!(wrappers),
        json!([
            "not compressed",
            "ZFile Lz4 in blocks of 4096 bytes with CRCs",
            "ZFile Zstd in blocks of 16384 bytes with CRCs",
            "tar, ZFile Lz4 in blocks of 65536 bytes with CRCs",
            "not compressed",
        ])
    );
    let first = &said["layer"][0];
    assert_eq!((&first["name"], &first["blob_bytes"]), (&json!("L0.obd"), &json!(705_536)));
    assert_eq!(said["layer"][1]["parent_uuid"], first["uuid"], "the second names the first as its parent");
    let stored: u64 = said["layer"].as_array().unwrap().iter().map(|l| l["segments"].as_u64().unwrap()).sum();
    assert!(said["merged_segments"].as_u64().unwrap() <= 2 * stored);

    let text = obd.text("info L3.obd");
    assert_names(&text, &["layer 0:\n  blob_bytes: 75776\n", "  name: L3.obd\n", "virtual_size: 33554432\n"]);
}

#[test]
fn a_layer_that_leaves_the_size_open_is_described_all_the_same() {
    let obd = Obd::new();
    golden::unpack("lsmt-edge", &obd.path(""));
    let said = obd.said("info vsize-zero.commit");
    assert_eq!((&said["virtual_size"], &said["layer"][0]["virtual_size"]), (&Value::Null, &json!(0)));
    assert_names(
        &obd.refused("cat vsize-zero.commit -o device"),
        &["vsize-zero.commit", "size of the device"],
    );
}

#[test]
fn what_is_compressed_and_no_layer_is_described_and_checked_too() {
    let obd = Obd::new();
    golden::unpack("zfile-raw", &obd.path(""));
    let said = obd.said("info z.lz4.4k.tar");
    assert_eq!(
        (&said["kind"], &said["wrappers"]),
        (&json!("ZFile"), &json!("tar, ZFile Lz4 in blocks of 4096 bytes with CRCs"))
    );
    let checked = obd.said("verify z.lz4.4k.tar");
    assert_eq!(
        (&checked["bytes_under_crc"], &checked["bytes_without_crc"]),
        (&said["content_size"], &json!(0))
    );
}

#[test]
fn sound_layers_are_counted_by_what_protects_them() {
    let (obd, _) = case("stack");
    let said = obd.said("verify 4.json");
    assert_eq!((&said["layers"], &said["digests"], &said["requests"]), (&json!(5), &json!(0), &json!(0)));
    let plain = ["L0.obd", "L4.obd"].map(|name| obd.read(name).len() as u64).iter().sum::<u64>();
    assert_eq!(said["bytes_without_crc"], json!(plain));
    assert!(said["bytes_under_crc"].as_u64().unwrap() > 100_000);
    assert_names(&obd.text("verify L1.obd"), &["layers: 1\n", "bytes_without_crc: 0\n"]);
}

#[test]
fn a_digest_in_a_configuration_is_checked() {
    let (obd, _) = case("stack");
    let config = |digest: &str| {
        let lower = json!({ "file": "L0.obd", "digest": format!("sha256:{digest}") });
        obd.write("digest.json", json!({ "lowers": [lower] }).to_string());
    };
    let right = obd.sha256("L0.obd");
    config(&right);
    assert_eq!(obd.said("verify digest.json")["digests"], json!(1));
    let wrong = "0".repeat(64);
    config(&wrong);
    assert_names(&obd.refused("verify digest.json"), &["digest.json", "L0.obd", &right, &wrong]);
}

#[test]
fn measurements_are_positive_numbers() {
    let (obd, _) = case("stack");
    let positive = |value: &Value| assert!(value.as_f64().unwrap() > 0.0, "{value}");
    for workload in ["--random-4k", "--seq-1m", "--random-4k --threads 2", "--open", "--open --threads 2"] {
        let said = obd.said(&format!("bench 4.json {workload} --seconds 0.05"));
        positive(&said["ops_per_s"]);
        assert_eq!(
            said["mib_per_s"].as_f64().unwrap() > 0.0,
            !workload.contains("open"),
            "{workload}: {said}"
        );
    }
    for layers in [1, 4] {
        let said = obd.said(&format!("bench-lookup --segments 1000 --layers {layers} --seconds 0.05"));
        positive(&said["lookups_per_s"]);
        assert!(said["segments"].as_u64().unwrap() >= 1000, "{said}");
    }
    assert_names(&obd.text("bench L0.obd --seq-1m --seconds 0.05"), &["ops_per_s: ", "mib_per_s: "]);
}
