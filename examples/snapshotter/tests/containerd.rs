//! Containers of images that were never downloaded, under containerd and runc.

#[path = "support/daemons.rs"]
mod daemons;
#[path = "support/images.rs"]
mod images;

use std::time::{Duration, Instant};

use daemons::{Daemons, can_run_containers};
use images::Images;

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_images_that_share_layers_run_without_a_download() {
    if !can_run_containers() {
        return;
    }
    let images = Images::serve().await;
    let mut daemons = Daemons::start(&images.host());
    daemons.pull(&images.three());
    daemons.pull(&images.two());
    assert!(daemons.mounts().is_empty(), "nothing was asked for yet");

    daemons.start_idle(&images.three(), "idle");
    assert_eq!(daemons.run(&images.two(), "two", "ls /app; wc -c </data/shared; echo x >/new"), "2000000\n");
    assert_eq!(daemons.run(&images.three(), "three", "cat /app/own; ls /new || true"), "only in three\n");

    daemons.restart_snapshotter();
    // What was not read before the restart is still served, for old containers and for new ones.
    let shared = daemons.exec("idle", "wc -c /data/shared");
    assert_eq!(String::from_utf8_lossy(&shared.stdout), "2000000 /data/shared\n");
    assert_eq!(daemons.run(&images.two(), "again", "wc -c </data/shared"), "2000000\n");
    assert_eq!(images.downloads(), 0);

    // What a container needs stays although its image is removed.
    daemons.remove_images();
    assert_eq!(String::from_utf8_lossy(&daemons.exec("idle", "cat /app/own").stdout), "only in three\n");
    daemons.end("idle");
    daemons.pull(&images.two());
    daemons.remove_images();
    assert_eq!((daemons.mounts(), daemons.directories()), (Vec::new(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_accelerated_image_is_unpacked_above_what_has_one() {
    if !can_run_containers() {
        return;
    }
    let images = Images::serve().await;
    images.publish_plain("demo/plain");
    let plain = format!("{}/demo/plain:1", images.host());
    let daemons = Daemons::start(&images.host());
    daemons.pull(&images.two());
    daemons.pull(&plain);
    assert_eq!(images.downloads(), 1, "the layer that the other image does not have");
    let files = "cat /app/own; wc -c </data/shared";
    assert_eq!(daemons.run(&plain, "plain", files), "only in three\n2000000\n");
    daemons.remove_images();
    assert_eq!((daemons.mounts(), daemons.directories()), (Vec::new(), 0));

    daemons.pull(&plain);
    assert_eq!(images.downloads(), 4);
    assert_eq!(daemons.run(&plain, "plain-again", files), "only in three\n2000000\n");
    daemons.remove_images();
    assert_eq!(daemons.directories(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_run_from_index_only_images() {
    if !can_run_containers() {
        return;
    }
    let images = Images::serve().await;
    images.publish_index_only("demo/index-only").await;
    let image = format!("{}/demo/index-only:1", images.host());
    let daemons = Daemons::start(&images.host());
    let before = images.downloads();
    daemons.pull(&image);
    assert_eq!(images.downloads(), before);
    let files = "cat /app/own; wc -c </data/shared";
    assert_eq!(daemons.run(&image, "index-only", files), "only in three\n2000000\n");
    daemons.remove_images();
    assert_eq!((daemons.mounts(), daemons.directories()), (Vec::new(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_is_replaced() {
    if !can_run_containers() {
        return;
    }
    let images = Images::serve().await;
    let daemons = Daemons::start(&images.host());
    daemons.pull(&images.three());
    daemons.start_idle(&images.three(), "idle");
    daemons.kill_servers();
    assert!(!daemons.exec("idle", "cat /data/shared").status.success(), "an error, and no zeros");
    assert_eq!(daemons.run(&images.three(), "new", "wc -c </data/shared"), "2000000\n");
    daemons.end("idle");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_earlier_starts_read_is_fetched_before_it_is_asked_for() {
    if !can_run_containers() {
        return;
    }
    let images = Images::serve().await;
    images.attach_profile().await;
    let daemons = Daemons::start(&images.host());
    daemons.pull(&images.three());
    daemons.start_idle(&images.three(), "idle");
    let begun = Instant::now();
    loop {
        let (fetched, size) = images.shared_layer();
        if fetched >= size {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{fetched} of {size} bytes");
        tokio::task::yield_now().await;
    }
    daemons.end("idle");
}
