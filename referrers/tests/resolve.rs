//! The stages of a resolution, and what it says of each.

#[path = "support/clock.rs"]
mod clock;
#[path = "support/images.rs"]
mod images;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use referrers::{
    AcceptedType, Anonymous, Binding, DependencyRole, Descriptor, Digest, Error, ErrorKind, ImageSource,
    Kind, Listing, Manifest, Named, Outcome, Platform, Reference, Registry, Repository, Resolution,
    ResolveOptions, Resolver, Stage, TokioClock, artifact_type, fallback_tag, media_type,
};
use serde_json::json;
use tokio::sync::Notify;

use images::{Scene, amd64, config, index_referrer, native_layer, on, turbo_layer};
use registry::{image, index};
use server::Response;

async fn resolve_with(scene: &Scene, options: ResolveOptions) -> Resolution {
    let resolver = Resolver::new(scene.registry.client(), options);
    resolver.resolve(&scene.registry.tagged("t"), &amd64()).await.unwrap()
}

async fn resolve(scene: &Scene) -> Resolution {
    resolve_with(scene, ResolveOptions::default()).await
}

fn chosen(resolution: &Resolution) -> Option<&Digest> {
    resolution.accelerated.as_ref().map(|found| &found.descriptor.digest)
}

fn outcomes(resolution: &Resolution) -> Vec<(Stage, Outcome)> {
    resolution.decisions.iter().map(|decision| (decision.stage, decision.outcome)).collect()
}

#[tokio::test]
async fn an_image_without_acceleration_is_its_own_answer() {
    let scene = Scene::new().await;
    let resolution = resolve(&scene).await;
    assert!(resolution.accelerated.is_none() && resolution.dependencies.is_empty());
    assert_eq!(resolution.base.manifest.digest(), scene.base.digest());
    assert_eq!(resolution.base.config.runtime.cmd, ["sh"]);
    assert_eq!(
        outcomes(&resolution),
        [
            (Stage::Itself, Outcome::Absent),
            (Stage::Pinned, Outcome::Skipped),
            (Stage::InIndex, Outcome::Absent),
            (Stage::Referrer, Outcome::Absent),
            (Stage::TagSuffix, Outcome::Skipped),
            (Stage::Base, Outcome::Used),
        ]
    );
}

#[tokio::test]
async fn a_full_mode_referrer_is_used() {
    let scene = Scene::new().await;
    let digest = scene.put(&scene.native());
    let resolution = resolve(&scene).await;
    let found = resolution.accelerated.as_ref().unwrap();
    assert_eq!(found.descriptor.digest, digest);
    assert_eq!((found.kind, found.binding, found.stage), (Kind::Native, Binding::Subject, Stage::Referrer));
    assert_eq!(found.layers.len(), 2);
    assert_eq!(outcomes(&resolution).last(), Some(&(Stage::Referrer, Outcome::Used)));
    let roles: Vec<_> = resolution.dependencies.iter().map(|needed| needed.role).collect();
    let layer = DependencyRole::AcceleratedLayer;
    assert_eq!(roles, [DependencyRole::AcceleratedManifest, layer, layer]);
    // Base manifest, its configuration, the list, the referrer; its configuration is the base's.
    assert_eq!(scene.registry.server.requests().len(), 4);
}

#[tokio::test]
async fn an_index_only_referrer_depends_on_the_base_image() {
    let scene = Scene::new().await;
    scene.put(&scene.turbo());
    let resolution = resolve(&scene).await;
    assert_eq!(resolution.accelerated.as_ref().unwrap().kind, Kind::Turbo);
    let needed = |role| {
        resolution.dependencies.iter().filter(move |needed| needed.role == role).map(|needed| &needed.digest)
    };
    assert_eq!(needed(DependencyRole::BaseManifest).collect::<Vec<_>>(), [scene.base.digest()]);
    assert!(needed(DependencyRole::BaseLayer).eq(scene.layers.iter().map(|layer| &layer.digest)));
}

#[tokio::test]
async fn a_leading_base_layer_is_allowed_in_both_kinds() {
    for native in [true, false] {
        let scene = Scene::new().await;
        let mut layers = vec![native_layer("base")];
        let body = if native {
            layers.extend([native_layer("one"), native_layer("two")]);
            scene.referrer(&layers, artifact_type::OVERLAYBD_NATIVE)
        } else {
            layers.extend(scene.layers.iter().map(turbo_layer));
            scene.referrer(&layers, artifact_type::OVERLAYBD_TURBO)
        };
        let digest = scene.put(&body);
        let resolution = resolve(&scene).await;
        assert_eq!(chosen(&resolution), Some(&digest), "{:?}", resolution.decisions);
        assert_eq!(resolution.accelerated.unwrap().layers.len(), 3);
    }
}

