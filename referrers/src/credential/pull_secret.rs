//! Kubernetes Secrets that hold registry credentials, as the API server gives them.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use async_trait::async_trait;
use base64::Engine as _;
use serde::Deserialize;

use crate::descriptor::null_is_default;
use crate::{Credential, CredentialSource, Error, Reason, Repository, Result};

use super::auths::Auths;
use super::docker_config::{File, Form};

/// A Secret of type `kubernetes.io/dockerconfigjson` or `kubernetes.io/dockercfg`.
///
/// ```
/// use referrers::PullSecret;
///
/// let secret = br#"{
///     "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
///     "metadata": {"name": "acr-credential-be5a8e", "namespace": "shop"},
///     "data": {".dockerconfigjson": "eyJhdXRocyI6e319"}
/// }"#;
/// let secret = PullSecret::parse(secret)?;
/// assert!(secret.is_for_acceleration());
/// # Ok::<_, referrers::Error>(())
/// ```
#[derive(Debug)]
pub struct PullSecret {
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
    auths: Auths,
}

impl PullSecret {
    /// Reads a Secret object in JSON.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`](crate::ErrorKind::Protocol) if it is not a Secret of one of the two types, or
    /// does not hold what its type promises.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let object: Object = serde_json::from_slice(json).map_err(|_| broken("Secret", NO_JSON))?;
        object.read()
    }

    /// Reads the Secrets of a list in JSON, leaving out those of other types.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse), for the first that cannot be read.
    pub fn parse_list(json: &[u8]) -> Result<Vec<Self>> {
        #[derive(Deserialize)]
        struct List {
            items: Vec<Object>,
        }
        let list: List = serde_json::from_slice(json).map_err(|_| broken("list of Secrets", NO_JSON))?;
        list.items.into_iter().filter(|object| object.form().is_some()).map(Object::read).collect()
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether a node may use the Secret to read accelerated images, by the rule of Alibaba Cloud's
    /// acceleration suite: its name starts with `acr-credential-`, or it has the label
    /// `images.alibabacloud.com/accelerated` with the value `true`.
    pub fn is_for_acceleration(&self) -> bool {
        self.name.starts_with(NAME_PREFIX) || self.labels.get(LABEL).is_some_and(|value| value == "true")
    }
}

/// Credentials from Secrets that somebody else watches and [replaces](Self::replace).
#[derive(Debug, Default)]
pub struct PullSecrets(RwLock<Vec<PullSecret>>);

impl PullSecrets {
    /// Those of `secrets`, in the order of their namespaces and names.
    pub fn new(secrets: Vec<PullSecret>) -> Self {
        let this = Self::default();
        this.replace(secrets);
        this
    }

    /// Uses `secrets` from now on.
    pub fn replace(&self, mut secrets: Vec<PullSecret>) {
        secrets.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = secrets;
    }
}

#[async_trait]
impl CredentialSource for PullSecrets {
    async fn get(&self, repository: &Repository, _reason: Reason) -> Result<Vec<Credential>> {
        let secrets = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for secret in secrets.iter() {
            let place = format!("secret {}/{}", secret.namespace, secret.name);
            found.extend(secret.auths.for_repository(repository, &place)?);
        }
        Ok(found)
    }
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "null_is_default")]
    data: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    namespace: String,
    #[serde(deserialize_with = "null_is_default")]
    labels: BTreeMap<String, String>,
}

impl Object {
    /// The key of the data, and how it is laid out.
    fn form(&self) -> Option<(&'static str, Form)> {
        match self.kind.as_str() {
            "kubernetes.io/dockerconfigjson" => Some((".dockerconfigjson", Form::Config)),
            "kubernetes.io/dockercfg" => Some((".dockercfg", Form::Map)),
            _ => None,
        }
    }

