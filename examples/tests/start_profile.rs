//! `obd profile`: what a start read is fetched before the next one asks for it.

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

use std::process::{Command, Output};

use bytes::Bytes;
use examples::accelerated_image::AcceleratedImage;
use examples::access::Access;
use examples::image_name::ImageName;
use examples::image_place::ImagePlace;
use examples::start_profile::{ARTIFACT_TYPE, Profiles};
use help::assert_documented;
use mounts::{Scene, assert_same_files, can_mount};
use obd::{assert_names, refused, said};
use overlaybd_format::trace::{Record, Trace};
use referrers::{Descriptor, Repository};
use registry::Fault;
use serde_json::{Value, json};

/// Runs `obd profile` on the image of `scene`.
fn profile(scene: &Scene, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_obd"))
        .args(["profile", &scene.reference(), "--plain-http", "--json"])
        .args(arguments)
        .current_dir(scene.path(""))
        .output()
        .unwrap()
}

#[test]
fn a_recorded_start_is_fetched_by_the_next_mount() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let recorded = said(&profile(&scene, &["--", "cat", "{}/lib/big"]));
    assert_eq!(recorded["runs"], json!(1));
    assert!(recorded["bytes"].as_u64().unwrap() >= 3_000_000, "{recorded}");
    assert_documented("profile", std::slice::from_ref(&recorded));

    let fetched = || scene.server.log().iter().map(|request| request.body_bytes).sum::<u64>();
    let before = fetched();
    let mount = scene.mount("");
    // It comes although nobody reads.
    while fetched() < before + 2_500_000 {
        std::thread::yield_now();
    }
    assert_same_files(scene.source.path(), &mount.path(""));
    let with = mount.terminate();
    assert!(with["profile_bytes"].as_u64().unwrap() > 2_900_000, "{with}");

    let mount = scene.mount("--no-profile");
    let without = mount.terminate();
    assert_eq!(without["profile_bytes"], json!(null));
    assert!(without["fetched_bytes"].as_u64().unwrap() < 1_000_000, "{without}");
}

#[test]
fn starts_add_up_to_one_profile() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let first = said(&profile(&scene, &["--", "cat", "{}/bin/tool"]));
    let both = said(&profile(&scene, &["--runs", "2", "--", "cat", "{}/lib/big"]));
    assert_eq!(both["runs"], json!(3));
    let bytes = |said: &Value| said["bytes"].as_u64().unwrap();
    assert!(bytes(&both) > bytes(&first) + 2_500_000, "{first} {both}");
    let again = said(&profile(&scene, &["--", "cat", "{}/bin/tool"]));
    assert_eq!((&again["bytes"], &again["records"]), (&both["bytes"], &both["records"]));

    let access = Access { plain_http: true, ..Access::default() };
    let (found, listed) = scene.runtime().block_on(async {
        let (profiles, subject) = profiles(&scene, &access).await;
        let registry = access.registry(&repository(&scene)).unwrap();
        let listed = registry.referrers(&repository(&scene), &subject.digest, Some(ARTIFACT_TYPE)).await;
        (profiles.find().await.unwrap().unwrap(), listed.unwrap().referrers)
    });
    assert_eq!(found.runs, 4);
    assert_eq!(listed.len(), 1, "the older ones are gone");
    assert_eq!(json!(listed[0].digest.as_str()), again["profile"]);
}

