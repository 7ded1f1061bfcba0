//! The toolbox commits, merges and compresses as the reference's tools do.

#[path = "support/golden.rs"]
mod golden;
#[path = "support/help.rs"]
mod help;
#[path = "support/obd.rs"]
mod obd;

use help::assert_documented;
use obd::{Obd, assert_names, said};
use serde_json::json;

/// Writable layers in a directory each, and what the reference made of them under the names of their cases.
fn commits() -> Obd {
    let obd = Obd::new();
    golden::unpack("commit-sources", &obd.path(""));
    for case in ["lsmt-append", "lsmt-cli-create", "lsmt-commit-zfile"] {
        std::fs::create_dir_all(obd.path(case)).unwrap();
        golden::unpack(case, &obd.path(case));
    }
    obd
}

/// A configuration of five layers in five forms.
fn stack() -> Obd {
    let obd = Obd::new();
    golden::unpack("stack", &obd.path(""));
    let lowers: Vec<_> = (0..5).map(|n| json!({ "file": format!("L{n}.obd") })).collect();
    obd.write("config.json", json!({ "lowers": lowers }).to_string());
    obd
}

#[test]
fn the_commands_of_the_reference_give_its_blobs() {
    let obd = commits();
    for (switches, layer, expected) in [
        ("", "rw.data lsmt-append/rw.index", "lsmt-append/commit.plain"),
        ("--commit_sealed", "sealed.data", "lsmt-append/commit.from-sealed"),
        (
            "--uuid 41ba245b-523d-48d8-8da4-f372c5ab5aac -p c1330e3c-bba7-43e2-a860-eaa7fa5cd5e0",
            "rw.data lsmt-append/rw.index",
            "lsmt-append/commit.uuid",
        ),
        ("-z --bs 16 --commit_sealed", "sealed.data", "lsmt-append/commit.from-sealed.z16"),
        ("-z", "rw.data lsmt-append/rw.index", "lsmt-commit-zfile/c.lz4.4k"),
        ("-z --compress_threads 4", "rw.data lsmt-append/rw.index", "lsmt-commit-zfile/c.lz4.4k.threads4"),
        ("-z --algorithm lz4 --bs 64", "rw.data lsmt-append/rw.index", "lsmt-commit-zfile/c.lz4.64k"),
        ("-z -t", "rw.data lsmt-append/rw.index", "lsmt-commit-zfile/c.default.tar"),
    ] {
        let said = obd.said(&format!("commit -f {switches} lsmt-append/{layer} out").replace("  ", " "));
        assert!(obd.read("out") == obd.read(expected), "{switches}: not {expected}");
        assert_eq!(said["digest"], format!("sha256:{}", obd.sha256("out")));
        assert_eq!(said["size"], obd.read("out").len());
    }
    // A message with blanks in it, by a shell.
    said(
        &obd.shell("$OBD commit --json -f -m 'hello, user tag' lsmt-append/rw.data lsmt-append/rw.index out"),
    );
    assert!(obd.read("out") == obd.read("lsmt-append/commit.tag"));
}

#[test]
fn a_zstd_commit_is_the_same_layer() {
    let obd = commits();
    obd.said("commit -z -t --algorithm zstd --level 19 --bs 32 lsmt-append/rw.data lsmt-append/rw.index out");
    obd.said("cat out -o ours");
    obd.said("cat lsmt-commit-zfile/c.zstd.4k -o theirs");
    assert_eq!(obd.sha256("ours"), obd.sha256("theirs"));
    assert!(obd.read("out").len() < obd.read("lsmt-commit-zfile/c.zstd.32k").len());
}

#[test]
fn a_merge_is_the_device_in_one_layer() {
    let obd = stack();
    obd.said("merge --plain --uuid c7705a32-4104-4202-8290-1ad700e60b20 -m merged config.json out");
    assert!(obd.read("out") == obd.read("merged.plain"));
    // The reference does not go back to the header of what it compressed.
    obd.said("merge -f config.json out");
    assert!(obd.read("out")[512..] == obd.read("merged.cli")[512..]);
    obd.said("cat out -o ours");
    obd.said("cat config.json -o theirs");
    assert_eq!(obd.sha256("ours"), obd.sha256("theirs"));
}

#[test]
fn files_are_compressed_and_extracted() {
    let obd = Obd::new();
    golden::unpack("zfile-raw", &obd.path(""));
    obd.said("zfile -x z.lz4.4k raw");
    let raw = obd.read("raw");
    for switches in ["", "-t", "--algorithm zstd --bs 8 --level -3", "--bs 64 --compress-threads 3"] {
        obd.said(&format!("zfile -f {switches} raw z").replace("  ", " "));
        assert_eq!(obd.said("zfile --verify z")["bytes_under_crc"], raw.len());
        obd.said("zfile -f -x z x");
        assert!(obd.read("x") == raw, "{switches}");
    }
    said(&obd.shell("cat raw | $OBD zfile --json -f z"));
    assert!(obd.read("z")[512..] == obd.read("z.stdin")[512..]);
}

#[test]
fn what_cannot_be_written_leaves_nothing() {
    let obd = commits();
    golden::unpack("zfile-raw", &obd.path(""));
    obd.said("zfile -x z.rnd.lz4.32k noise");
    let names = obd.names();
    let long = "T".repeat(257);
    for (arguments, parts) in [
        (format!("commit -m {long} lsmt-append/sealed.data out"), vec!["user tag", "257"]),
        ("commit lsmt-append/rw.data out".to_owned(), vec!["rw.data", "LSMT trailer"]),
        ("commit lsmt-append/absent out".to_owned(), vec!["absent"]),
        ("commit lsmt-append/sealed.data lsmt-append/commit.plain".to_owned(), vec!["commit.plain exists"]),
        ("commit lsmt-append/sealed.data nowhere/out".to_owned(), vec!["nowhere/out"]),
        ("zfile --verify zh.lz4.4k.noverify".to_owned(), vec!["zh.lz4.4k.noverify", "no checksums"]),
        ("zfile -x lsmt-append/sealed.data out".to_owned(), vec!["sealed.data is no ZFile"]),
        ("zfile --bs 64 noise out".to_owned(), vec!["noise", "does not compress", "65536"]),
    ] {
        assert_names(&obd.refused(&arguments), &parts);
        assert_eq!(obd.names(), names, "{arguments}");
    }
    for arguments in
        ["commit --bs 5 -z a b", "commit --algorithm gzip -z a b", "commit --uuid not-a-uuid a b"]
    {
        assert_eq!(obd.run(arguments).status.code(), Some(2), "{arguments}");
    }
}

#[test]
fn what_they_say_is_documented() {
    let obd = stack();
    golden::unpack("zfile-raw", &obd.path(""));
    assert_documented("commit", &[obd.said("commit L4.obd out")]);
    assert_documented("merge", &[obd.said("merge -f config.json out")]);
    let zfile = ["zfile -f L0.obd out", "zfile -f -x z.lz4.4k out", "zfile --verify z.lz4.4k"];
    assert_documented("zfile", &zfile.map(|arguments| obd.said(arguments)));
}
