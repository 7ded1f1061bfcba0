//! Candidates that must not be used: one row for each check, each with the reason that is given.

#[path = "support/clock.rs"]
mod clock;
#[path = "support/images.rs"]
mod images;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use referrers::{
    Descriptor, Digest, Manifest, Outcome, Resolution, ResolveOptions, Resolver, artifact_type, media_type,
};
use serde_json::{Value, json};

use images::{Scene, amd64, config, native_layer, plain_layer, turbo_layer};
use registry::index;
use server::Response;

async fn resolve(scene: &Scene) -> Resolution {
    let resolver = Resolver::new(scene.registry.client(), ResolveOptions::default());
    resolver.resolve(&scene.registry.tagged("t"), &amd64()).await.unwrap()
}

/// The registry claims that `entries` refer to the base image.
fn claim(scene: &Scene, entries: &[Descriptor]) {
    let body = index(entries).to_string();
    scene
        .registry
        .fault(move |r| r.path().contains("/referrers/").then(|| Response::ok(media_type::OCI_INDEX, &body)));
}

/// Lists the manifest `body` as a native referrer; it must be rejected because of `why`.
async fn rejected(scene: &Scene, body: &Value, listed_as: &str, why: &str) {
    let manifest = scene.registry.put(None, media_type::OCI_MANIFEST, body);
    let mut entry = manifest.listed_descriptor();
    entry.artifact_type = Some(listed_as.to_owned());
    claim(scene, &[entry]);
    expect_rejection(scene, manifest.digest(), why).await;
}

async fn expect_rejection(scene: &Scene, candidate: &Digest, why: &str) {
    let resolution = resolve(scene).await;
    assert!(resolution.accelerated.is_none(), "{why}");
    let decision = resolution.decisions.iter().find(|d| d.candidate.as_ref() == Some(candidate));
    let decision = decision.unwrap_or_else(|| panic!("{why}: {:?}", resolution.decisions));
    assert_eq!(decision.outcome, Outcome::Rejected, "{decision}");
    assert!(decision.reason.contains(why), "{decision}");
}

const NATIVE: &str = artifact_type::OVERLAYBD_NATIVE;
const TURBO: &str = artifact_type::OVERLAYBD_TURBO;

#[tokio::test]
async fn another_subject_or_none() {
    let scene = Scene::new().await;
    let mut body = scene.native();
    body["subject"]["digest"] = json!(Digest::sha256_of(b"other"));
    rejected(&scene, &body, NATIVE, "its subject is sha256:").await;

    for (field, value) in [("size", json!(1)), ("mediaType", json!(media_type::DOCKER_MANIFEST))] {
        let scene = Scene::new().await;
        let mut body = scene.native();
        body["subject"][field] = value;
        rejected(&scene, &body, NATIVE, "size or media type of its subject").await;
    }

    let scene = Scene::new().await;
    let mut body = scene.native();
    body.as_object_mut().unwrap().remove("subject");
    rejected(&scene, &body, NATIVE, "no subject").await;
}

#[tokio::test]
async fn another_artifact_type_than_the_listed_one() {
    let scene = Scene::new().await;
    let mut body = scene.native();
    body["artifactType"] = json!("application/vnd.example");
    rejected(&scene, &body, NATIVE, "its artifact type is application/vnd.example").await;
}

#[tokio::test]
async fn the_base_image_itself() {
    let scene = Scene::new().await;
    let mut entry = scene.base.descriptor();
    entry.artifact_type = Some(NATIVE.into());
    claim(&scene, &[entry]);
    expect_rejection(&scene, scene.base.digest(), "the base image itself").await;
}

#[tokio::test]
async fn bytes_size_or_type_other_than_listed() {
    let wrong_size: fn(&mut Descriptor) = |entry| entry.size += 1;
    let wrong_type: fn(&mut Descriptor) = |entry| entry.media_type = media_type::OCI_INDEX.into();
    for (change, why) in [(wrong_size, "size is"), (wrong_type, "media type is")] {
        let scene = Scene::new().await;
        let manifest = scene.registry.put(None, media_type::OCI_MANIFEST, &scene.native());
        let mut entry = manifest.listed_descriptor();
        change(&mut entry);
        claim(&scene, &[entry]);
        expect_rejection(&scene, manifest.digest(), why).await;
    }
    let scene = Scene::new().await;
    let manifest = scene.registry.put(None, media_type::OCI_MANIFEST, &scene.native());
    claim(&scene, &[manifest.listed_descriptor()]);
    let (path, other) = (format!("/manifests/{}", manifest.digest()), scene.turbo().to_string());
    scene
        .registry
        .fault(move |r| r.path().ends_with(&path).then(|| Response::ok(media_type::OCI_MANIFEST, &other)));
    expect_rejection(&scene, manifest.digest(), "digest is").await;
}

#[tokio::test]
async fn a_listed_manifest_that_is_gone() {
    let scene = Scene::new().await;
    let mut entry = Descriptor::of(media_type::OCI_MANIFEST, b"gone");
    entry.artifact_type = Some(NATIVE.into());
    let digest = entry.digest.clone();
    claim(&scene, &[entry]);
    expect_rejection(&scene, &digest, "manifest not found").await;
}

