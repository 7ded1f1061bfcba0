//! `obd` creates, writes, resizes, compacts, snapshots and seals writable layers.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// Runs `obd` in a directory and gives what it says.
fn obd(directory: &Path, arguments: &str) -> Result<Value, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_obd"))
        .arg("--json")
        .args(arguments.split_whitespace())
        .current_dir(directory)
        .output()
        .unwrap();
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

/// A directory with a script and the bytes it writes.
fn bench(script: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("ops"), script).unwrap();
    let payload: Vec<u8> = (0..16_384_u32).map(|at| (at / 512 + 1) as u8).collect();
    fs::write(directory.path().join("payload"), payload).unwrap();
    directory
}

/// The first byte of each of the first sectors of the device that `input` names.
fn sectors(directory: &Path, input: &str) -> Vec<u8> {
    let _ = fs::remove_file(directory.join("raw"));
    obd(directory, &format!("cat {input} --output raw")).unwrap();
    fs::read(directory.join("raw")).unwrap().chunks(512).take(8).map(|sector| sector[0]).collect()
}

const SCRIPT: &str = "\
# Two writes, the second over the end of the first, and a discard.
w 0 2048 0
w 1536 1024 8192
s
d 512 512
z 3072 512
";

#[test]
fn either_kind_is_written_and_sealed() {
    for (kind, flags, garbage) in [("append-only", "", 1024), ("sparse", "--sparse", 0)] {
        let bench = bench(SCRIPT);
        let directory = bench.path();
        let made = obd(directory, &format!("create data index 1 {flags}")).unwrap();
        assert_eq!((made["kind"].as_str(), made["virtual_size"].as_u64()), (Some(kind), Some(1 << 30)));
        let wrote = obd(directory, "write data index --script ops --payload payload").unwrap();
        assert_eq!(wrote["operations"], 5);
        assert_eq!(wrote["written_bytes"], 3584);
        assert_eq!(wrote["discarded_bytes"], 512);
        assert_eq!(wrote["garbage_bytes"], garbage, "{kind}");
        obd(directory, "resize data index --vsize 1048576").unwrap();
        obd(directory, "seal data index").unwrap();
        assert_eq!(sectors(directory, "data"), [1, 0, 3, 17, 18, 0, 0, 0], "{kind}");
        let refused = obd(directory, "write data index --script ops --payload payload").unwrap_err();
        assert!(refused.contains("data") && refused.contains("sealed"), "{refused}");
        obd(directory, "seal data index --undo").unwrap();
        obd(directory, "write data index --script ops --payload payload").unwrap();
    }
}

#[test]
fn a_compacted_layer_reads_the_same() {
    let bench = bench(SCRIPT);
    let directory = bench.path();
    obd(directory, "create data index --vsize 4096").unwrap();
    obd(directory, "write data index --script ops --payload payload").unwrap();
    assert_eq!(obd(directory, "compact data index new new.index").unwrap()["garbage_bytes"], 1024);
    let sizes = ["data", "new"].map(|file| fs::metadata(directory.join(file)).unwrap().len());
    assert_eq!(sizes[0] - sizes[1], 1024);
    obd(directory, "seal new new.index").unwrap();
    assert_eq!(sectors(directory, "new"), [1, 0, 3, 17, 18, 0, 0, 0]);
}

#[test]
fn a_snapshot_is_the_lower_of_what_is_written_next() {
    let bench = bench(SCRIPT);
    let directory = bench.path();
    obd(directory, "create data index --vsize 4096").unwrap();
    fs::write(directory.join("config"), r#"{"lowers":[],"upper":{"data":"data","index":"index"}}"#).unwrap();
    obd(directory, "write config --script ops --payload payload").unwrap();
    assert_eq!(obd(directory, "snapshot config next next.index --sparse").unwrap()["lowers"], 1);

    fs::write(directory.join("ops"), "w 1024 512 4096\nd 0 512\n").unwrap();
    obd(directory, "write config --script ops --payload payload").unwrap();
    assert_eq!(sectors(directory, "data"), [1, 0, 3, 17, 18, 0, 0, 0], "the snapshot");
    obd(directory, "seal next").unwrap();
    fs::write(directory.join("both"), r#"{"lowers":[{"file":"data"},{"file":"next"}]}"#).unwrap();
    assert_eq!(sectors(directory, "both"), [0, 0, 9, 17, 18, 0, 0, 0]);
}

#[test]
fn a_wrong_line_is_named() {
    for (script, why) in [
        ("w 0 512 0\nw 0 512\n", "line 2: \"w 0 512\" is no operation"),
        ("w 0 512 16384\n", "line 1: the payload ends before"),
        ("w 1 512 0\n", "line 1"),
        ("d 0 x\n", "a number is none"),
    ] {
        let bench = bench(script);
        obd(bench.path(), "create data index --vsize 4096").unwrap();
        let said = obd(bench.path(), "write data index --script ops --payload payload").unwrap_err();
        assert!(said.contains(why), "{script:?}: {said}");
    }
}

#[test]
fn a_configuration_reads_its_upper_over_its_lowers() {
    for flags in ["", "--sparse"] {
        let bench = bench(SCRIPT);
        let directory = bench.path();
        obd(directory, "create lower lower.index 1").unwrap();
        fs::write(directory.join("below"), "w 0 4096 4096\n").unwrap();
        obd(directory, "write lower lower.index --script below --payload payload").unwrap();
        obd(directory, "seal lower lower.index").unwrap();
        obd(directory, &format!("create data index 1 {flags}")).unwrap();
        let index = if flags.is_empty() { "index" } else { "" };
        let config = format!(
            r#"{{"lowers": [{{"file": "lower"}}], "upper": {{"data": "data", "index": "{index}"}}}}"#
        );
        fs::write(directory.join("config"), config).unwrap();
        obd(directory, "write config --script ops --payload payload").unwrap();
        assert_eq!(sectors(directory, "config"), [1, 0, 3, 17, 18, 14, 0, 16], "{flags}");
        let error = obd(directory, "info config").unwrap_err();
        assert!(error.contains("key upper"), "{error}");
    }
}
