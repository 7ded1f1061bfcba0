//! A registry that misbehaves: the toolbox gives an error that names what, where and why, writes nothing that
//! looks whole, and once the fault is gone the same cache directory leads to the right bytes.

#[path = "support/golden.rs"]
mod golden;
#[path = "support/obd.rs"]
mod obd;
#[path = "support/remote_stack.rs"]
mod remote_stack;

use std::fs;
use std::io::Cursor;

use obd::{Obd, assert_names};
use overlaybd_format::{LayerOptions, LayerWriter};
use registry::Fault;
use remote_stack::Scene;
use serde_json::json;

#[test]
fn a_registry_that_stalls() {
    let scene = Scene::new();
    let digest = &scene.digests[1];
    for at in [0, 1000] {
        // Which limit is met first is a race: the silence of the origin or the time of the read.
        let stall = Fault::Stall { at }.on(digest);
        scene.fails_for_as_long(stall, &["config: ", digest, "bytes 0.."]);
        fs::remove_dir_all(scene.obd.path("cache")).unwrap();
    }
}

#[test]
fn a_web_page_for_a_blob() {
    let scene = Scene::new();
    let digest = &scene.digests[2];
    let size = scene.obd.read("L2.obd").len();
    scene
        .fails_for_as_long(Fault::Html.on(digest), &[digest, "bytes ", &format!("where {size} were stated")]);
}

#[test]
fn answers_that_are_not_the_range_asked_for() {
    for (fault, cause) in [
        (Fault::WrongContentRange, "for bytes "),
        (Fault::LongBody, "longer than its range"),
        (Fault::Status(404), "status 404"),
        (Fault::Status(500), "status 500"),
        (Fault::Status(403), "access denied"),
    ] {
        let scene = Scene::new();
        let digest = &scene.digests[0];
        scene.fails_for_as_long(fault.on(digest), &["config: ", digest, "bytes ", cause]);
    }
}

#[test]
fn a_connection_that_is_always_cut_at_once() {
    let scene = Scene::new();
    let digest = &scene.digests[3];
    scene.fails_for_as_long(Fault::Cut { at: 0 }.on(digest), &[digest, "bytes "]);
}

#[test]
fn a_connection_that_is_cut_now_and_then_is_no_error() {
    let scene = Scene::new();
    scene.server.faults().add(Fault::Cut { at: 20_000 }.times(4));
    scene.works();
}

#[test]
fn a_whole_small_blob_for_a_range_is_good_enough() {
    let scene = Scene::new();
    scene.server.faults().add(Fault::RangeIgnored);
    scene.works();
}

#[test]
fn a_whole_large_blob_for_a_range_is_not_read_to_its_end() {
    let mut writer = LayerWriter::new(Cursor::new(Vec::new()), LayerOptions::new(16 << 20)).unwrap();
    let content: Vec<u8> = (0u32..4 << 20).flat_map(u32::to_le_bytes).collect();
    writer.write(0, &content).unwrap();
    let obd = Obd::new();
    obd.write("content", &content);
    let device = obd.sha256("content");
    let scene = Scene::of(obd, vec![writer.finish().unwrap().into_inner()], device);
    let digest = &scene.digests[0];
    scene.fails_for_as_long(
        Fault::RangeIgnored,
        &[digest, "bytes ", "ranges are ignored", "too far to skip to"],
    );
    let bytes: u64 = scene.server.log().iter().map(|request| request.body_bytes).sum();
    assert!(bytes < 3 * (16 << 20), "{bytes} bytes for 16 MiB that were read twice");
}

#[test]
fn a_blob_that_is_shorter_than_it_should_be() {
    let scene = Scene::new();
    let size = scene.obd.read("L1.obd").len();
    scene.change(1, "size", json!(size + 512));
    scene.fails(&[
        &scene.digests[1],
        "bytes ",
        &format!("a blob of {size} bytes where {} were stated", size + 512),
    ]);
    scene.change(1, "size", json!(size));
    scene.works();
}

#[test]
fn a_blob_that_was_pushed_truncated() {
    let scene = Scene::new();
    let right = scene.digests[1].clone();
    let short = scene.obd.read("L1.obd")[..40_000].to_vec();
    let digest = scene.server.put_blob("demo", short.into()).unwrap().to_string();
    scene.change(1, "digest", json!(digest));
    scene.change(1, "size", json!(40_000));
    scene.fails(&["config: ", &digest, "broken ZFile header at byte 0: ", "in 40000 bytes"]);
    scene.change(1, "digest", json!(right));
    scene.change(1, "size", json!(scene.obd.read("L1.obd").len()));
    scene.works();
}

#[test]
fn a_blob_that_is_no_layer() {
    let scene = Scene::new();
    let digest = scene.server.put_blob("demo", vec![b'x'; 20_000].into()).unwrap().to_string();
    scene.change(4, "digest", json!(digest));
    scene.change(4, "size", json!(20_000));
    scene.fails(&["config: ", &digest, "broken LSMT header at byte 0: "]);
}

#[test]
fn a_bit_that_flips_on_the_way_is_not_cached() {
    let scene = Scene::new();
    // The second layer is compressed, its blocks have checksums.
    let digest = &scene.digests[1];
    let flip = Fault::BitFlip { at: 20_000 };
    scene.fails_for_as_long(flip.on(digest), &[digest, "checksum mismatch in ZFile block at byte "]);
}

#[test]
fn a_bit_that_flips_where_only_the_digest_tells_is_found_by_verify() {
    let scene = Scene::new();
    // The first layer is stored as it is.
    let digest = &scene.digests[0];
    scene.server.faults().add(Fault::BitFlip { at: 20_000 }.times(1).on(digest));
    let error = scene.obd.refused("verify config --cache cache");
    assert_names(&error, &["config: ", digest, "broken blob at byte 0: its digest is sha256:"]);
    assert_eq!(scene.obd.said("verify config --cache cache")["digests"], json!(5));
    scene.works();
}

#[test]
fn a_web_page_for_a_manifest() {
    let scene = Scene::new();
    let reference = format!("{}/demo:1 --plain-http", scene.server.addr());
    scene.server.faults().add(Fault::Html.on("/manifests/"));
    for verb in
        [format!("resolve {reference}"), format!("info {reference}"), format!("pull {reference} pulled")]
    {
        assert_names(&scene.obd.refused(&verb), &["/v2/demo/manifests/1", "media type"]);
    }
    assert!(!scene.obd.names().contains(&"pulled".to_owned()));
}

#[test]
fn a_registry_that_is_not_there() {
    let scene = Scene::new();
    let Scene { obd, server, digests, .. } = scene;
    drop(server);
    for verb in ["info config", "verify config", "cat config -o device"] {
        let error = obd.refused(&format!("{verb} --timeout 1"));
        assert!(digests.iter().any(|digest| error.contains(digest)), "{error}");
        assert_names(&error, &["config: ", "bytes ", "onnect"]);
    }
    assert!(!obd.names().contains(&"device".to_owned()));
}