#[test]
fn what_is_no_profile_is_refused_and_does_not_keep_from_mounting() {
    let scene = Scene::new();
    let access = Access { plain_http: true, ..Access::default() };
    let good = Trace { records: vec![Record::read(0, 0..4096)] };
    let mut broken = good.encode();
    broken[30] ^= 1;
    let trace = "application/vnd.overlaybd.trace.v1";
    let huge = Trace { records: (0..70_000).map(|n| Record::read(0, n * 8192..n * 8192 + 4096)).collect() };
    for (layers, why) in [
        (vec![(trace, broken)], "checksum mismatch"),
        (vec![(trace, b"bin/app\n".to_vec())], "trace magic"),
        (vec![(trace, huge.encode())], "limit of 65536"),
        (vec![("text/plain", good.encode())], "not one layer of type"),
        (vec![(trace, good.encode()), (trace, good.encode())], "not one layer of type"),
        (vec![], "not one layer of type"),
    ] {
        let error = scene.runtime().block_on(async {
            let (profiles, subject) = profiles(&scene, &access).await;
            attach(&scene, &access, &subject, layers).await;
            profiles.find().await.unwrap_err()
        });
        let error = format!("{error:#}");
        assert_names(&error, &["the start profile sha256:", why]);
        if can_mount() {
            let mount = scene.mount("");
            assert_same_files(scene.source.path(), &mount.path(""));
            mount.terminate();
        }
    }
}

#[test]
fn a_start_that_fails_attaches_nothing() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    assert_names(&refused(&profile(&scene, &["--", "false"])), &["false", "exit status: 1"]);
    let missing = refused(&profile(&scene, &["--", "{}/nothing"]));
    assert_names(&missing, &["/nothing", "No such file"]);
    let found = scene.runtime().block_on(async {
        let access = Access { plain_http: true, ..Access::default() };
        profiles(&scene, &access).await.0.find().await.unwrap()
    });
    assert!(found.is_none());
}

#[test]
fn profiles_are_kept_and_replaced_without_a_referrers_api_too() {
    let scene = Scene::new();
    let access = Access { plain_http: true, ..Access::default() };
    let trace = |n: u64| Trace { records: vec![Record::read(0, n * 4096..(n + 1) * 4096)] };
    scene.runtime().block_on(async {
        let (profiles, _) = profiles(&scene, &access).await;
        scene.server.faults().add(Fault::ReferrersOff);
        assert!(profiles.find().await.unwrap().is_none());
        let first = profiles.attach(&trace(1), 1).await.unwrap();
        assert_eq!(profiles.attach(&trace(1), 1).await.unwrap(), first, "equal profiles are one artifact");
        profiles.attach(&trace(2), 2).await.unwrap();
        let found = profiles.find().await.unwrap().unwrap();
        assert_eq!((found.trace, found.runs), (trace(2), 2));
    });
}

fn repository(scene: &Scene) -> Repository {
    Repository::new(&scene.server.addr().to_string(), "demo/app").unwrap()
}

/// The profiles of the accelerated image, and its descriptor.
async fn profiles(scene: &Scene, access: &Access) -> (Profiles, Descriptor) {
    let registry = access.registry(&repository(scene)).unwrap();
    let reference = scene.reference().parse().unwrap();
    let name = ImageName::Registry(reference);
    let place = ImagePlace::of(&name, access, false).unwrap();
    let image = AcceleratedImage::find(&place, &name, &access.resolve).await.unwrap();
    let subject = image.accelerated.descriptor.clone();
    (Profiles::of(registry, repository(scene), &image.accelerated), subject)
}

/// Attaches an artifact that claims to be a profile of very many starts.
async fn attach(scene: &Scene, access: &Access, subject: &Descriptor, layers: Vec<(&str, Vec<u8>)>) {
    let registry = access.registry(&repository(scene)).unwrap();
    static RUNS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1000);
    let mut described = Vec::new();
    for (media_type, bytes) in layers {
        described.push(Descriptor::of(media_type, &bytes));
        registry.push_blob(&repository(scene), bytes.into()).await.unwrap();
    }
    registry.push_blob(&repository(scene), Bytes::from_static(b"{}")).await.unwrap();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": ARTIFACT_TYPE,
        "config": Descriptor::of("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": described,
        "subject": { "mediaType": subject.media_type, "digest": subject.digest, "size": subject.size },
        "annotations": {
            "overlaybd.start-profile.runs":
                RUNS.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string(),
        },
    });
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    registry.attach(&repository(scene), media_type, manifest.to_string().into()).await.unwrap();
}
