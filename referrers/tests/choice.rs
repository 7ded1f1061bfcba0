//! What decides beside the registry's lists: the mode, pins, earlier choices, the index, the verifier.

#[path = "support/clock.rs"]
mod clock;
#[path = "support/images.rs"]
mod images;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use std::sync::Arc;

use async_trait::async_trait;
use referrers::{
    Accelerated, AnnotationIs, Binding, Digest, Error, ErrorKind, Mode, Outcome, Pins, Resolution,
    ResolveOptions, ResolvedImage, Resolver, Stage, Sticky, Verdict, Verifier, artifact_type, media_type,
};
use serde_json::json;

use images::{Scene, amd64, index_referrer, native_layer, on};
use registry::{image, index};
use server::Response;

async fn resolve(scene: &Scene, options: ResolveOptions) -> Result<Resolution, Error> {
    let resolver = Resolver::new(scene.registry.client(), options);
    resolver.resolve(&scene.registry.tagged("t"), &amd64()).await
}

fn chosen(resolution: &Resolution) -> Option<&Digest> {
    resolution.accelerated.as_ref().map(|found| &found.descriptor.digest)
}

fn outcome(resolution: &Resolution, stage: Stage) -> Outcome {
    resolution.decisions.iter().rfind(|decision| decision.stage == stage).unwrap().outcome
}

/// A full-mode referrer that differs from others by its annotation.
fn put_native(scene: &Scene, note: &str) -> Digest {
    let mut body = scene.native();
    body["annotations"] = json!({ "note": note });
    scene.put(&body)
}

#[tokio::test]
async fn switched_off_nothing_is_looked_for() {
    let scene = Scene::new().await;
    put_native(&scene, "1");
    let resolution = resolve(&scene, ResolveOptions::default().with_mode(Mode::Off)).await.unwrap();
    assert_eq!((chosen(&resolution), outcome(&resolution, Stage::Base)), (None, Outcome::Used));
    assert_eq!(scene.registry.server.count("/referrers/"), 0);
}

#[tokio::test]
async fn observing_reports_and_uses_the_base_image() {
    let scene = Scene::new().await;
    let digest = put_native(&scene, "1");
    let resolution = resolve(&scene, ResolveOptions::default().with_mode(Mode::Observe)).await.unwrap();
    assert!(resolution.accelerated.is_none() && resolution.dependencies.is_empty());
    let observed = resolution.decisions.iter().find(|d| d.outcome == Outcome::Observed).unwrap();
    assert_eq!(observed.candidate.as_ref(), Some(&digest));
    assert_eq!(outcome(&resolution, Stage::Base), Outcome::Used);
}

#[tokio::test]
async fn an_accelerated_image_that_is_named_is_used_in_every_mode() {
    for mode in [Mode::Off, Mode::Observe, Mode::Prefer, Mode::Require] {
        let scene = Scene::new().await;
        let layers = [native_layer("one"), native_layer("two")];
        scene.registry.put(Some("t"), media_type::OCI_MANIFEST, &image(&scene.config, &layers));
        let resolution = resolve(&scene, ResolveOptions::default().with_mode(mode)).await.unwrap();
        assert_eq!(resolution.accelerated.unwrap().binding, Binding::Itself, "{mode:?}");
    }
}

#[tokio::test]
async fn requiring_an_accelerated_image_fails_without_one_and_says_why() {
    let options = || ResolveOptions::default().with_mode(Mode::Require);
    let scene = Scene::new().await;
    let error = resolve(&scene, options()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NoAcceleration { .. }) && !error.is_transient(), "{error}");
    assert!(error.to_string().contains("none of 0 referrers"), "{error}");

    put_native(&scene, "1");
    assert!(resolve(&scene, options()).await.unwrap().accelerated.is_some());

    scene.registry.fault(|r| r.path().contains("/referrers/").then(|| Response::new(503)));
    let error = resolve(&scene, options()).await.unwrap_err();
    assert!(error.is_transient(), "what may be there is worth another try: {error}");
}

#[tokio::test]
async fn a_pinned_image_is_used_and_no_other() {
    let scene = Scene::new().await;
    let layers = [native_layer("one"), native_layer("two")];
    let unbound = scene.put(&image(&scene.config, &layers));
    put_native(&scene, "1");
    let pins = |to: &Digest| Pins::default().with(scene.base.digest().clone(), to.clone());
    let resolution = resolve(&scene, ResolveOptions::default().with_pins(pins(&unbound))).await.unwrap();
    let found = resolution.accelerated.as_ref().unwrap();
    assert_eq!((&found.descriptor.digest, found.binding), (&unbound, Binding::Pinned));
    assert_eq!(scene.registry.server.count("/referrers/"), 0);

    let absent = Digest::sha256_of(b"absent");
    let resolution = resolve(&scene, ResolveOptions::default().with_pins(pins(&absent))).await.unwrap();
    assert_eq!((chosen(&resolution), outcome(&resolution, Stage::Pinned)), (None, Outcome::Rejected));
    assert_eq!(scene.registry.server.count("/referrers/"), 0);
}

