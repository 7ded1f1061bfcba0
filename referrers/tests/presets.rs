//! The presets, against images shaped as the vendor and the overlaybd project's converter make them.

#[path = "support/clock.rs"]
mod clock;
#[path = "support/images.rs"]
mod images;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use referrers::{
    Binding, Descriptor, Digest, Kind, Resolution, ResolveOptions, Resolver, Stage, artifact_type, media_type,
};
use serde_json::{Value, json};

use images::{Scene, amd64, native_layer, on, turbo_layer};
use registry::{image, index};

async fn resolve(scene: &Scene, tag: &str, options: ResolveOptions) -> Resolution {
    let resolver = Resolver::new(scene.registry.client(), options);
    resolver.resolve(&scene.registry.tagged(tag), &amd64()).await.unwrap()
}

/// The layers of a converted image, with or without the converter's own layer below them.
fn layers(scene: &Scene, kind: Kind, has_base_layer: bool) -> Vec<Descriptor> {
    let below = has_base_layer.then(|| native_layer("empty file system"));
    let converted: Vec<_> = match kind {
        Kind::Native => ["one", "two"].map(native_layer).into(),
        Kind::Turbo => scene.layers.iter().map(turbo_layer).collect(),
    };
    below.into_iter().chain(converted).collect()
}

/// The manifest in the Docker family, as the converter writes it unless told otherwise.
fn docker(mut body: Value) -> Value {
    body["mediaType"] = json!(media_type::DOCKER_MANIFEST);
    body["config"]["mediaType"] = json!(media_type::DOCKER_CONFIG);
    for layer in body["layers"].as_array_mut().unwrap() {
        let docker = match layer["mediaType"].as_str().unwrap() {
            media_type::OCI_LAYER => media_type::DOCKER_LAYER,
            _ => media_type::DOCKER_LAYER_GZIP,
        };
        layer["mediaType"] = json!(docker);
    }
    body
}

/// Every shape that a converted image comes in: kind, family, with or without the layer below.
async fn each_shape(check: impl AsyncFn(Scene, Kind, &'static str, Value)) {
    for kind in [Kind::Native, Kind::Turbo] {
        for has_base_layer in [false, true] {
            let scene = Scene::new().await;
            let body = image(&scene.config, &layers(&scene, kind, has_base_layer));
            check(scene, kind, media_type::OCI_MANIFEST, body.clone()).await;
            check(Scene::new().await, kind, media_type::DOCKER_MANIFEST, docker(body)).await;
        }
    }
}

fn is(resolution: &Resolution, digest: &Digest, stage: Stage) {
    let found = resolution.accelerated.as_ref().unwrap_or_else(|| panic!("{}", resolution.explain()));
    assert_eq!((&found.descriptor.digest, found.stage), (digest, stage), "{}", resolution.explain());
}

#[tokio::test]
async fn the_suffixed_tag_names_exactly_the_image_with_its_own_configuration() {
    each_shape(async |scene, kind, media_type, body| {
        let digest = scene.registry.put(Some("t_containerd_accelerated"), media_type, &body).digest().clone();
        let resolution = resolve(&scene, "t_containerd_accelerated", ResolveOptions::alibaba()).await;
        is(&resolution, &digest, Stage::Itself);
        assert_eq!(resolution.accelerated.unwrap().kind, kind);
        assert_eq!(resolution.base.manifest.digest(), &digest);
        assert_eq!(resolution.base.config.runtime.cmd, ["sh"]);
    })
    .await;
}

#[tokio::test]
async fn the_base_tag_leads_to_the_suffixed_one_which_is_told_by_its_content() {
    for suffix in ["_containerd_accelerated", "_accelerated"] {
        each_shape(async |scene, kind, media_type, body| {
            let tag = format!("t{suffix}");
            let digest = scene.registry.put(Some(&tag), media_type, &body).digest().clone();
            let resolution = resolve(&scene, "t", ResolveOptions::alibaba()).await;
            is(&resolution, &digest, Stage::TagSuffix);
            let found = resolution.accelerated.unwrap();
            let binding = if kind == Kind::Turbo { Binding::TargetDigests } else { Binding::Unbound };
            assert_eq!((found.kind, found.binding), (kind, binding));
            assert_eq!(resolution.base.manifest.digest(), scene.base.digest());
        })
        .await;
    }
}

#[tokio::test]
async fn a_referrer_comes_before_a_suffixed_tag() {
    let scene = Scene::new().await;
    let body = image(&scene.config, &layers(&scene, Kind::Native, false));
    scene.registry.put(Some("t_containerd_accelerated"), media_type::OCI_MANIFEST, &body);
    let referrer = scene.put(&scene.turbo());
    is(&resolve(&scene, "t", ResolveOptions::alibaba()).await, &referrer, Stage::Referrer);
}

#[tokio::test]
async fn the_converters_referrers_of_a_docker_image_are_found_at_both_levels() {
    for level in ["manifest", "index"] {
        let scene = Scene::new().await;
        let plain = docker(image(&scene.config, &scene.layers));
        let base = scene.registry.put(Some("t"), media_type::DOCKER_MANIFEST, &plain);
        let mut list = index(&[on(amd64(), base.descriptor())]);
        list["mediaType"] = json!(media_type::DOCKER_LIST);
        let list = scene.registry.put(Some("t"), media_type::DOCKER_LIST, &list);
        let mut child = image(&scene.config, &layers(&scene, Kind::Native, true));
        child["artifactType"] = json!(artifact_type::OVERLAYBD_NATIVE);
        child["subject"] = json!(base.descriptor());
        let child = scene.registry.put(None, media_type::OCI_MANIFEST, &child);
        if level == "index" {
            // Only the index is listed: the child's own listing is lost.
            let path = format!("/referrers/{}", base.digest());
            let empty = index(&[]).to_string();
            scene.registry.fault(move |r| {
                r.path().ends_with(&path).then(|| server::Response::ok(media_type::OCI_INDEX, &empty))
            });
            let mut converted = index(&[on(amd64(), child.descriptor())]);
            converted["artifactType"] = json!(artifact_type::OVERLAYBD_NATIVE);
            converted["subject"] = json!(list.descriptor());
            scene.registry.put(None, media_type::OCI_INDEX, &converted);
        }
        let resolution = resolve(&scene, "t", ResolveOptions::default()).await;
        is(&resolution, child.digest(), Stage::Referrer);
        assert_eq!(resolution.accelerated.unwrap().binding, Binding::Subject);
    }
}

#[tokio::test]
async fn the_upstream_preset_knows_the_converters_suffixes() {
    for suffix in ["_obd", "_overlaybd", "_turbo"] {
        let scene = Scene::new().await;
        let kind = if suffix == "_turbo" { Kind::Turbo } else { Kind::Native };
        let body = image(&scene.config, &layers(&scene, kind, true));
        let converted = scene.registry.put(Some(&format!("t{suffix}")), media_type::OCI_MANIFEST, &body);
        let neutral = resolve(&scene, "t", ResolveOptions::default()).await;
        assert!(neutral.accelerated.is_none(), "the neutral default looks at no tags");
        is(&resolve(&scene, "t", ResolveOptions::upstream()).await, converted.digest(), Stage::TagSuffix);
    }
}
