//! `obd mount`: the files of an image are there, and everything is gone at the end, whoever ends it.

#[path = "support/help.rs"]
mod help;
#[path = "support/images.rs"]
mod images;
#[path = "support/mounts.rs"]
mod mounts;
#[path = "support/obd.rs"]
mod obd;
#[path = "support/trees.rs"]
mod trees;

use std::fs::File;
use std::io::{Read, Write};
use std::process::Command;

use help::assert_documented;
use mounts::{Mount, Scene, assert_same_files, can_mount};
use obd::{Obd, assert_names};
use overlaybd_format::{LayerOptions, LayerWriter};
use serde_json::json;

#[test]
fn the_files_of_an_image_are_those_it_was_made_from() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let mount = scene.mount("");
    assert_same_files(scene.source.path(), &mount.path(""));
    let written = File::create(mount.path("new")).unwrap_err();
    assert_eq!(written.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    let files = mount.terminate();
    assert_eq!((&files["filesystem"], &files["failed_reads"]), (&json!("erofs"), &json!(0)));
    assert!(files["fetched_bytes"].as_u64().unwrap() > 3_000_000, "{files}");

    let mount = scene.mount("--device-only");
    let metadata = mount.path("device").metadata().unwrap();
    let mut superblock = [0; 1028];
    File::open(mount.path("device")).unwrap().read_exact(&mut superblock).unwrap();
    assert_eq!(superblock[1024..], [0xe2, 0xe1, 0xf5, 0xe0]);
    let device = mount.terminate();
    assert_eq!((&device["filesystem"], &device["virtual_size"]), (&json!(null), &json!(metadata.len())));
    assert_documented("mount", &[files, device]);
}

#[test]
fn what_is_not_read_is_not_fetched() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let mount = scene.mount("");
    assert_eq!(mount.read("lib/deep/er/block").unwrap(), scene.source_file("lib/deep/er/block"));
    let said = mount.terminate();
    assert!(said["fetched_bytes"].as_u64().unwrap() < 1_500_000, "{said}");
}

#[test]
fn a_umount_by_anybody_ends_the_server() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let mount = scene.mount("");
    mount.unmount();
    mount.ended();
}

#[test]
fn open_files_are_served_to_their_end() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let mount = scene.mount("");
    let mut file = File::open(mount.path("lib/big")).unwrap();
    mount.signal("-INT");
    // The directory is free at once, but the server is needed.
    while mount.is_mounted() {
        std::thread::yield_now();
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    assert!(bytes == scene.source_file("lib/big"));
    drop(file);
    mount.ended();
}

#[test]
fn a_second_signal_ends_a_server_that_is_in_use() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let mut mount = scene.mount("");
    let mut file = File::open(mount.path("lib/big")).unwrap();
    mount.signal("-INT");
    while mount.is_mounted() {
        std::thread::yield_now();
    }
    mount.signal("-INT");
    assert_names(&mount.line(), &["still open"]);
    mount.ended();
    assert!(file.read_to_end(&mut Vec::new()).is_err());
}

#[test]
fn what_is_written_goes_to_the_upper_directory() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    // An overlayfs, where temporary files may be, is no place for the upper of another one.
    let upper = scene.path("upper");
    std::fs::create_dir(&upper).unwrap();
    assert!(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&upper).status().unwrap().success());
    let mount = scene.mount("--upper upper");
    File::create(mount.path("new")).unwrap().write_all(b"new").unwrap();
    std::fs::remove_file(mount.path("lib/block")).unwrap();
    assert_eq!(mount.read("bin/tool").unwrap(), scene.source_file("bin/tool"));
    mount.terminate();
    let kept = std::fs::read(upper.join("fs/new"));
    assert!(Command::new("umount").arg(&upper).status().unwrap().success());
    assert_eq!(kept.unwrap(), b"new");

    let mount = scene.mount("");
    assert_same_files(scene.source.path(), &mount.path(""));
    mount.terminate();
}

#[test]
fn erofs_is_mounted_as_well() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let image = scene.path("erofs.img");
    let Ok(made) = Command::new("mkfs.erofs").arg(&image).arg(scene.source.path()).output() else {
        let mut stderr = std::io::stderr();
        writeln!(stderr, "SKIPPED: erofs_is_mounted_as_well: there is no mkfs.erofs").unwrap();
        return;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let device = std::fs::read(image).unwrap();
    let file = File::create(scene.path("layer.obd")).unwrap();
    let mut writer = LayerWriter::new(file, LayerOptions::new(device.len() as u64)).unwrap();
    writer.write(0, &device).unwrap();
    writer.finish().unwrap();

    let mount = Mount::start(&scene.path(""), "layer.obd mnt");
    assert_same_files(scene.source.path(), &mount.path(""));
    assert_eq!(mount.terminate()["filesystem"], json!("erofs"));
}

#[test]
fn what_cannot_be_mounted_says_why_and_leaves_nothing() {
    let obd = Obd::new();
    std::fs::create_dir(obd.path("mnt")).unwrap();
    let mut writer =
        LayerWriter::new(File::create(obd.path("layer.obd")).unwrap(), LayerOptions::new(1 << 20)).unwrap();
    writer.write(0, &[7; 4096]).unwrap();
    writer.finish().unwrap();
    assert_names(&obd.refused("mount layer.obd mnt"), &["layer.obd", "neither ext4 nor EROFS"]);
    assert_names(&obd.refused("mount layer.obd nowhere"), &["nowhere", "No such file"]);
    if !can_mount() {
        return;
    }
    // The magic of ext4, and nothing else of it.
    let mut device = vec![0; 1 << 20];
    device[1080..1082].copy_from_slice(&[0x53, 0xef]);
    let mut writer =
        LayerWriter::new(File::create(obd.path("broken.obd")).unwrap(), LayerOptions::new(1 << 20)).unwrap();
    writer.write(0, &device).unwrap();
    writer.finish().unwrap();
    assert_names(&obd.refused("mount broken.obd mnt"), &["broken.obd", "mounting ext4 at ", "mnt"]);
}