#[tokio::test]
async fn a_pinned_image_of_another_base_image_is_refused() {
    let scene = Scene::new().await;
    let mut body = scene.native();
    body["subject"]["digest"] = json!(Digest::sha256_of(b"other"));
    let pins = Pins::default().with(scene.base.digest().clone(), scene.put(&body));
    let resolution = resolve(&scene, ResolveOptions::default().with_pins(pins)).await.unwrap();
    assert_eq!((chosen(&resolution), outcome(&resolution, Stage::Pinned)), (None, Outcome::Rejected));
}

#[tokio::test]
async fn an_index_may_be_pinned_to_an_index() {
    let scene = Scene::new().await;
    let top = index(&[on(amd64(), scene.base.descriptor())]);
    let top = scene.registry.put(Some("t"), media_type::OCI_INDEX, &top);
    let child = scene.registry.put(None, media_type::OCI_MANIFEST, &scene.native());
    let body = index_referrer(&top.descriptor(), &child, artifact_type::OVERLAYBD_NATIVE);
    let converted = scene.registry.put(None, media_type::OCI_INDEX, &body);
    let pins = Pins::default().with(top.digest().clone(), converted.digest().clone());
    let found =
        resolve(&scene, ResolveOptions::default().with_pins(pins)).await.unwrap().accelerated.unwrap();
    assert_eq!((&found.descriptor.digest, &found.top.digest), (child.digest(), converted.digest()));
    assert_eq!((found.binding, found.stage), (Binding::Subject, Stage::Pinned));
}

#[tokio::test]
async fn an_earlier_choice_is_kept_until_it_disappears() {
    let scene = Scene::new().await;
    let sticky = Arc::new(Sticky::in_memory());
    let options = || ResolveOptions::default().with_sticky(Arc::clone(&sticky));
    let first = put_native(&scene, "old");
    assert_eq!(chosen(&resolve(&scene, options()).await.unwrap()), Some(&first));

    let mut newer = scene.native();
    newer["annotations"] = json!({ "org.opencontainers.image.created": "2025-06-01T00:00:00Z" });
    let newer = scene.put(&newer);
    assert_eq!(chosen(&resolve(&scene, ResolveOptions::default()).await.unwrap()), Some(&newer));
    let kept = resolve(&scene, options()).await.unwrap();
    assert_eq!((chosen(&kept), outcome(&kept, Stage::Pinned)), (Some(&first), Outcome::Used));

    scene.registry.contents.lock().unwrap().manifests.remove(first.as_str());
    let moved = resolve(&scene, options()).await.unwrap();
    assert_eq!((chosen(&moved), outcome(&moved, Stage::Pinned)), (Some(&newer), Outcome::Rejected));
    assert_eq!(sticky.kept(&scene.registry.repository, scene.base.digest()), Some(newer));
}

#[tokio::test]
async fn an_earlier_choice_is_not_given_up_for_a_failure_that_passes() {
    let scene = Scene::new().await;
    let sticky = Arc::new(Sticky::in_memory());
    let options = || ResolveOptions::default().with_sticky(Arc::clone(&sticky));
    let first = put_native(&scene, "old");
    resolve(&scene, options()).await.unwrap();
    put_native(&scene, "other");
    let path = format!("/manifests/{first}");
    scene.registry.fault(move |r| r.path().ends_with(&path).then(|| Response::new(503)));
    let resolution = resolve(&scene, options()).await.unwrap();
    assert_eq!((chosen(&resolution), outcome(&resolution, Stage::Pinned)), (None, Outcome::Failed));
    assert_eq!(sticky.kept(&scene.registry.repository, scene.base.digest()), Some(first));
}

#[tokio::test]
async fn who_observes_forgets_no_earlier_choice() {
    let scene = Scene::new().await;
    let sticky = Arc::new(Sticky::in_memory());
    let options = || ResolveOptions::default().with_sticky(Arc::clone(&sticky));
    let first = put_native(&scene, "old");
    resolve(&scene, options()).await.unwrap();
    scene.registry.contents.lock().unwrap().manifests.remove(first.as_str());
    resolve(&scene, options().with_mode(Mode::Observe)).await.unwrap();
    assert_eq!(sticky.kept(&scene.registry.repository, scene.base.digest()), Some(first));
}