#[tokio::test]
async fn a_layer_that_cannot_be_indexed_may_hold_its_data() {
    for indexed in [0, 1] {
        let scene = Scene::new().await;
        let mut layers = [native_layer("one"), native_layer("two")];
        layers[indexed] = turbo_layer(&scene.layers[indexed]);
        let digest = scene.put(&scene.referrer(&layers, artifact_type::OVERLAYBD_TURBO));
        let found = resolve(&scene).await.accelerated.unwrap();
        assert_eq!((&found.descriptor.digest, found.kind), (&digest, Kind::Turbo));
    }
}

#[tokio::test]
async fn artifact_streaming_is_understood() {
    let scene = Scene::new().await;
    let layers = [native_layer("one"), native_layer("two")];
    let mut body = scene.referrer(&layers, artifact_type::AZURE_STREAMING);
    body["annotations"] = json!({
        "streaming.format": "overlaybd", "streaming.platform.os": "linux", "streaming.platform.arch": "amd64",
    });
    let digest = scene.put(&body);
    assert_eq!(chosen(&resolve(&scene).await), Some(&digest));
}

#[tokio::test]
async fn the_callers_order_decides_between_kinds() {
    let scene = Scene::new().await;
    let (native, turbo) = (scene.put(&scene.native()), scene.put(&scene.turbo()));
    assert_eq!(chosen(&resolve(&scene).await), Some(&native));
    let turbo_first = vec![AcceptedType::new(artifact_type::OVERLAYBD_TURBO, Kind::Turbo)];
    let resolution = resolve_with(&scene, ResolveOptions::default().with_accepted(turbo_first)).await;
    assert_eq!(chosen(&resolution), Some(&turbo));
}

#[tokio::test]
async fn the_fallback_tag_serves_where_there_is_no_api() {
    let mut scene = Scene::new().await;
    scene.registry = scene.registry.without_api();
    let referrer = scene.registry.put(None, media_type::OCI_MANIFEST, &scene.native());
    let tag = fallback_tag(scene.base.digest());
    scene.registry.put(Some(&tag), media_type::OCI_INDEX, &index(&[referrer.listed_descriptor()]));
    assert_eq!(chosen(&resolve(&scene).await), Some(referrer.digest()));
}

#[tokio::test]
async fn the_reference_may_name_an_accelerated_image() {
    let scene = Scene::new().await;
    let layers = [native_layer("one"), native_layer("two")];
    let named = scene.registry.put(Some("t"), media_type::OCI_MANIFEST, &image(&scene.config, &layers));
    let resolution = resolve(&scene).await;
    let found = resolution.accelerated.as_ref().unwrap();
    assert_eq!((&found.descriptor.digest, found.binding), (named.digest(), Binding::Itself));
    assert_eq!(resolution.base.manifest.digest(), named.digest());
    assert_eq!(scene.registry.server.count("/referrers/"), 0);
}

/// The base image inside an index at the tag `t`, with another platform and an attestation.
fn put_index(scene: &Scene) -> Manifest {
    let other = Descriptor::of(media_type::OCI_MANIFEST, b"arm64");
    let mut attestation =
        on(Platform::new("unknown", "unknown"), Descriptor::of(media_type::OCI_MANIFEST, b"att"));
    attestation.annotations.insert("vnd.docker.reference.type".into(), "attestation-manifest".into());
    let entries =
        [attestation, on(Platform::new("linux", "arm64"), other), on(amd64(), scene.base.descriptor())];
    scene.registry.put(Some("t"), media_type::OCI_INDEX, &index(&entries))
}

#[tokio::test]
async fn the_platforms_manifest_is_asked_before_the_index() {
    let scene = Scene::new().await;
    let top = put_index(&scene);
    let digest = scene.put(&scene.native());
    let resolution = resolve(&scene).await;
    assert_eq!(chosen(&resolution), Some(&digest));
    assert_eq!(resolution.base.top.digest, *top.digest());
    assert_eq!(scene.registry.server.count("/referrers/"), 1);
}

