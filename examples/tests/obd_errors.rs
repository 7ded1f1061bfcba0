//! What the toolbox says of input that is wrong: one line that names the blob, the place in it and the
//! cause, on standard error only, and a status.

#[path = "support/golden.rs"]
mod golden;
#[path = "support/obd.rs"]
mod obd;

use obd::{Obd, assert_names, refused};
use serde_json::json;

fn stack() -> Obd {
    let obd = Obd::new();
    golden::unpack("stack", &obd.path(""));
    obd
}

#[test]
fn truncated_blobs() {
    let obd = stack();
    for (layer, len, cause) in [
        ("L0.obd", 705_535, "broken LSMT trailer at byte"),
        ("L0.obd", 4096, "4096 bytes cannot hold header and trailer"),
        ("L0.obd", 0, "0 bytes cannot hold header and trailer"),
        (
            "L1.obd",
            40_000,
            "broken ZFile header at byte 0: a jump table of 29 blocks at 52947 in 40000 bytes",
        ),
        ("L3.obd", 70_000, "tar"),
    ] {
        obd.write("short", &obd.read(layer)[..len]);
        for verb in ["info short", "verify short", "cat short -o out", "bench short --open --seconds 0.1"] {
            assert_names(&obd.refused(verb), &["short: ", "at byte", cause]);
        }
        assert!(!obd.names().contains(&"out".to_owned()));
    }
}

#[test]
fn blobs_of_something_else() {
    let obd = stack();
    let mut layer = obd.read("L0.obd");
    layer[0] ^= 1;
    obd.write("magic", &layer);
    obd.write("text", "This is no layer. ".repeat(1000));
    for (blob, cause) in
        [("magic", "broken LSMT header at byte 0: "), ("text", "broken LSMT header at byte 0: ")]
    {
        for verb in ["info", "verify"] {
            assert_names(&obd.refused(&format!("{verb} {blob}")), &[&format!("{blob}: {cause}")]);
        }
    }
    // Inside a stack it is the layer that is named, and the configuration.
    let config = json!({ "lowers": [{ "file": "L0.obd" }, { "file": "text" }] });
    obd.write("config", config.to_string());
    assert_names(&obd.refused("cat config -o out"), &["config: ", "text: broken LSMT header at byte 0: "]);
}

#[test]
fn a_flipped_bit_under_a_checksum() {
    let obd = stack();
    let mut layer = obd.read("L1.obd");
    layer[20_000] ^= 4;
    obd.write("L1.obd", &layer);
    let lowers = ["L0.obd", "L1.obd", "L2.obd"].map(|file| json!({ "file": file }));
    obd.write("config", json!({ "lowers": lowers }).to_string());
    // What is read is what is checked, so the index still opens.
    obd.said("info config");
    for verb in ["verify config", "verify L1.obd", "cat config -o out", "cat L1.obd -o out"] {
        let error = obd.refused(verb);
        assert_names(
            &error,
            &["L1.obd: checksum mismatch in ZFile block at byte ", "stored 0x", "computed 0x"],
        );
        let at = error.split("at byte ").nth(1).unwrap().split(':').next().unwrap();
        let at: usize = at.parse().unwrap();
        assert!(at <= 20_000 && 20_000 < at + 4096 + 64, "{error}");
    }
    assert!(!obd.names().contains(&"out".to_owned()));
}

#[test]
fn an_error_leaves_the_output_of_an_earlier_run_alone() {
    let obd = stack();
    obd.said("cat L1.obd -o out");
    let before = obd.sha256("out");
    let mut layer = obd.read("L1.obd");
    layer[20_000] ^= 4;
    obd.write("L1.obd", &layer);
    let names = obd.names();
    obd.refused("cat L1.obd -o out");
    assert_eq!((obd.sha256("out"), obd.names()), (before, names));
}

#[test]
fn files_that_cannot_be_opened() {
    let obd = stack();
    std::fs::create_dir(obd.path("dir")).unwrap();
    for (arguments, parts) in [
        ("info absent", ["absent", "No such file"]),
        ("info ./r.example/a", ["./r.example/a", "No such file"]),
        ("info dir", ["dir", "directory"]),
        ("verify /nonexistent/layer.obd", ["/nonexistent/layer.obd", "No such file"]),
        ("cat L0.obd -o /nonexistent/out", ["/nonexistent/out", "No such file"]),
        ("cat L0.obd -o /dev/null", ["/dev/null", "no regular file"]),
        ("cat L0.obd -o dir", ["dir", "no regular file"]),
    ] {
        assert_names(&obd.refused(arguments), &parts);
    }
}

#[test]
fn ranges_beyond_the_device() {
    let obd = stack();
    for range in
        ["--offset 33554433", "--offset 33554432 --length 1", "--offset 1 --length 18446744073709551615"]
    {
        let error = obd.refused(&format!("cat L0.obd -o out {range}"));
        assert_names(&error, &["not in a device of 33554432 bytes"]);
    }
    assert!(!obd.names().contains(&"out".to_owned()));
}

#[test]
fn an_output_without_space() {
    let obd = stack();
    let names = obd.names();
    // The limit of a file's size stands for a full disk. 1024 blocks of 512 bytes.
    let output = obd.shell("trap '' XFSZ; ulimit -f 1024; exec $OBD cat L0.obd -o out");
    assert_names(&refused(&output), &["writing out", "File too large"]);
    assert_eq!(obd.names(), names);
}

#[test]
fn configurations_that_are_wrong_or_ask_too_much() {
    let obd = stack();
    for (config, parts) in [
        ("{", &["config", "EOF"][..]),
        (r#"{"lowers": [{"file": "L0.obd"}, {"file": 5}]}"#, &["config", "lowers[1].file"]),
        (r#"{"lowers": []}"#, &["config", "lowers"]),
        (r#"{"lowers": [{"file": "absent"}]}"#, &["config", "lower 0", "absent"]),
        (
            r#"{"lowers": [{"file": "L0.obd"}], "upper": {"index": "i", "data": "d"}}"#,
            &["config", "key upper"],
        ),
        (r#"{"lowers": [{"file": "L0.obd", "targetFile": "t"}]}"#, &["config", "opening t"]),
        (r#"{"lowers": [{"file": "L0.obd"}], "recordTracePath": "t"}"#, &["config", "key recordTracePath"]),
        (r#"{"lowers": [{"file": "L0.obd"}], "download": {"enable": true}}"#, &["config", "key download"]),
        (r#"{"lowers": [{"digest": "md5:1", "size": 1}]}"#, &["config", "lower 0", "key digest"]),
    ] {
        obd.write("config", config);
        assert_names(&obd.refused("info config"), parts);
    }
    // What changes nothing here is left alone, and so is what nobody knows.
    obd.write(
        "config",
        r#"{"lowers": [{"file": "L0.obd"}], "resultFile": "result", "novel": 1, "download": {}}"#,
    );
    obd.said("info config");
    assert!(!obd.names().contains(&"result".to_owned()));
}

#[test]
fn a_wrong_command_line_has_a_status_of_its_own() {
    let obd = Obd::new();
    for arguments in [
        "frobnicate",
        "bench x",
        "bench x --open --seq-1m",
        "bench x --open --seconds -1",
        "bench x --open --threads 0",
        "bench-lookup --segments 0",
        "resolve UPPER",
        "info x --username u",
        "registry",
    ] {
        let output = obd.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments}");
    }
}
