//! `obd mount` while something goes wrong: right bytes or an error in time, and all is well when it is over.

#[path = "support/images.rs"]
mod images;
#[path = "support/mounts.rs"]
mod mounts;
#[path = "support/trees.rs"]
mod trees;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use examples::access::Access;
use examples::image_place::ImagePlace;
use examples::oci_layout::OciLayout;
use examples::publish::publish;
use examples::reference_image;
use mounts::{Scene, assert_same_files, can_mount};
use referrers::Repository;
use registry::{Account, Auth, Bearer, Fault, Link, Registry};

#[test]
fn reads_fail_at_the_deadline_and_succeed_when_the_registry_is_back() {
    if !can_mount() {
        return;
    }
    for fault in [Fault::Stall { at: 0 }, Fault::Status(503)] {
        let scene = Scene::new();
        let mut mount = scene.mount("--timeout 0.5");
        scene.server.faults().add(fault.clone().on("/blobs/"));
        let begun = Instant::now();
        assert_eq!(failure(&mount.path("lib/big")), EIO, "{fault:?}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{fault:?}: {:?}", begun.elapsed());
        assert!(mount.line().starts_with("reads fail: "), "{fault:?}");

        scene.server.faults().clear();
        assert!(mount.read("lib/big").unwrap() == scene.source_file("lib/big"), "{fault:?}");
        assert_eq!(mount.line(), "reads succeed again\n");
        assert_same_files(scene.source.path(), &mount.path(""));
        assert!(mount.terminate()["failed_reads"].as_u64().unwrap() > 0);
    }
}

#[test]
fn bytes_that_are_wrong_are_never_read() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let mount = scene.mount("");
    scene.server.faults().add(Fault::BitFlip { at: 5000 }.on("/blobs/"));
    // Requests that begin elsewhere bring the right bytes.
    match std::fs::read(mount.path("lib/big")) {
        Ok(bytes) => assert!(bytes == scene.source_file("lib/big")),
        Err(error) => assert_eq!(error.raw_os_error(), EIO),
    }
    // What came wrong was kept by the cache, and has to be fetched anew.
    scene.server.faults().clear();
    assert_same_files(scene.source.path(), &mount.path(""));
    mount.terminate();
}

#[test]
fn a_server_that_is_killed_leaves_errors_and_a_directory_to_unmount() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let mut mount = scene.mount("");
    let mut open = File::open(mount.path("lib/big")).unwrap();
    scene.server.faults().add(Fault::Stall { at: 0 }.on("/blobs/"));
    // A read that waits for the registry when its server is killed.
    let requests = scene.server.log().len();
    let path = mount.path("lib/big");
    let reader = std::thread::spawn(move || failure(&path));
    while scene.server.log().len() == requests {
        std::thread::yield_now();
    }
    mount.kill();
    assert_eq!(reader.join().unwrap(), EIO);
    assert_eq!(open.read_to_end(&mut Vec::new()).unwrap_err().raw_os_error(), EIO);
    drop(open);
    mount.unmount();

    scene.server.faults().clear();
    let mount = scene.mount("");
    assert_same_files(scene.source.path(), &mount.path(""));
    mount.terminate();
}

#[test]
fn a_server_that_is_killed_while_it_mounts_is_gone() {
    if !can_mount() {
        return;
    }
    let link = Link::mbit(1000, Duration::from_millis(200));
    let scene = Scene::of(Registry::builder().link(link));
    // To mount ext4, the kernel reads what did not come with the layer's index.
    let ext4 = ext4_image(&scene);
    let mut obd = Command::new(env!("CARGO_BIN_EXE_obd"))
        .args(["mount", &ext4, "mnt", "--plain-http"])
        .current_dir(scene.path(""))
        .spawn()
        .unwrap();
    // The kernel reads the device, far away as it is, for this child.
    let mount = loop {
        assert!(obd.try_wait().unwrap().is_none(), "it ended");
        if let Some(mount) = child(obd.id(), "mount") {
            break mount;
        }
    };
    scene.server.faults().add(Fault::Stall { at: 0 }.on("/blobs/"));
    obd.kill().unwrap();
    obd.wait().unwrap();
    while Path::new("/proc").join(&mount).exists() {
        std::thread::yield_now();
    }
}

/// Pushes the image that the reference implementation's tools made; gives its name.
fn ext4_image(scene: &Scene) -> String {
    let directory = tempfile::tempdir().unwrap();
    let layout = OciLayout::create(directory.path()).unwrap();
    reference_image::build(&layout).unwrap();
    let repository = Repository::new(&scene.server.addr().to_string(), "demo/ext4").unwrap();
    let access = Access { plain_http: true, ..Access::default() };
    scene.runtime().block_on(async {
        let registry = access.registry(&repository).unwrap();
        let place = ImagePlace::in_repository(registry, repository.clone(), &access).unwrap();
        publish(&layout, &place, "1", &|_| ()).await.unwrap();
    });
    format!("{repository}:1")
}

/// Why a file cannot be read.
fn failure(path: &Path) -> Option<i32> {
    std::fs::read(path).map(|bytes| bytes.len()).unwrap_err().raw_os_error()
}

/// The child of process `pid` that runs `name`.
fn child(pid: u32, name: &str) -> Option<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    tasks.flatten().find_map(|task| {
        let children = std::fs::read_to_string(task.path().join("children")).ok()?;
        let runs = |pid: &&str| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
        };
        children.split_whitespace().find(runs).map(str::to_owned)
    })
}

#[test]
fn a_cache_that_is_wiped_is_filled_again() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let mount = scene.mount("--cache cache");
    assert_eq!(mount.read("bin/tool").unwrap(), scene.source_file("bin/tool"));
    std::fs::remove_dir_all(scene.path("cache")).unwrap();
    assert_same_files(scene.source.path(), &mount.path(""));
    mount.terminate();
}

#[test]
fn images_that_are_deleted_meanwhile_are_read_on() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let mount = scene.mount("");
    let repository = Repository::new(&scene.server.addr().to_string(), "demo/app").unwrap();
    let registry = Access { plain_http: true, ..Access::default() }.registry(&repository).unwrap();
    for digest in [scene.images().accelerated(), &scene.images().base().digest] {
        scene.runtime().block_on(registry.delete_manifest(&repository, digest)).unwrap();
    }
    assert_same_files(scene.source.path(), &mount.path(""));
    mount.terminate();
}

#[test]
fn tokens_that_are_revoked_are_asked_for_again() {
    if !can_mount() {
        return;
    }
    let account = Account::new("user", "secret");
    let scene = Scene::of(Registry::builder().auth(Auth::Bearer(Bearer::new(account))));
    let mount = scene.mount("--username user --password secret");
    scene.server.revoke_tokens();
    assert_same_files(scene.source.path(), &mount.path(""));
    mount.terminate();
}

/// The number of `EIO` on Linux.
const EIO: Option<i32> = Some(5);
