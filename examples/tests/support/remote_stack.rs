//! Layers in a registry of this process, whose faults can be switched, and the toolbox that reads them.

// Each test binary uses a part of this.
#![allow(dead_code)]

use std::fs;

use registry::{Registry, Rule, Server};
use serde_json::{Value, json};

use super::golden;
use super::obd::{Obd, assert_names};

/// A registry with the five layers of the reference stack as blobs, and a configuration that names them.
pub(crate) struct Scene {
    pub(crate) obd: Obd,
    pub(crate) server: Server,
    /// Of the blobs, bottom first.
    pub(crate) digests: Vec<String>,
    /// Digest of the device in hex.
    device: String,
    // Serves while the toolbox runs.
    _runtime: tokio::runtime::Runtime,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let obd = Obd::new();
        golden::unpack("stack", &obd.path(""));
        let device = golden::devices("stack").into_iter().find(|device| device.layers.len() == 5).unwrap();
        let blobs = device.layers.iter().map(|file| obd.read(file)).collect();
        Self::of(obd, blobs, device.sha256)
    }

    pub(crate) fn of(obd: Obd, blobs: Vec<Vec<u8>>, device: String) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let server = runtime.block_on(Registry::builder().serve()).unwrap();
        let mut lowers = Vec::new();
        let mut digests = Vec::new();
        for blob in blobs {
            let size = blob.len();
            let digest = server.put_blob("demo", blob.into()).unwrap().to_string();
            lowers.push(json!({ "digest": digest, "size": size }));
            digests.push(digest);
        }
        let url = format!("{}/v2/demo/blobs", server.url());
        obd.write("config", json!({ "repoBlobUrl": url, "lowers": lowers }).to_string());
        Self { obd, server, digests, device, _runtime: runtime }
    }

    /// Changes the lower layer `n` of the configuration.
    pub(crate) fn change(&self, n: usize, key: &str, value: Value) {
        let mut config: Value = serde_json::from_slice(&self.obd.read("config")).unwrap();
        config["lowers"][n][key] = value;
        self.obd.write("config", config.to_string());
    }

    /// Writes the device with an empty or a used cache; it is right.
    pub(crate) fn works(&self) {
        let said = self.obd.said("cat config -o device --cache cache");
        assert!(said["bytes"].as_u64().unwrap() > 0);
        assert_eq!(self.obd.sha256("device"), self.device);
        fs::remove_file(self.obd.path("device")).unwrap();
    }

    /// Fails to write the device, in time, with an error that names each of `parts`.
    #[track_caller]
    pub(crate) fn fails(&self, parts: &[&str]) {
        assert_names(&self.obd.refused("cat config -o device --cache cache --timeout 1"), parts);
        assert!(!self.obd.names().contains(&"device".to_owned()), "something was left");
    }

    /// Fails while the registry has this fault, and works afterwards.
    #[track_caller]
    pub(crate) fn fails_for_as_long(&self, rule: impl Into<Rule>, parts: &[&str]) {
        self.server.faults().add(rule);
        self.fails(parts);
        self.server.faults().clear();
        self.works();
    }
}