#[tokio::test]
async fn layers_that_do_not_make_an_accelerated_image_of_the_base() {
    let scene = Scene::new().await;
    let turbo: Vec<_> = scene.layers.iter().map(turbo_layer).collect();
    let swapped: Vec<_> = turbo.iter().rev().cloned().collect();
    let foreign = [turbo[0].clone(), turbo_layer(&plain_layer("foreign"))];
    let (one, two, three) = (native_layer("one"), native_layer("two"), native_layer("three"));
    let four = [one.clone(), two.clone(), three.clone(), native_layer("four")];
    let many: Vec<_> = (0..513).map(|n| native_layer(&n.to_string())).collect();
    let mut huge = native_layer("huge");
    huge.size = u64::MAX;
    huge.annotations.insert("containerd.io/snapshot/overlaybd/blob-size".into(), u64::MAX.to_string());
    for (listed_as, layers, why) in [
        (TURBO, swapped, "do not index the base image's layers in order"),
        (TURBO, foreign.to_vec(), "do not index the base image's layers in order"),
        (TURBO, turbo[..1].to_vec(), "it has 1 layers for 2"),
        (TURBO, vec![two.clone(), turbo[0].clone()], "do not index the base image's layers in order"),
        (TURBO, vec![one.clone(), two.clone()], "layers are of the Native kind"),
        (NATIVE, turbo, "layers are of the Turbo kind"),
        (NATIVE, vec![one.clone()], "it has 1 layers for 2"),
        (NATIVE, four.to_vec(), "it has 4 layers for 2"),
        (NATIVE, vec![], "its layers are plain ones"),
        (NATIVE, scene.layers.clone(), "its layers are plain ones"),
        (NATIVE, vec![one.clone(), plain_layer("two")], "a plain layer in an accelerated image"),
        (NATIVE, many, "more than 512 layers"),
        (NATIVE, vec![one, huge], "larger than 16 TiB"),
    ] {
        let scene = Scene::new().await;
        rejected(&scene, &scene.referrer(&layers, listed_as), listed_as, why).await;
    }
}

#[tokio::test]
async fn another_platform_or_none() {
    let scene = Scene::new().await;
    let mut body = scene.native();
    body["config"] = json!(scene.put_config(&config("arm64", "2025-01-01T00:00:00Z", "sh")));
    rejected(&scene, &body, NATIVE, "it is for linux/arm64, the base image for linux/amd64").await;

    let scene = Scene::new().await;
    let mut body = scene.native();
    body["config"] = json!(Descriptor::of("application/vnd.oci.empty.v1+json", b"{}"));
    rejected(&scene, &body, NATIVE, "does not say what platform").await;
}

#[tokio::test]
async fn an_index_whose_image_belongs_elsewhere() {
    let child_of = |scene: &Scene, change: fn(&mut Value)| -> Manifest {
        let mut body = scene.native();
        change(&mut body);
        scene.registry.put(None, media_type::OCI_MANIFEST, &body)
    };
    let other_subject: fn(&mut Value) = |body| body["subject"]["digest"] = json!(Digest::sha256_of(b"other"));
    let other_type: fn(&mut Value) = |body| body["artifactType"] = json!(TURBO);
    for (change, why) in
        [(other_subject, "its subject is"), (other_type, "its image is of another artifact type")]
    {
        let scene = Scene::new().await;
        let child = child_of(&scene, change);
        let body = images::index_referrer(&scene.base.descriptor(), &child, NATIVE);
        let listed = scene.registry.put(None, media_type::OCI_INDEX, &body);
        claim(&scene, &[listed.listed_descriptor()]);
        expect_rejection(&scene, listed.digest(), why).await;
    }
    // An index that leads back to the base image.
    let scene = Scene::new().await;
    let body = images::index_referrer(&scene.base.descriptor(), &scene.base, NATIVE);
    let listed = scene.registry.put(None, media_type::OCI_INDEX, &body);
    claim(&scene, &[listed.listed_descriptor()]);
    expect_rejection(&scene, listed.digest(), "the base image itself").await;
}

#[tokio::test]
async fn the_next_candidate_is_tried_up_to_a_limit() {
    let scene = Scene::new().await;
    let mut entries: Vec<_> = (0..8)
        .map(|n| {
            let mut body = scene.native();
            body["subject"]["size"] = json!(n);
            body["annotations"] = json!({ "org.opencontainers.image.created": "2025-06-01T00:00:00Z" });
            scene.registry.put(None, media_type::OCI_MANIFEST, &body).listed_descriptor()
        })
        .collect();
    let good = scene.registry.put(None, media_type::OCI_MANIFEST, &scene.native());
    entries.push(good.listed_descriptor());
    claim(&scene, &entries[1..]);
    let resolution = resolve(&scene).await;
    assert_eq!(resolution.accelerated.unwrap().descriptor.digest, *good.digest());

    let scene = Scene { registry: scene.registry, ..Scene::new().await };
    scene.registry.contents.lock().unwrap().faults.clear();
    claim(&scene, &entries);
    let resolution = resolve(&scene).await;
    assert!(resolution.accelerated.is_none());
    let rejected = resolution.decisions.iter().filter(|d| d.outcome == Outcome::Rejected).count();
    assert_eq!(rejected, 8);
    assert!(
        resolution
            .decisions
            .iter()
            .any(|d| d.candidate.as_ref() == Some(good.digest()) && d.outcome == Outcome::Skipped)
    );
}
