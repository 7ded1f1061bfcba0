//! What refers to an image, through the toolbox: listing, attaching, detaching, and looking for what is wrong.

#[path = "support/help.rs"]
mod help;
#[path = "support/images.rs"]
mod images;
#[path = "support/obd.rs"]
mod obd;
#[path = "support/trees.rs"]
mod trees;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use help::assert_documented;
use images::Images;
use obd::{Obd, RegistryProcess, assert_names};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A registry with a copy of the images as `demo/app:1` that may be written to.
struct Scene {
    obd: Obd,
    registry: RegistryProcess,
    images: Arc<Images>,
    _content: TempDir,
}

fn scene(switches: &str) -> Scene {
    let (content, images) = (tempfile::tempdir().unwrap(), Images::shared());
    copy(images.content(), content.path());
    let registry = RegistryProcess::start(content.path(), switches);
    Scene { obd: Obd::new(), registry, images, _content: content }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.as_ref().unwrap(), to.join(entry.as_ref().unwrap().file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

impl Scene {
    fn said(&self, verb: &str, reference: &str) -> Value {
        let host = self.registry.address();
        self.obd.said(&format!("{verb} {host}/demo/app{reference} --plain-http"))
    }

    /// The digests that refer to the image.
    fn listed(&self) -> Vec<Value> {
        let said = self.said("referrers list", ":1");
        let referrers = said["manifests"][0]["referrers"].as_array().unwrap().iter();
        referrers.map(|entry| entry["digest"].clone()).collect()
    }

    fn accelerated(&self) -> Value {
        self.said("resolve", ":1")["accelerated"]["digest"].clone()
    }
}

#[test]
fn a_referrer_is_listed_and_used_until_it_is_detached() {
    let scene = scene("");
    let [digest] = &scene.listed()[..] else { panic!("{:?}", scene.listed()) };
    let resolved = scene.said("resolve", ":1");
    assert_eq!(resolved["accelerated"]["digest"], *digest);
    assert_eq!(resolved["accelerated"]["layers"].as_array().unwrap().len(), scene.images.layers().len());

    let detached = scene.said("referrers detach", &format!("@{}", digest.as_str().unwrap()));
    assert_eq!(detached, json!({ "detached": digest }));
    assert_eq!((scene.listed(), scene.accelerated()), (vec![], Value::Null));
}

#[test]
fn an_image_that_is_listed_nowhere_is_attached() {
    let with_api = scene("");
    let digest = with_api.accelerated();
    // The registry has the manifest, but no list that leads to it.
    let scene = scene("--no-referrers");
    assert_eq!((scene.listed(), scene.accelerated()), (vec![], Value::Null));
    let image = format!("{}/demo/app@{}", scene.registry.address(), digest.as_str().unwrap());
    let attached = scene.said("referrers attach", &format!(":1 {image}"));
    let subject = scene.images.base().digest.as_str();
    assert_eq!(attached, json!({ "digest": digest, "subject": subject, "listed": "FallbackTag" }));
    assert_eq!((scene.listed(), scene.accelerated()), (vec![digest.clone()], digest));
}

#[test]
fn help_lists_what_is_said() {
    let scene = scene("");
    let list = scene.said("referrers list", ":1");
    let digest = scene.listed()[0].as_str().unwrap().to_owned();
    let attach = format!(":1 {}/demo/app@{digest}", scene.registry.address());
    let attach = scene.said("referrers attach", &attach);
    assert_eq!(attach["digest"], json!(digest), "it has its subject already");
    let doctor = scene.said("doctor", ":1");
    let detach = scene.said("referrers detach", &format!("@{digest}"));
    assert_documented("referrers", &[list, attach, detach]);
    assert_documented("doctor", &[doctor]);
}

#[test]
fn what_is_no_accelerated_form_of_the_image_is_not_attached() {
    let scene = scene("");
    let host = scene.registry.address();
    let error =
        scene.obd.refused(&format!("referrers attach {host}/demo/app:1 {host}/demo/app:1 --plain-http"));
    assert_names(&error, &["the base image itself"]);
    let error =
        scene.obd.refused(&format!("referrers attach {host}/demo/app:1 {host}/demo/other:1 --plain-http"));
    assert_names(&error, &["different repositories"]);
    let error = scene.obd.refused(&format!("referrers detach {host}/demo/app:1 --plain-http"));
    assert_names(&error, &["by its digest"]);
}

#[test]
fn the_doctor_names_what_is_wrong() {
    let healthy = scene("");
    let said = healthy.said("doctor", ":1");
    assert_eq!((&said["problems"], &said["api"]), (&json!([]), &json!("Supported")), "{said}");
    assert_eq!(said["accelerated"], healthy.accelerated());
    assert_eq!((&said["authentication"], &said["referrers"]), (&json!("none"), &json!(1)));

    let problems = |said: Value| said["problems"].to_string();
    assert_names(&problems(healthy.said("doctor", ":absent")), &["the ordinary image", "not found"]);
    let closed = scene("--account user:right");
    let said = closed.said("doctor", ":1");
    assert_eq!((&said["authentication"], &said["credentials"]), (&json!("bearer"), &json!([])));
    assert_eq!(said["realm_trusted"], json!(true));
    assert_names(&problems(said), &["no credential"]);
    let said = closed.said("doctor", ":1 --username user --password wrong");
    assert_eq!(said["credentials"], json!(["password"]));
    let problems = problems(said);
    assert_names(&problems, &["denied"]);
    assert!(!problems.contains("wrong"), "{problems}");
}

#[test]
fn a_registry_that_is_not_there_is_the_problem() {
    let obd = Obd::new();
    let said = obd.said("doctor 127.0.0.1:1/a:1 --plain-http --timeout 2");
    assert_eq!((&said["authentication"], &said["base"]), (&Value::Null, &Value::Null));
    assert_names(&said["problems"].to_string(), &["the registry: ", "127.0.0.1:1"]);
}
