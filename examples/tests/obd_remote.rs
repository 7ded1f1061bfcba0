//! The toolbox on images in a registry, which is `obd registry` in a process of its own: what is resolved,
//! pulled and read lazily is one and the same device.

#[path = "support/help.rs"]
mod help;
#[path = "support/images.rs"]
mod images;
#[path = "support/obd.rs"]
mod obd;
#[path = "support/trees.rs"]
mod trees;

use std::sync::Arc;

use help::assert_documented;
use images::Images;
use obd::{Obd, RegistryProcess, assert_names};
use referrers::Descriptor;
use serde_json::{Value, json};

/// A directory, and a registry that has both images as `demo/app:1`.
struct Scene {
    obd: Obd,
    registry: RegistryProcess,
    images: Arc<Images>,
}

fn scene(switches: &str) -> Scene {
    let images = Images::shared();
    let registry = RegistryProcess::start(images.content(), switches);
    Scene { obd: Obd::new(), registry, images }
}

impl Scene {
    /// A configuration whose layers are all in the registry.
    fn remote_config(&self) -> Value {
        let lower = |layer: &Descriptor| json!({ "digest": layer.digest.as_str(), "size": layer.size });
        json!({
            "repoBlobUrl": format!("http://{}/v2/demo/app/blobs", self.registry.address()),
            "lowers": self.images.layers().iter().map(lower).collect::<Vec<_>>(),
            "resultFile": "",
        })
    }
}

#[test]
fn every_way_to_the_device_gives_the_same_bytes() {
    let scene = scene("");
    let config = scene.remote_config();
    let Scene { obd, registry, images } = scene;
    let reference = format!("{}/demo/app:1", registry.address());
    let [lower, upper] = images.layers() else { panic!("two layers were made") };
    let image_bytes = lower.size + upper.size;

    let pulled = obd.said(&format!("pull {reference} pulled --plain-http"));
    assert_eq!(pulled, json!({ "config": "pulled/config.v1.json", "layers": 2, "bytes": image_bytes }));
    let text = obd.text(&format!("pull {reference} pulled --plain-http"));
    assert_names(&text, &["config: pulled/config.v1.json\n", "layers: 2\n"]);
    obd.said("cat pulled/config.v1.json -o local --length 16777216");
    let checked = obd.said("verify pulled/config.v1.json");
    assert_eq!((&checked["digests"], &checked["requests"]), (&json!(2), &json!(0)));

    obd.write("remote.json", config.to_string());
    // The lower one from a directory of a snapshot, as the downloads of a runtime leave it.
    std::fs::create_dir(obd.path("snapshot")).unwrap();
    let blob = format!("pulled/{}.obd", lower.digest.as_str().replace(':', "-"));
    std::fs::copy(obd.path(&blob), obd.path("snapshot/overlaybd.commit")).unwrap();
    let mut mixed = config;
    mixed["lowers"][0]["dir"] = json!("snapshot");
    obd.write("mixed.json", mixed.to_string());

    let whole = obd.said("cat remote.json -o remote --length 16777216");
    let fetched = whole["fetched_bytes"].as_u64().unwrap();
    assert!(0 < fetched && fetched <= image_bytes, "{whole}");
    let part = obd.said("cat mixed.json -o mixed --length 16777216");
    assert!(part["fetched_bytes"].as_u64().unwrap() <= upper.size, "{part}");
    obd.said(&format!("cat {reference} -o by-name --length 16777216 --plain-http"));
    for name in ["remote", "mixed", "by-name"] {
        assert_eq!(obd.sha256(name), obd.sha256("local"), "{name}");
    }

    for input in ["remote.json", &format!("{reference} --plain-http")] {
        let info = obd.said(&format!("info {input}"));
        assert!(info["fetched_bytes"].as_u64().unwrap() < image_bytes / 2, "{info}");
        assert_eq!(info["layer"][1]["name"], json!(upper.digest.as_str()));
        let verified = obd.said(&format!("verify {input}"));
        assert_eq!((&verified["digests"], &verified["fetched_bytes"]), (&json!(2), &json!(image_bytes)));
        for workload in ["--random-4k", "--open"] {
            let bench = obd.said(&format!("bench {input} {workload} --threads 2 --seconds 0.1"));
            assert!(bench["ops_per_s"].as_f64().unwrap() > 0.0);
        }
    }
    assert_documented("pull", &[pulled]);
    let ended = registry.interrupt();
    assert!(ended["requests"].as_u64().unwrap() > 20, "{ended}");
    assert_documented("registry", &[ended]);
}