    fn read(self) -> Result<PullSecret> {
        let place = format!("secret {}/{}", self.metadata.namespace, self.metadata.name);
        let place = crate::error::printable(&place);
        let (key, form) = self.form().ok_or_else(|| broken(&place, "it holds no registry credentials"))?;
        let encoded = self.data.get(key).ok_or_else(|| broken(&place, "it lacks what its type promises"))?;
        let text = base64::engine::general_purpose::STANDARD.decode(encoded.as_bytes());
        let text = text.map_err(|_| broken(&place, "its data is not base64"))?;
        let auths = File::parse(&text, form, &place)?.auths;
        let Metadata { name, namespace, labels } = self.metadata;
        Ok(PullSecret { name, namespace, labels, auths })
    }
}

fn broken(place: &str, why: &'static str) -> Error {
    Error::protocol(place, "pull secret", why)
}

const NO_JSON: &str = "not the JSON it should be";
// Alibaba Cloud's documentation of on-demand loading, "configure permissions".
const NAME_PREFIX: &str = "acr-credential-";
const LABEL: &str = "images.alibabacloud.com/accelerated";

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use futures::executor::block_on;
    use serde_json::{Value, json};

    use super::*;

    fn secret(name: &str, labels: Value, user: &str) -> Value {
        let login = json!({ "auths": { "h.io": { "username": user, "password": "hunter2" } } });
        json!({
            "type": "kubernetes.io/dockerconfigjson",
            "metadata": { "name": name, "namespace": "n", "labels": labels },
            "data": { ".dockerconfigjson": STANDARD.encode(login.to_string()) },
        })
    }

    fn parse(value: &Value) -> Result<PullSecret> {
        PullSecret::parse(value.to_string().as_bytes())
    }

    #[test]
    fn the_name_or_the_label_selects_a_secret() {
        for (name, labels, selected) in [
            ("acr-credential-1", json!(null), true),
            ("acr-credential-", json!({}), true),
            ("my-acr-credential-1", json!({}), false),
            ("acr-credentials", json!({}), false),
            ("mine", json!({ "images.alibabacloud.com/accelerated": "true" }), true),
            ("mine", json!({ "images.alibabacloud.com/accelerated": "True" }), false),
            ("mine", json!({ "images.alibabacloud.com/accelerate": "true" }), false),
        ] {
            let secret = parse(&secret(name, labels, "u")).unwrap();
            assert_eq!(secret.is_for_acceleration(), selected, "{name} {:?}", secret.labels);
        }
    }

    #[test]
    fn both_types_are_read_and_others_left_out_of_a_list() {
        let map = json!({ "h.io": { "username": "map", "password": "p" } });
        let legacy = json!({
            "type": "kubernetes.io/dockercfg", "metadata": { "name": "a" },
            "data": { ".dockercfg": STANDARD.encode(map.to_string()) },
        });
        let tls = json!({ "type": "kubernetes.io/tls", "metadata": { "name": "t" }, "data": {} });
        let list = json!({ "kind": "SecretList", "items": [secret("b", json!({}), "config"), tls, legacy] });
        let secrets = PullSecrets::new(PullSecret::parse_list(list.to_string().as_bytes()).unwrap());
        let ask = || block_on(secrets.get(&Repository::new("h.io", "x").unwrap(), Reason::First)).unwrap();
        assert_eq!(ask(), [Credential::password("map", "p"), Credential::password("config", "hunter2")]);
        secrets.replace(vec![]);
        assert_eq!(ask(), []);
        assert!(parse(&tls_of(list)).is_err());
    }

    fn tls_of(list: Value) -> Value {
        list["items"][1].clone()
    }

    #[test]
    fn nothing_shows_a_secret() {
        let good = secret("a", json!({}), "u");
        let shown = format!("{:?}", parse(&good).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
        let mut broken = good;
        for data in ["hunter2", &STANDARD.encode("hunter2"), &STANDARD.encode(r#"{"auths":"hunter2"}"#)] {
            broken["data"][".dockerconfigjson"] = json!(data);
            let error = parse(&broken).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && error.contains("n/a"), "{error}");
        }
    }
}