#[tokio::test]
async fn a_converted_index_is_narrowed_to_the_platform() {
    for child_has_subject in [true, false] {
        let scene = Scene::new().await;
        let top = put_index(&scene);
        let mut body = scene.native();
        // Where the child's own subject cannot be found by listing, the index leads to it.
        if !child_has_subject {
            body.as_object_mut().unwrap().remove("subject");
        }
        let child = scene.registry.put(None, media_type::OCI_MANIFEST, &body);
        let listed = index_referrer(&top.descriptor(), &child, artifact_type::OVERLAYBD_NATIVE);
        scene.registry.put(None, media_type::OCI_INDEX, &listed);
        let asked = format!("/referrers/{}", scene.base.digest());
        scene.registry.fault(move |r| {
            r.path().ends_with(&asked).then(|| Response::ok(media_type::OCI_INDEX, index(&[]).to_string()))
        });
        let resolution = resolve(&scene).await;
        assert_eq!(chosen(&resolution), Some(child.digest()), "{:?}", resolution.decisions);
        let binding = if child_has_subject { Binding::Subject } else { Binding::ListedSubject };
        assert_eq!(resolution.accelerated.unwrap().binding, binding);
        assert_eq!(scene.registry.server.count("/referrers/"), 2);
    }
}

#[tokio::test]
async fn an_image_attached_to_the_index_must_be_for_the_platform() {
    for (architecture, fits) in [("amd64", true), ("arm64", false)] {
        let scene = Scene::new().await;
        let top = put_index(&scene);
        let mut body = scene.native();
        body["subject"] = json!(top.descriptor());
        body["config"] = json!(scene.put_config(&config(architecture, "2025-01-01T00:00:00Z", "sh")));
        let digest = scene.put(&body);
        let resolution = resolve(&scene).await;
        assert_eq!(chosen(&resolution), fits.then_some(&digest), "{:?}", resolution.decisions);
    }
}

#[tokio::test]
async fn nested_indexes_are_followed_four_levels_deep() {
    let scene = Scene::new().await;
    let mut entry = on(amd64(), scene.base.descriptor());
    for depth in 1..=5 {
        entry = scene.registry.put(Some("t"), media_type::OCI_INDEX, &index(&[entry])).descriptor();
        let resolver = Resolver::new(scene.registry.client(), ResolveOptions::default());
        let outcome = resolver.resolve(&scene.registry.tagged("t"), &amd64()).await;
        assert_eq!(outcome.is_ok(), depth <= 4, "{depth}");
    }
}

#[tokio::test]
async fn a_platform_that_is_not_there_is_named() {
    let scene = Scene::new().await;
    put_index(&scene);
    let resolver = Resolver::new(scene.registry.client(), ResolveOptions::default());
    let platform = Platform::new("linux", "riscv64");
    let error = resolver.resolve(&scene.registry.tagged("t"), &platform).await.unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("linux/riscv64"), "{error}");
}

#[tokio::test]
async fn suffixed_tags_are_asked_only_if_wanted() {
    let scene = Scene::new().await;
    let layers: Vec<_> = scene.layers.iter().map(turbo_layer).collect();
    let tagged =
        scene.registry.put(Some("t_accelerated"), media_type::OCI_MANIFEST, &image(&scene.config, &layers));
    assert_eq!(chosen(&resolve(&scene).await), None);
    let suffixes = ["_containerd_accelerated", "_accelerated"];
    let options = ResolveOptions::default().with_tag_suffixes(suffixes);
    let resolution = resolve_with(&scene, options.clone()).await;
    let found = resolution.accelerated.as_ref().unwrap();
    assert_eq!((&found.descriptor.digest, found.stage), (tagged.digest(), Stage::TagSuffix));
    assert_eq!(found.binding, Binding::TargetDigests);
    assert!(outcomes(&resolution).contains(&(Stage::TagSuffix, Outcome::Absent)));

    let by_digest = scene.registry.repository.with_digest(scene.base.digest().clone());
    let resolver = Resolver::new(scene.registry.client(), options);
    let resolution = resolver.resolve(&by_digest, &amd64()).await.unwrap();
    assert!(outcomes(&resolution).contains(&(Stage::TagSuffix, Outcome::Skipped)));
}

#[tokio::test]
async fn an_image_with_data_found_by_its_tag_is_used_only_if_allowed_and_fresh() {
    let base_created = "2025-01-01T00:00:00Z";
    let lowest: [fn(&Scene) -> Descriptor; 2] =
        [|_| native_layer("one"), |scene| turbo_layer(&scene.layers[0])];
    for (created, command, allowed, used) in [
        (base_created, "sh", false, false),
        (base_created, "sh", true, true),
        ("2024-12-31T00:00:00Z", "sh", true, false),
        (base_created, "other", true, false),
    ] {
        for lowest in lowest {
            let scene = Scene::new().await;
            let config = scene.put_config(&config("amd64", created, command));
            let layers = [lowest(&scene), native_layer("two")];
            scene.registry.put(Some("t_obd"), media_type::OCI_MANIFEST, &image(&config, &layers));
            let options = ResolveOptions::default().with_tag_suffixes(["_obd"]).with_unbound(allowed);
            let resolution = resolve_with(&scene, options).await;
            let binding = resolution.accelerated.as_ref().map(|found| found.binding);
            assert_eq!(binding, used.then_some(Binding::Unbound), "{created} {command} {allowed}");
        }
    }
}