#[test]
fn a_cache_directory_serves_the_next_run() {
    let scene = scene("");
    let Scene { obd, registry, .. } = &scene;
    let input = format!("{}/demo/app:1 --plain-http --cache cache", registry.address());
    // The last thing that an opening fetches is the last that is kept, when the work is done already.
    for verb in ["info", "verify"] {
        let first = obd.said(&format!("{verb} {input}"));
        assert!(first["fetched_bytes"].as_u64().unwrap() > 50_000, "{first}");
        let second = obd.said(&format!("{verb} {input}"));
        assert_eq!((&second["requests"], &second["fetched_bytes"]), (&json!(0), &json!(0)), "{verb}");
    }
}

#[test]
fn a_resolution_tells_what_became_of_each_stage() {
    let Scene { obd, registry, images } = scene("");
    let host = registry.address();
    let found = obd.said(&format!("resolve {host}/demo/app:1 --plain-http"));
    assert_eq!(found["base"], json!(images.base().digest.as_str()));
    let accelerated = &found["accelerated"];
    assert_eq!((&accelerated["kind"], &accelerated["stage"]), (&json!("Native"), &json!("Referrer")));
    assert_eq!(
        (&accelerated["binding"], accelerated["layers"].as_array().unwrap().len()),
        (&json!("Subject"), 2)
    );
    let outcomes = |said: &Value| -> Vec<(String, String)> {
        let text = |decision: &Value, key| decision[key].as_str().unwrap().to_owned();
        let decisions = said["decisions"].as_array().unwrap().iter();
        decisions.map(|decision| (text(decision, "stage"), text(decision, "outcome"))).collect()
    };
    let pair = |stage: &str, outcome: &str| (stage.to_owned(), outcome.to_owned());
    assert_eq!(outcomes(&found)[0], pair("Itself", "Absent"));
    assert!(outcomes(&found).contains(&pair("Referrer", "Used")), "{found}");
    assert_documented("resolve", std::slice::from_ref(&found));

    let digest = accelerated["digest"].as_str().unwrap();
    let itself = obd.said(&format!("resolve {host}/demo/app@{digest} --plain-http"));
    assert_eq!(itself["accelerated"]["stage"], json!("Itself"));
    let text = obd.text(&format!("resolve {host}/demo/app@{digest} --plain-http"));
    assert_names(&text, &["accelerated:\n", "  stage: Itself\n", "decisions 0:\n", "  outcome: Used\n"]);

    assert_names(
        &obd.refused(&format!("resolve {host}/demo/app:2 --plain-http")),
        &["demo/app", "not found"],
    );
}

#[test]
fn an_image_without_an_accelerated_form_is_no_error_to_resolve_but_one_to_read() {
    for (switches, outcome) in [
        ("--no-referrers", "Absent"),
        ("--referrers-error NAME_UNKNOWN", "Absent"),
        ("--html --on /referrers/", "Absent"),
        ("--status 403 --on /referrers/", "Failed"),
    ] {
        let scene = scene(switches);
        let Scene { obd, registry, .. } = &scene;
        let reference = format!("{}/demo/app:1 --plain-http", registry.address());
        let said = obd.said(&format!("resolve {reference}"));
        assert_eq!(said["accelerated"], Value::Null);
        let decisions = said["decisions"].as_array().unwrap();
        let referrer = decisions.iter().find(|decision| decision["stage"] == json!("Referrer")).unwrap();
        assert_eq!(referrer["outcome"], json!(outcome), "{switches}: {said}");
        assert_eq!(decisions.last().unwrap()["stage"], json!("Base"));
        for verb in [format!("info {reference}"), format!("pull {reference} pulled")] {
            let referrer = format!("referrer: {}", outcome.to_lowercase());
            assert_names(&obd.refused(&verb), &["no accelerated image for", &referrer]);
        }
        assert!(!obd.names().contains(&"pulled".to_owned()));
    }
}

