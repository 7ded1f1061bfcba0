//! What registries say when something was pushed.
//!
//! | who | what tells its form |
//! | --- | --- |
//! | the distribution project's registry and its kin | `events`, each with `action` and `target` |
//! | Azure Container Registry | one such event alone |
//! | Harbor | `type` and `event_data` with `resources` |
//! | Alibaba Cloud Container Registry | `push_data` and `repository` |
//!
//! Nothing in it is believed but that there may be something new: names are checked by who uses them, and the
//! host is that of the configuration, whatever the message says.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// A manifest that is said to have been pushed to a tag. The names are unchecked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The repository's path.
    pub repository: String,
    /// The tag that it was pushed to.
    pub tag: String,
    /// The manifest's digest.
    pub digest: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Message {
    Envelope { events: Vec<Event> },
    Harbor { r#type: String, event_data: HarborData },
    Alibaba { push_data: AlibabaPush, repository: AlibabaRepository },
    Single(Event),
}

#[derive(Deserialize)]
struct Event {
    action: String,
    target: Target,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Target {
    media_type: String,
    digest: String,
    repository: String,
    tag: String,
}

#[derive(Deserialize)]
struct HarborData {
    #[serde(default)]
    resources: Vec<HarborResource>,
    repository: HarborRepository,
}

#[derive(Deserialize)]
struct HarborResource {
    digest: String,
    /// A digest where there is no tag.
    #[serde(default)]
    tag: String,
}

#[derive(Deserialize)]
struct HarborRepository {
    repo_full_name: String,
}

#[derive(Deserialize)]
struct AlibabaPush {
    digest: String,
    #[serde(default)]
    tag: String,
}

#[derive(Deserialize)]
struct AlibabaRepository {
    repo_full_name: String,
}

impl Push {
    /// The pushes of manifests to tags that a message tells of. Other events are passed over, and so are
    /// manifests without a tag, which mostly are parts of an index that comes after them.
    ///
    /// # Errors
    ///
    /// If it is of no known form, or tells of more than 1000 events.
    pub fn parse(message: &[u8]) -> Result<Vec<Self>> {
        let message = serde_json::from_slice(message).context("a message of no known form")?;
        let pushes: Vec<Self> = match message {
            Message::Envelope { events } => events.into_iter().filter_map(Self::of_event).collect(),
            Message::Single(event) => Self::of_event(event).into_iter().collect(),
            Message::Harbor { r#type, event_data } if is_harbor_push(&r#type) => {
                let repository = event_data.repository.repo_full_name;
                let push = |resource: HarborResource| Self::new(&repository, resource.tag, resource.digest);
                event_data.resources.into_iter().filter_map(push).collect()
            }
            Message::Harbor { .. } => Vec::new(),
            Message::Alibaba { push_data, repository } => {
                Self::new(&repository.repo_full_name, push_data.tag, push_data.digest).into_iter().collect()
            }
        };
        ensure!(pushes.len() <= MOST, "more than {MOST} events in one message");
        Ok(pushes)
    }

    fn new(repository: &str, tag: String, digest: String) -> Option<Self> {
        let is_tag = !tag.is_empty() && !tag.contains(':');
        is_tag.then(|| Self { repository: repository.to_owned(), tag, digest })
    }

    fn of_event(event: Event) -> Option<Self> {
        let Target { media_type, digest, repository, tag } = event.target;
        let is_manifest =
            referrers::media_type::is_image(&media_type) || referrers::media_type::is_index(&media_type);
        let is_push = event.action == "push" && is_manifest;
        if is_push { Self::new(&repository, tag, digest) } else { None }
    }
}

/// The older name is that of Harbor 1.
fn is_harbor_push(event: &str) -> bool {
    matches!(event, "PUSH_ARTIFACT" | "pushImage")
}

/// More than a registry puts into one envelope.
const MOST: usize = 1000;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

    fn parse(message: &serde_json::Value) -> Result<Vec<Push>> {
        Push::parse(message.to_string().as_bytes())
    }

    fn pushed() -> Vec<Push> {
        vec![Push { repository: "shop/api".into(), tag: "1".into(), digest: "sha256:1".into() }]
    }

    fn event(action: &str, media_type: &str, tag: Option<&str>) -> serde_json::Value {
        json!({
            "id": "1", "action": action, "request": { "host": "elsewhere.example" },
            "target": {
                "mediaType": media_type, "digest": "sha256:1", "repository": "shop/api", "tag": tag.unwrap_or_default(),
                "url": "http://elsewhere.example/v2/",
            },
        })
    }

    #[test]
    fn an_envelope_of_the_distribution_project() {
        let envelope = json!({ "events": [
            event("push", IMAGE, Some("1")),
            event("push", "application/octet-stream", None),
            event("pull", IMAGE, Some("1")),
            { "action": "mount", "target": { "fromRepository": "x" } },
            event("push", "application/vnd.docker.distribution.manifest.list.v2+json", None),
        ] });
        assert_eq!(parse(&envelope).unwrap(), pushed());
    }

    #[test]
    fn the_events_of_services() {
        assert_eq!(parse(&event("push", IMAGE, Some("1"))).unwrap(), pushed());
        assert_eq!(parse(&json!({ "id": "x", "action": "ping", "target": {} })).unwrap(), []);
        let harbor = |kind: &str| {
            json!({
                "type": kind, "occur_at": 1, "operator": "o",
                "event_data": {
                    "resources": [
                        { "digest": "sha256:1", "tag": "1", "resource_url": "elsewhere.example/shop/api:1" },
                        { "digest": "sha256:1", "tag": "sha256:1" },
                    ],
                    "repository": { "name": "api", "namespace": "shop", "repo_full_name": "shop/api" },
                },
            })
        };
        assert_eq!(parse(&harbor("PUSH_ARTIFACT")).unwrap(), pushed());
        assert_eq!(parse(&harbor("DELETE_ARTIFACT")).unwrap(), []);
        let alibaba = json!({
            "push_data": { "digest": "sha256:1", "pushed_at": "2025-01-01 00:00:00", "tag": "1" },
            "repository": {
                "date_created": "2025-01-01 00:00:00", "name": "api", "namespace": "shop", "region": "cn-hangzhou",
                "repo_authentication_type": "NO_CERTIFIED", "repo_full_name": "shop/api", "repo_type": "PUBLIC",
            },
        });
        assert_eq!(parse(&alibaba).unwrap(), pushed());
    }

    #[test]
    fn anything_else_is_an_error() {
        for message in [json!({}), json!([]), json!(null), json!({ "events": 1 }), json!({ "push_data": {} })]
        {
            assert!(parse(&message).is_err(), "{message}");
        }
        assert!(Push::parse(b"{").is_err());
        assert!(Push::parse("[".repeat(100_000).as_bytes()).is_err());
        let many = json!({ "events": vec![event("push", IMAGE, Some("1")); MOST + 1] });
        assert!(parse(&many).is_err());
    }
}