#[tokio::test]
async fn siblings_that_are_not_read_are_written_down() {
    let scene = Scene::new().await;
    let sibling = |note: usize| {
        // Of another base image: each is refused, and the next is tried.
        let mut body = image(&scene.config, &[native_layer("one")]);
        body["annotations"] = json!({ "note": note.to_string() });
        let mut entry = on(amd64(), scene.registry.put(None, media_type::OCI_MANIFEST, &body).descriptor());
        entry.artifact_type = Some(artifact_type::OVERLAYBD_NATIVE.into());
        entry
    };
    let mut entries: Vec<_> = (0..9).map(sibling).collect();
    entries.push(on(amd64(), scene.base.descriptor()));
    scene.registry.put(Some("t"), media_type::OCI_INDEX, &index(&entries));
    let resolution = resolve(&scene, ResolveOptions::default()).await.unwrap();
    let outcomes: Vec<_> =
        resolution.decisions.iter().filter(|d| d.stage == Stage::InIndex).map(|d| d.outcome).collect();
    assert_eq!(outcomes, [[Outcome::Rejected; 8].as_slice(), &[Outcome::Skipped]].concat());
}

#[tokio::test]
async fn an_image_beside_the_base_image_in_its_index_comes_first() {
    let scene = Scene::new().await;
    let layers = [native_layer("one"), native_layer("two")];
    let sibling = scene.registry.put(None, media_type::OCI_MANIFEST, &image(&scene.config, &layers));
    let mut entry = on(amd64(), sibling.descriptor());
    entry.artifact_type = Some(artifact_type::OVERLAYBD_NATIVE.into());
    let top = index(&[entry, on(amd64(), scene.base.descriptor())]);
    scene.registry.put(Some("t"), media_type::OCI_INDEX, &top);
    put_native(&scene, "referrer");
    let resolution = resolve(&scene, ResolveOptions::default()).await.unwrap();
    assert_eq!(resolution.base.manifest.digest(), scene.base.digest());
    let found = resolution.accelerated.as_ref().unwrap();
    assert_eq!((&found.descriptor.digest, found.binding), (sibling.digest(), Binding::InIndex));
    assert_eq!(scene.registry.server.count("/referrers/"), 0);
}

#[tokio::test]
async fn a_sibling_that_fails_a_check_leaves_the_place_to_a_referrer() {
    let scene = Scene::new().await;
    let mut body = image(&scene.config, &[native_layer("one"), native_layer("two")]);
    let other = Digest::sha256_of(b"x");
    body["subject"] = json!({ "mediaType": media_type::OCI_MANIFEST, "digest": other, "size": 1 });
    let sibling = scene.registry.put(None, media_type::OCI_MANIFEST, &body);
    let mut entry = on(amd64(), sibling.descriptor());
    entry.artifact_type = Some(artifact_type::OVERLAYBD_NATIVE.into());
    let top = index(&[entry, on(amd64(), scene.base.descriptor())]);
    scene.registry.put(Some("t"), media_type::OCI_INDEX, &top);
    let referrer = put_native(&scene, "referrer");
    let resolution = resolve(&scene, ResolveOptions::default()).await.unwrap();
    assert_eq!(
        (chosen(&resolution), outcome(&resolution, Stage::InIndex)),
        (Some(&referrer), Outcome::Rejected)
    );
}

/// Cannot judge.
#[derive(Debug)]
struct Unreachable;

#[async_trait]
impl Verifier for Unreachable {
    async fn verify(&self, _base: &ResolvedImage, _candidate: &Accelerated) -> Result<Verdict, Error> {
        Err("no digest".parse::<Digest>().unwrap_err())
    }
}

#[tokio::test]
async fn the_verifier_has_the_last_word() {
    let scene = Scene::new().await;
    let [_, wanted] = ["a", "b"].map(|note| put_native(&scene, note));
    let verifier = Arc::new(AnnotationIs::new("note", "b"));
    let resolution = resolve(&scene, ResolveOptions::default().with_verifier(verifier)).await.unwrap();
    assert_eq!(chosen(&resolution), Some(&wanted));

    let none = Arc::new(AnnotationIs::new("note", "c"));
    let resolution = resolve(&scene, ResolveOptions::default().with_verifier(none)).await.unwrap();
    assert_eq!((chosen(&resolution), outcome(&resolution, Stage::Referrer)), (None, Outcome::Rejected));

    let options = ResolveOptions::default().with_verifier(Arc::new(Unreachable));
    let resolution = resolve(&scene, options).await.unwrap();
    assert_eq!((chosen(&resolution), outcome(&resolution, Stage::Referrer)), (None, Outcome::Failed));
}

#[tokio::test]
async fn an_explanation_names_image_binding_and_every_stage() {
    let scene = Scene::new().await;
    let digest = put_native(&scene, "1");
    let text = resolve(&scene, ResolveOptions::default()).await.unwrap().explain().to_string();
    for part in [
        &*format!("{} for linux/amd64", scene.registry.tagged("t")),
        &format!("accelerated image {digest} (full mode)"),
        "tied to it by its subject",
        "- itself: absent",
        "- pinned: skipped",
        "- in the index: absent",
        "- referrer: used",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}
