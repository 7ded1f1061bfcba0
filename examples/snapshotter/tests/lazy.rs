//! Layers of an accelerated image are not unpacked, and what stands on them reads through its device.

#[path = "support/client.rs"]
mod client;
#[path = "support/images.rs"]
mod images;
#[path = "support/running.rs"]
mod running;
#[path = "support/scripted.rs"]
mod scripted;

use std::path::{Path, PathBuf};

use registry::Fault;
use snapshotter::Device;
use snapshotter::containerd::snapshots::Mount;
use tonic::Code;

use client::Client;
use images::Images;
use running::Running;

#[tokio::test(flavor = "multi_thread")]
async fn layers_of_an_accelerated_image_are_there_already() {
    let images = Images::serve().await;
    let running = Running::start(&images.host()).await;
    let client = &running.client;
    let chains = images.chains();

    pull(client, &images.three(), &chains, "cri.").await;
    let filter = format!("labels.\"containerd.io/snapshot.ref\"=={},parent==\"{}\"", chains[2], chains[1]);
    assert_eq!(client.list(&[&filter]).await.unwrap(), [chains[2].clone()]);
    assert_eq!(client.usage(&chains[2]).await.unwrap().size, 0);
    assert!(running.rootfs.mounted().is_empty(), "nothing reads yet");

    let mounts = client.prepare("container", &chains[2], &[]).await.unwrap();
    let rootfs = PathBuf::from(lowerdir(&mounts));
    assert_eq!(running.rootfs.mounted(), [rootfs.clone()].into());
    let whole = Device {
        host: images.host(),
        repository: "demo/three".to_owned(),
        plain_http: true,
        layers: images.layers(1),
        image: Some(images.accelerated(1)),
    };
    assert_eq!(device(&rootfs), whole);
    assert_eq!(client.view("view", &chains[2]).await.unwrap()[0].source, rootfs.to_str().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn images_share_layers_without_sharing_files_of_one_only() {
    let images = Images::serve().await;
    let running = Running::start(&images.host()).await;
    let client = &running.client;
    let chains = images.chains();

    pull(client, &images.three(), &chains, "").await;
    // All layers of the smaller image are there, as those of the larger one.
    let mounts = client.prepare("two", &chains[1], &[]).await.unwrap();
    let part = device(Path::new(&lowerdir(&mounts)));
    assert_eq!((part.layers, part.image), (images.layers(1)[..2].to_vec(), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accelerated_image_can_be_pulled_by_its_own_name() {
    let images = Images::serve().await;
    let running = Running::start(&images.host()).await;
    let chains = images.publish_accelerated("demo/own");
    pull(&running.client, &format!("{}/demo/own:1", images.host()), &chains, "").await;
    let mounts = running.client.prepare("container", &chains[1], &[]).await.unwrap();
    assert_eq!(device(Path::new(&lowerdir(&mounts))).layers, images.layers(1)[..2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn index_only_layers_are_read_through_too() {
    let images = Images::serve().await;
    let running = Running::start(&images.host()).await;
    images.publish_index_only("demo/index-only").await;
    let image = format!("{}/demo/index-only:1", images.host());
    pull(&running.client, &image, &images.chains(), "").await;
    let mounts = running.client.prepare("container", &images.chains()[1], &[]).await.unwrap();
    let targets = device(Path::new(&lowerdir(&mounts))).layers.into_iter().map(|layer| layer.target);
    assert_eq!(targets.collect::<Vec<_>>(), images.ordinary_layers()[..2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_accelerated_image_is_unpacked() {
    let images = Images::serve().await;
    let running = Running::start(&images.host()).await;
    let client = &running.client;
    let chains = images.chains();
    let other = format!("sha256:{}", "0".repeat(64));
    let absent = format!("{}/demo/absent:1", images.host());

    for (key, image, target) in [
        ("without an image", None, &chains[0]),
        ("absent", Some(&*absent), &chains[0]),
        ("no reference", Some("NO"), &chains[0]),
        ("the tag has moved", Some(&*images.three()), &other),
        ("no chain id", Some(&*images.three()), &"sha256:1".to_owned()),
    ] {
        let mut labels = vec![("containerd.io/snapshot.ref", target.as_str())];
        labels.extend(image.map(|image| ("containerd.io/snapshot/image-ref", image)));
        let mounts = client.prepare(key, "", &labels).await.unwrap_or_else(|code| panic!("{key}: {code}"));
        assert_eq!(mounts[0].r#type, "bind", "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_of_the_registry_images_are_unpacked() {
    let images = Images::serve().await;
    let running = Running::start(&images.host()).await;
    let chains = images.chains();
    images.server.faults().add(Fault::Status(403).on("/manifests/1"));
    let mounts = prepare(&running.client, "", &images.three(), &chains[0], "").await.unwrap();
    assert_eq!(mounts[0].r#type, "bind");
    images.server.faults().clear();
    let above = prepare(&running.client, "", &images.three(), &chains[0], "").await;
    assert_eq!(above, Err(Code::AlreadyExists));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_is_followed() {
    let images = Images::serve().await;
    let running = Running::start(&images.host()).await;
    let client = &running.client;
    let chains = images.chains();
    pull(client, &images.two(), &chains[..2], "").await;
    images.publish(1, "demo/two").await;
    assert_eq!(prepare(client, &chains[1], &images.two(), &chains[2], "").await, Err(Code::AlreadyExists));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_half_unpacked_goes_on_lazily() {
    let images = Images::serve().await;
    let running = Running::start(&images.host()).await;
    let client = &running.client;
    let chains = images.chains();
    client.prepare("extract", "", &[]).await.unwrap();
    client.commit("first", "extract", &[]).await.unwrap();
    assert_eq!(prepare(client, "first", &images.three(), &chains[1], "").await, Err(Code::AlreadyExists));
    // Something unpacked on top of a lazy snapshot reads through it.
    let mounts = client.prepare("extract-3", &chains[1], &[]).await.unwrap();
    assert_eq!(running.rootfs.mounted(), [PathBuf::from(lowerdir(&mounts))].into());
    client.commit("third", "extract-3", &[]).await.unwrap();
    let upper = mounts[0].options.iter().find_map(|o| o.strip_prefix("upperdir=")).unwrap();
    let above = client.prepare("container", "third", &[]).await.unwrap();
    assert_eq!(lowerdir(&above), format!("{upper}:{}", lowerdir(&mounts)));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_namespaces_with_other_parents_have_snapshots_of_their_own() {
    let images = Images::serve().await;
    let running = Running::start(&images.host()).await;
    let client = &running.client;
    let chains = images.chains();
    client.prepare("extract", "", &[]).await.unwrap();
    client.commit("one/first", "extract", &[]).await.unwrap();
    pull(client, &images.three(), &chains, "").await;
    let above = prepare(client, "one/first", &images.three(), &chains[1], "").await;
    assert_eq!(above, Err(Code::AlreadyExists));
    let filter = format!("labels.\"containerd.io/snapshot.ref\"=={},parent==one/first", chains[1]);
    assert_eq!(client.list(&[&filter]).await.unwrap().len(), 1);
    // Asked again, nothing new is made.
    let count = client.list(&[]).await.unwrap().len();
    let again = prepare(client, "one/first", &images.three(), &chains[1], "").await;
    assert_eq!(again, Err(Code::AlreadyExists));
    pull(client, &images.three(), &chains, "").await;
    assert_eq!(client.list(&[]).await.unwrap().len(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_are_mounted_while_something_reads_through_them() {
    let images = Images::serve().await;
    let running = Running::start(&images.host()).await;
    let chains = images.chains();
    pull(&running.client, &images.three(), &chains, "").await;
    let mounts = running.client.prepare("container", &chains[2], &[]).await.unwrap();
    running.client.view("view", &chains[2]).await.unwrap();
    let mounted = running.rootfs.mounted();

    let running = running.restart(&images.host()).await;
    let client = &running.client;
    client.cleanup().await;
    assert_eq!(running.rootfs.mounted(), mounted, "a restart of the snapshotter disturbs nobody");
    running.rootfs.reboot();
    assert_eq!(client.mounts("container").await.unwrap(), mounts);
    assert_eq!(running.rootfs.mounted(), mounted, "after one of the machine, who reads mounts");

    client.remove("view").await.unwrap();
    client.cleanup().await;
    assert_eq!(running.rootfs.mounted(), mounted, "the container is still there");
    client.remove("container").await.unwrap();
    assert_eq!(client.remove(&chains[1]).await, Err(Code::FailedPrecondition));
    running.rootfs.refuse(true);
    client.cleanup().await;
    assert_eq!(running.rootfs.mounted(), mounted, "what is in use stays");
    running.rootfs.refuse(false);
    client.cleanup().await;
    assert!(running.rootfs.mounted().is_empty());
    for chain in chains.iter().rev() {
        client.remove(chain).await.unwrap();
    }
    client.cleanup().await;
    assert!(running.directories().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_that_start_and_end_at_once_do_not_meet() {
    let images = Images::serve().await;
    let running = Running::start(&images.host()).await;
    let client = &running.client;
    let top = &images.chains()[2];
    pull(client, &images.three(), &images.chains(), "").await;
    let container = async |n: u32| {
        let key = format!("container-{n}");
        for _ in 0..5 {
            let mounts = client.prepare(&key, top, &[]).await.unwrap();
            assert!(running.rootfs.mounted().contains(Path::new(&lowerdir(&mounts))));
            client.remove(&key).await.unwrap();
            client.cleanup().await;
        }
    };
    futures::future::join_all((0..8).map(container)).await;
    assert!(running.rootfs.mounted().is_empty());
    assert_eq!(running.directories().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_whose_device_cannot_be_mounted_is_not_made() {
    let images = Images::serve().await;
    let running = Running::start(&images.host()).await;
    let client = &running.client;
    let chains = images.chains();
    pull(client, &images.three(), &chains, "").await;
    running.rootfs.refuse(true);
    assert_eq!(client.prepare("container", &chains[2], &[]).await, Err(Code::Unavailable));
    assert_eq!(client.stat("container").await, Err(Code::NotFound));
    running.rootfs.refuse(false);
    client.prepare("container", &chains[2], &[]).await.unwrap();
}

/// Does what containerd does to pull an image whose layers need no download. Labels with the image have
/// `prefix` in their keys, as different clients set them.
async fn pull(client: &Client, image: &str, chains: &[String], prefix: &str) {
    let mut parent = "";
    for chain in chains {
        assert_eq!(prepare(client, parent, image, chain, prefix).await, Err(Code::AlreadyExists));
        client.stat(chain).await.unwrap();
        parent = chain;
    }
}

async fn prepare(
    client: &Client,
    parent: &str,
    image: &str,
    chain: &str,
    prefix: &str,
) -> Result<Vec<Mount>, Code> {
    let labels = labels(image, chain, prefix);
    let labels = [(&*labels[0].0, &*labels[0].1), (&*labels[1].0, &*labels[1].1)];
    client.prepare(&format!("extract {parent} {chain}"), parent, &labels).await
}

fn labels(image: &str, chain: &str, prefix: &str) -> [(String, String); 2] {
    let key = format!("containerd.io/snapshot/{prefix}image-ref");
    [("containerd.io/snapshot.ref".to_owned(), chain.to_owned()), (key, image.to_owned())]
}

fn lowerdir(mounts: &[Mount]) -> String {
    let mut options = mounts[0].options.iter();
    options.find_map(|option| option.strip_prefix("lowerdir=")).unwrap().to_owned()
}

/// The device of a lazy snapshot.
fn device(rootfs: &Path) -> Device {
    Device::read(&rootfs.parent().unwrap().join("device.json")).unwrap()
}