#[test]
fn a_pull_goes_on_where_the_connection_was_cut() {
    let scene = scene("--cut-at 30000 --times 2 --on /blobs/");
    let Scene { obd, registry, .. } = &scene;
    let said = obd.said(&format!("pull {}/demo/app:1 pulled --plain-http", registry.address()));
    assert_eq!(said["layers"], json!(2));
    assert_eq!(obd.said("verify pulled/config.v1.json")["digests"], json!(2));
}

#[test]
fn a_pull_of_other_bytes_leaves_no_layer() {
    let images = Images::shared();
    let [lower, upper] = images.layers() else { panic!("two layers were made") };
    let scene = scene(&format!("--flip-at 3000 --on {}", upper.digest.hex()));
    let Scene { obd, registry, .. } = &scene;
    let error = obd.refused(&format!("pull {}/demo/app:1 pulled --plain-http", registry.address()));
    assert_names(&error, &[upper.digest.as_str(), "the bytes have the digest sha256:"]);
    let left: Vec<_> =
        std::fs::read_dir(obd.path("pulled")).unwrap().map(|e| e.unwrap().file_name()).collect();
    let whole = lower.digest.as_str().replace(':', "-");
    assert_eq!(left, [format!("{whole}.obd").as_str()]);
}

#[test]
fn credentials_are_shown_where_they_are_wanted() {
    let scene = scene("--account user:secret");
    let config = scene.remote_config();
    let Scene { obd, registry, .. } = &scene;
    let reference = format!("{}/demo/app:1 --plain-http", registry.address());
    assert_names(&obd.refused(&format!("info {reference}")), &[registry.address(), "no credential"]);
    let wrong = obd.refused(&format!("info {reference} --username user --password hunter2"));
    assert_names(&wrong, &[registry.address(), "access denied"]);
    assert!(!wrong.contains("hunter2"), "{wrong}");
    obd.said(&format!("info {reference} --username user --password secret"));

    obd.write("remote.json", config.to_string());
    assert_names(&obd.refused("info remote.json"), &["remote.json", registry.address(), "no credential"]);
    obd.said("info remote.json --username user --password secret");

    // From the docker configuration: `user:secret` in base64.
    std::fs::create_dir(obd.path("no-docker")).unwrap();
    let auth = json!({ "auths": { registry.address(): { "auth": "dXNlcjpzZWNyZXQ=" } } });
    obd.write("no-docker/config.json", auth.to_string());
    obd.said(&format!("verify {reference}"));
    obd.said("verify remote.json");
}

#[test]
fn a_token_server_that_sends_elsewhere_gets_no_credentials_there() {
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let url = format!("http://{}/token", elsewhere.local_addr().unwrap());
    let scene = scene(&format!("--account user:secret --redirect-realm {url}"));
    let Scene { obd, registry, .. } = &scene;
    let error = obd.refused(&format!(
        "info {}/demo/app:1 --plain-http --username user --password secret",
        registry.address()
    ));
    assert_names(&error, &[registry.address(), "redirect"]);
    assert!(elsewhere.accept().is_err(), "somebody came");
}

#[test]
fn documents_that_are_not_what_was_asked_for_or_never_come() {
    for (switches, timeout, parts) in [
        ("--html --on /manifests/", 30.0, ["/v2/demo/app/manifests/1", "media type"]),
        ("--stall-at 10 --on /manifests/", 0.2, ["/v2/demo/app/manifests/1", "no answer within 200 ms"]),
        ("--account user:secret --html --on /token", 30.0, ["/token", "broken token"]),
        (
            "--account user:secret --stall-at 0 --on /token",
            0.2,
            ["/v2/demo/app/manifests/1", "no answer within 200 ms"],
        ),
    ] {
        let scene = scene(switches);
        let Scene { obd, registry, .. } = &scene;
        let reference = format!("{}/demo/app:1 --plain-http --timeout {timeout}", registry.address());
        for verb in ["resolve", "info"] {
            let error = obd.refused(&format!("{verb} {reference} --username user --password secret"));
            assert_names(&error, &parts);
        }
    }
}
