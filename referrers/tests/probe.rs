//! What a registry says at its front door.

#[path = "support/clock.rs"]
mod clock;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use referrers::{Authentication, Credential, ErrorKind, StaticCredentials};

use registry::TestRegistry;
use server::Response;

async fn probe(answer: Response) -> (TestRegistry, Result<referrers::Probe, referrers::Error>) {
    let registry = TestRegistry::start().await;
    registry.fault(move |r| (r.path() == "/v2/").then(|| answer.clone()));
    let login = vec![Credential::password("user", "pass")];
    let credentials = StaticCredentials::new(registry.server.host.as_str(), login);
    let probe = registry.client_with(registry.options(), credentials).probe(&registry.repository).await;
    assert!(registry.server.requests().iter().all(|r| r.header("authorization").is_none()));
    (registry, probe)
}

fn challenge(text: &str) -> Response {
    Response::new(401).with("www-authenticate", text)
}

#[tokio::test]
async fn what_it_wants_to_see_is_told_without_showing_anything() {
    let bearer = |realm: &str, trusted| Authentication::Bearer { realm: realm.to_owned(), trusted };
    for (answer, expected) in [
        (Response::new(200), Authentication::None),
        (challenge("Basic realm=\"r\""), Authentication::Basic),
        (challenge("Negotiate"), Authentication::Unknown),
        (Response::new(401), Authentication::Unknown),
        (
            challenge("Bearer realm=\"https://auth.example.com/token?key=hunter2\",service=\"s\""),
            bearer("https://auth.example.com/token", false),
        ),
        (challenge("Bearer realm=\"http://127.0.0.1:1/token\""), bearer("http://127.0.0.1:1/token", true)),
    ] {
        let (_registry, probe) = probe(answer).await;
        assert_eq!(probe.unwrap().authentication, expected);
    }
}

#[tokio::test]
async fn clocks_are_compared() {
    let (_registry, unknown) = probe(Response::new(200).with("date", "yesterday")).await;
    assert_eq!(unknown.unwrap().clock_ahead, None);
    let (_registry, behind) = probe(Response::new(200).with("date", "Thu, 01 Jan 1970 00:00:10 GMT")).await;
    let now = jiff::Timestamp::now().as_second();
    let ahead = behind.unwrap().clock_ahead.unwrap();
    assert!((now - 5..=now).contains(&(10 - ahead)), "{ahead}");
}

#[tokio::test]
async fn what_is_no_registry_is_an_error() {
    let (_registry, absent) = probe(Response::new(404)).await;
    assert!(absent.unwrap_err().is_not_found());
    let (_registry, hostile) = probe(challenge("Bearer realm=\"ftp://127.0.0.1/\"")).await;
    assert!(matches!(hostile.unwrap_err().kind(), ErrorKind::Refused { .. }));
}