#[tokio::test]
async fn a_suffixed_tag_with_another_subject_is_refused() {
    let scene = Scene::new().await;
    let mut body = scene.native();
    body["subject"]["digest"] = json!(Digest::sha256_of(b"earlier base"));
    scene.registry.put(Some("t_obd"), media_type::OCI_MANIFEST, &body);
    let options = ResolveOptions::default().with_tag_suffixes(["_obd"]).with_unbound(true);
    let resolution = resolve_with(&scene, options).await;
    assert_eq!(chosen(&resolution), None);
    assert!(outcomes(&resolution).contains(&(Stage::TagSuffix, Outcome::Rejected)));
}

#[tokio::test]
async fn the_runtime_configuration_is_the_base_images() {
    let scene = Scene::new().await;
    let mut body = scene.native();
    body["config"] = json!(scene.put_config(&config("amd64", "2025-01-01T00:00:00Z", "evil")));
    scene.put(&body);
    let resolution = resolve(&scene).await;
    assert!(resolution.accelerated.is_some());
    assert_eq!(resolution.base.config.runtime.cmd, ["sh"]);
    let reason = &resolution.decisions.last().unwrap().reason;
    assert!(reason.contains("configuration differs"), "{reason}");
}

#[tokio::test]
async fn a_registry_that_fails_in_a_stage_costs_only_the_acceleration() {
    for answer in [Response::new(403), Response::new(503), Response::ok(media_type::OCI_INDEX, "{")] {
        let scene = Scene::new().await;
        scene.put(&scene.native());
        scene.registry.fault(move |r| r.path().contains("/referrers/").then(|| answer.clone()));
        let resolution = resolve(&scene).await;
        assert_eq!(chosen(&resolution), None);
        assert!(outcomes(&resolution).contains(&(Stage::Referrer, Outcome::Failed)));
    }
}

#[tokio::test]
async fn the_stages_end_at_their_deadline() {
    let scene = Scene::new().await;
    scene.put(&scene.native());
    scene
        .registry
        .fault(|r| r.path().contains("/referrers/").then(|| Response::new(429).with("retry-after", "20")));
    let options = ResolveOptions::default().with_deadline(Duration::from_millis(200));
    let client = scene.registry.options().with_clock(Arc::new(TokioClock));
    let resolver = Resolver::new(scene.registry.client_with(client, Anonymous), options);
    let resolution = resolver.resolve(&scene.registry.tagged("t"), &amd64()).await.unwrap();
    assert_eq!(chosen(&resolution), None);
    let decision = resolution.decisions.iter().find(|d| d.stage == Stage::Referrer).unwrap();
    assert_eq!(decision.outcome, Outcome::Failed);
    assert!(decision.reason.contains("no answer within 200 ms"), "{}", decision.reason);
}

/// A registry whose configurations arrive ten seconds after its lists.
#[derive(Debug)]
struct LateConfigs {
    registry: Registry,
    listed: Notify,
}

#[async_trait]
impl ImageSource for LateConfigs {
    async fn named(&self, reference: &Reference) -> Result<Named, Error> {
        self.registry.named(reference).await
    }

    async fn manifest_of(&self, repository: &Repository, entry: &Descriptor) -> Result<Manifest, Error> {
        self.registry.manifest_of(repository, entry).await
    }

    async fn small_blob(&self, repository: &Repository, entry: &Descriptor) -> Result<Bytes, Error> {
        let bytes = self.registry.small_blob(repository, entry).await;
        self.listed.notified().await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(10)).await;
        tokio::time::resume();
        bytes
    }

    async fn referrers(&self, repository: &Repository, subject: &Digest) -> Result<Listing, Error> {
        let listing = self.registry.referrers(repository, subject, None).await;
        self.listed.notify_one();
        listing
    }
}

#[tokio::test]
async fn a_slow_base_image_is_not_held_against_the_stages() {
    let scene = Scene::new().await;
    let digest = scene.put(&scene.native());
    let source = LateConfigs { registry: scene.registry.client(), listed: Notify::new() };
    let resolver = Resolver::new(source, ResolveOptions::default());
    let resolution = resolver.resolve(&scene.registry.tagged("t"), &amd64()).await.unwrap();
    assert_eq!(chosen(&resolution), Some(&digest), "{}", resolution.explain());
}

#[tokio::test]
async fn without_a_base_image_there_is_no_answer() {
    let scene = Scene::new().await;
    let resolver = Resolver::new(scene.registry.client(), ResolveOptions::default());
    let error = resolver.resolve(&scene.registry.tagged("absent"), &amd64()).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NotFound { what: "manifest" });
}
