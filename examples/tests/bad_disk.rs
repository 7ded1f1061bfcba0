//! A disk that misbehaves under the cache or the output: an error or, where the registry has the bytes, a
//! warning, which names what, where and why; and nothing half-written that a later run would trust.

#[path = "support/golden.rs"]
mod golden;
#[path = "support/obd.rs"]
mod obd;
#[path = "support/remote_stack.rs"]
mod remote_stack;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use obd::{assert_names, refused, said, stderr};
use registry::Fault;
use remote_stack::Scene;
use serde_json::json;

#[test]
fn a_cache_directory_where_a_file_is() {
    let scene = Scene::new();
    scene.obd.write("cache", "");
    scene.fails(&["config: ", "opening the cache directory cache/", "Not a directory"]);
    fs::remove_file(scene.obd.path("cache")).unwrap();
    scene.works();
}

#[test]
fn a_cache_directory_without_rights() {
    let scene = Scene::new();
    let cache = scene.obd.path("cache");
    fs::create_dir(&cache).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o555)).unwrap();
    if File::create(cache.join("probe")).is_err() {
        scene.fails(&["config: ", "opening the cache directory cache/", "Permission denied"]);
    } else {
        // Rights do not bind this user, a file system that is mounted to be read does.
        let Some(_mount) = Mount::tmpfs(&cache, "ro") else { return };
        scene.fails(&["config: ", "opening the cache directory cache/", "Read-only file system"]);
    }
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o755)).unwrap();
    scene.works();
}

#[test]
fn a_cache_directory_where_files_must_stay_small() {
    let scene = Scene::new();
    // Chunks behind the first 100 KiB of a blob find no place, one in the middle only in part.
    let output = scene.obd.shell("trap '' XFSZ; ulimit -f 200; exec $OBD verify config --cache cache --json");
    assert_eq!(said(&output)["digests"], json!(5));
    let warning = stderr(&output);
    assert_eq!(warning.lines().count(), 1, "{warning}");
    assert_names(&warning, &["warning: ", &scene.digests[0], "bytes ", "in cache/", "File too large"]);
    scene.works();
}

#[test]
fn a_cache_directory_without_space() {
    let scene = Scene::new();
    let cache = scene.obd.path("cache");
    fs::create_dir(&cache).unwrap();
    let Some(mount) = Mount::tmpfs(&cache, "size=200k") else { return };
    let output = scene.obd.run("verify config --cache cache --json");
    assert_eq!(said(&output)["digests"], json!(5));
    assert_names(
        &stderr(&output),
        &["warning: ", "sha256:", "bytes ", "in cache/", "No space left on device"],
    );
    mount.again("size=10m");
    scene.works();
}

#[test]
fn an_output_directory_without_space() {
    let scene = Scene::new();
    let out = scene.obd.path("out");
    fs::create_dir(&out).unwrap();
    let Some(_mount) = Mount::tmpfs(&out, "size=200k") else { return };
    let error = refused(&scene.obd.run("cat config -o out/device"));
    assert_names(&error, &["writing out/device", "No space left on device"]);
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
}

#[test]
fn a_run_that_was_killed() {
    let scene = Scene::new();
    // Some blobs are in the cache, one is half there, one not at all.
    scene.server.faults().add(Fault::Stall { at: 20_000 }.on(&scene.digests[3]));
    let mut run = scene.obd.start("verify config --cache cache");
    while !scene.server.log().iter().any(|request| request.path.contains(&scene.digests[3])) {
        std::thread::yield_now();
    }
    run.kill().unwrap();
    run.wait().unwrap();
    scene.server.faults().clear();
    scene.works();
}

#[test]
fn a_cache_directory_with_damaged_files() {
    let scene = Scene::new();
    scene.works();
    let requests = scene.server.log().len();
    let mut files = Vec::new();
    for entry in fs::read_dir(scene.obd.path("cache/chunks-v1")).unwrap() {
        files.push(entry.unwrap().path());
    }
    assert!(files.len() >= 2 * 5, "{files:?}");
    for file in files {
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes.truncate(bytes.len() - 1);
        fs::write(&file, bytes).unwrap();
    }
    scene.works();
    assert!(scene.server.log().len() > requests, "damaged chunks were fetched again");
}

/// A file system in memory at a directory, until this is dropped.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    /// `None`, loudly, where this user may not mount.
    fn tmpfs(directory: &'a Path, options: &str) -> Option<Self> {
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(directory).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(directory));
        }
        // Not by `eprintln`, which the test harness catches.
        let skipped = b"SKIPPED: this user may not mount a tmpfs, which a test of full disks needs\n";
        io::stderr().write_all(skipped).unwrap();
        None
    }

    /// Mounts it with other options.
    fn again(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &options]).arg(self.0).status().unwrap().success());
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        // A directory that stays busy is left to whoever looks into the temporary directory.
        let _ = Command::new("umount").arg(self.0).status();
    }
}
