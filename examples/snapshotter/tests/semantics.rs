//! What containerd expects of every snapshotter.

#[path = "support/client.rs"]
mod client;
#[path = "support/running.rs"]
mod running;
#[path = "support/scripted.rs"]
mod scripted;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use examples::access::Access;
use prost_types::FieldMask;
use snapshotter::containerd::snapshots::{Info, Kind, Mount, UpdateRequest};
use snapshotter::{Images, Snapshotter};
use tonic::Code;

use client::owned;
use running::Running;

#[tokio::test(flavor = "multi_thread")]
async fn layers_are_unpacked_on_top_of_each_other() {
    let running = Running::start("").await;
    let client = &running.client;

    let first = client.prepare("extract-1", "", &[]).await.unwrap();
    assert_eq!((first[0].r#type.as_str(), &first[0].options), ("bind", &texts(&["rw", "rbind"])));
    fs::write(Path::new(&first[0].source).join("a"), vec![1; 10_000]).unwrap();
    client.commit("layer-1", "extract-1", &[("x", "1")]).await.unwrap();

    let second = client.prepare("extract-2", "layer-1", &[]).await.unwrap();
    assert_eq!(second[0].r#type, "overlay");
    assert_eq!(option(&second[0], "lowerdir"), first[0].source);
    client.commit("layer-2", "extract-2", &[]).await.unwrap();

    let third = client.prepare("container", "layer-2", &[]).await.unwrap();
    let below = format!("{}:{}", option(&second[0], "upperdir"), first[0].source);
    assert_eq!(option(&third[0], "lowerdir"), below);
    assert_eq!(client.mounts("container").await.unwrap(), third);

    let one = client.view("view-1", "layer-1").await.unwrap();
    assert_eq!((one[0].source.as_str(), &one[0].options), (&*first[0].source, &texts(&["ro", "rbind"])));
    let both = client.view("view-2", "layer-2").await.unwrap();
    assert_eq!(both[0].options, ["index=off".to_owned(), format!("lowerdir={below}")]);

    let info = client.stat("layer-1").await.unwrap();
    assert_eq!((info.kind(), info.parent.as_str()), (Kind::Committed, ""));
    assert_eq!(info.labels, owned(&[("x", "1")]));
    assert_eq!(client.stat("container").await.unwrap().parent, "layer-2");
    let usage = client.usage("layer-1").await.unwrap();
    assert!(usage.size >= 10_000 && usage.inodes == 2, "{usage:?}");
    assert_eq!(client.usage("container").await.unwrap().inodes, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_has_its_code() {
    let running = Running::start("").await;
    let client = &running.client;
    client.prepare("active", "", &[]).await.unwrap();
    client.prepare("extract", "", &[]).await.unwrap();
    client.commit("layer", "extract", &[]).await.unwrap();
    client.view("view", "layer").await.unwrap();

    assert_eq!(client.prepare("active", "", &[]).await, Err(Code::AlreadyExists));
    assert_eq!(client.prepare("new", "absent", &[]).await, Err(Code::NotFound));
    assert_eq!(client.prepare("new", "active", &[]).await, Err(Code::InvalidArgument));
    assert_eq!(client.prepare("", "", &[]).await, Err(Code::InvalidArgument));
    assert_eq!(client.view("active", "").await, Err(Code::AlreadyExists));
    assert_eq!(client.mounts("absent").await, Err(Code::NotFound));
    assert_eq!(client.mounts("layer").await, Err(Code::FailedPrecondition));
    assert_eq!(client.commit("new", "absent", &[]).await, Err(Code::NotFound));
    assert_eq!(client.commit("new", "view", &[]).await, Err(Code::FailedPrecondition));
    assert_eq!(client.commit("layer", "active", &[]).await, Err(Code::AlreadyExists));
    assert_eq!(client.remove("layer").await, Err(Code::FailedPrecondition));
    assert_eq!(client.remove("absent").await, Err(Code::NotFound));
    assert_eq!(client.stat("absent").await, Err(Code::NotFound));
    assert_eq!(client.usage("absent").await, Err(Code::NotFound));
    assert_eq!(client.list(&["size==1"]).await, Err(Code::InvalidArgument));
    let unknown = client.call::<_, ()>("Merge", ()).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_change_as_the_mask_says() {
    let running = Running::start("").await;
    let client = &running.client;
    client.prepare("a", "", &[("x", "1"), ("y", "1")]).await.unwrap();
    let change = |labels: &[(&str, &str)], paths: &[&str]| UpdateRequest {
        info: Some(Info { name: "a".to_owned(), labels: owned(labels), ..Info::default() }),
        update_mask: Some(FieldMask { paths: texts(paths) }),
        ..UpdateRequest::default()
    };
    let one = client.update(change(&[("x", "2"), ("z", "2")], &["labels.x", "labels.y"])).await.unwrap();
    assert_eq!(one.labels, owned(&[("x", "2")]));
    assert_ne!(one.updated_at, one.created_at);
    let all = client.update(change(&[("z", "3")], &["labels"])).await.unwrap();
    assert_eq!(all.labels, owned(&[("z", "3")]));
    assert_eq!(client.update(change(&[], &["parent"])).await, Err(Code::InvalidArgument));
    assert_eq!(client.stat("a").await.unwrap().labels, owned(&[("z", "3")]));
    assert_eq!(client.update(change(&[], &[])).await.unwrap().labels, owned(&[]));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_many_snapshots_are_listed() {
    let running = Running::start("").await;
    let client = &running.client;
    for n in 0..120 {
        client.prepare(&format!("key-{n:03}"), "", &[]).await.unwrap();
    }
    client.commit("layer", "key-119", &[]).await.unwrap();
    assert_eq!(client.list(&[]).await.unwrap().len(), 120);
    assert_eq!(client.list(&["kind==committed", "name==key-007"]).await.unwrap(), ["key-007", "layer"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_goes_with_the_next_cleanup() {
    let running = Running::start("").await;
    let client = &running.client;
    client.prepare("extract", "", &[]).await.unwrap();
    client.commit("layer", "extract", &[]).await.unwrap();
    client.prepare("container", "layer", &[]).await.unwrap();
    let all = running.directories();
    client.remove("container").await.unwrap();
    assert_eq!(running.directories(), all, "files of mounts that may still be there");
    client.cleanup().await;
    assert_eq!(running.directories().len(), 1);
    assert_eq!(client.list(&[]).await.unwrap(), ["layer"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_finds_everything_and_what_a_crash_left() {
    let running = Running::start("").await;
    running.client.prepare("extract", "", &[]).await.unwrap();
    running.client.commit("layer", "extract", &[("x", "1")]).await.unwrap();
    let mounts = running.client.prepare("container", "layer", &[]).await.unwrap();
    let before = running.client.stat("layer").await.unwrap();
    let owned_directories = running.directories();
    // A snapshot without its record, and a record that was not finished.
    let crashed = running.root().join("snapshots/9");
    fs::create_dir_all(crashed.join("fs")).unwrap();
    fs::write(running.root().join("snapshots/.tmpA.new"), "{").unwrap();

    let running = running.restart("").await;
    let client = &running.client;
    assert_eq!(client.stat("layer").await.unwrap(), before);
    assert_eq!(client.mounts("container").await.unwrap(), mounts);
    assert!(!running.root().join("snapshots/.tmpA.new").exists());
    // Its number is not used while its directory may be mounted.
    let new = client.prepare("new", "", &[]).await.unwrap();
    assert_eq!(Path::new(&new[0].source), running.root().join("snapshots/10/fs"));
    client.remove("new").await.unwrap();
    client.cleanup().await;
    assert_eq!(running.directories(), owned_directories);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_has_one_snapshotter() {
    let running = Running::start("").await;
    let second = async |root: &Path| {
        let images = Images::new(Access::default(), BTreeSet::new());
        Snapshotter::open(root, images, running.rootfs.clone()).await.unwrap_err().to_string()
    };
    let error = second(running.root()).await;
    assert!(error.starts_with("locking ") && error.contains("snapshots"), "{error}");
    for unfit in ["relative", "/with:colon", "/with,comma"] {
        assert!(second(Path::new(unfit)).await.contains("not an absolute path without"), "{unfit}");
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn option<'a>(mount: &'a Mount, key: &str) -> &'a str {
    mount.options.iter().find_map(|option| option.strip_prefix(key)?.strip_prefix('=')).unwrap()
}
