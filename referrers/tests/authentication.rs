//! Tokens: when they are fetched, with what, for how much, and how often.

#[path = "support/clock.rs"]
mod clock;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/server.rs"]
mod server;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use referrers::{
    Anonymous, AuthFailure, Credential, CredentialSource, Error, ErrorKind, Reason, Repository, Secret,
    StaticCredentials, media_type,
};

use registry::{TestRegistry, index};
use server::{Request, Response};

/// A token server in front of the registry, on the same host.
#[derive(Default)]
struct TokenServer {
    /// What Basic pairs it accepts; empty for anybody.
    pairs: BTreeSet<String>,
    /// Tokens that the registry accepts.
    valid: Mutex<BTreeSet<String>>,
    issued: AtomicUsize,
    expires_in: u64,
    /// The status with which the registry refuses.
    status: u16,
}

const USER: &str = "Basic dXNlcjpwYXNz";

impl TokenServer {
    fn new() -> Self {
        Self { expires_in: 300, status: 401, ..Self::default() }
    }

    fn for_user(mut self) -> Self {
        self.pairs.insert(USER.to_owned());
        self
    }

    async fn guard(self) -> (TestRegistry, Arc<Self>) {
        let registry = TestRegistry::start().await;
        registry.put(Some("t"), media_type::OCI_INDEX, &index(&[]));
        let (this, host) = (Arc::new(self), registry.server.host.clone());
        let shared = Arc::clone(&this);
        registry.fault(move |request| shared.answer(request, &host));
        (registry, this)
    }

    fn answer(&self, request: &Request, host: &str) -> Option<Response> {
        let authorization = request.header("authorization");
        if request.path() == "/token" && request.method == "POST" {
            let form = String::from_utf8(request.body.clone()).unwrap();
            assert!(authorization.is_none() && form.contains("grant_type=refresh_token"), "{form}");
            if !form.contains("refresh_token=identity%2F1&") {
                return Some(Response::new(400).body(r#"{"error":"invalid_grant"}"#));
            }
            assert!(form.ends_with("scope=repository%3Aa%2Fb%3Apull"), "{form}");
            return Some(self.issue());
        }
        if request.path() == "/token" {
            if !self.pairs.is_empty() && !authorization.is_some_and(|pair| self.pairs.contains(pair)) {
                return Some(Response::error(401, "UNAUTHORIZED"));
            }
            return Some(self.issue());
        }
        let token = authorization.and_then(|header| header.strip_prefix("Bearer "));
        if token.is_some_and(|token| self.valid.lock().unwrap().contains(token)) {
            return None;
        }
        let challenge = format!(
            r#"Bearer realm="http://{host}/token",service="s",scope="repository:a/b:pull,push,delete""#
        );
        Some(Response::error(self.status, "UNAUTHORIZED").with("www-authenticate", challenge))
    }

    fn issue(&self) -> Response {
        let token = format!("t{}", self.issued.fetch_add(1, Ordering::SeqCst));
        self.valid.lock().unwrap().insert(token.clone());
        Response::ok("application/json", format!(r#"{{"token":"{token}","expires_in":{}}}"#, self.expires_in))
    }

    fn revoke_all(&self) {
        self.valid.lock().unwrap().clear();
    }

    fn issued(&self) -> usize {
        self.issued.load(Ordering::SeqCst)
    }
}

fn user(registry: &TestRegistry) -> StaticCredentials {
    StaticCredentials::new(registry.server.host.as_str(), vec![Credential::password("user", "pass")])
}

fn failure(error: &Error) -> AuthFailure {
    match error.kind() {
        ErrorKind::Auth(failure) => *failure,
        _ => panic!("{error}"),
    }
}

#[tokio::test]
async fn one_token_serves_all_requests_of_a_repository() {
    let (registry, tokens) = TokenServer::new().for_user().guard().await;
    let client = registry.client_with(registry.options(), user(&registry));
    for _ in 0..3 {
        client.manifest(&registry.tagged("t")).await.unwrap();
    }
    assert_eq!(tokens.issued(), 1);
    // One challenge, one token, three manifests.
    assert_eq!(registry.server.requests().len(), 5);
    let token = registry.server.requests().into_iter().find(|r| r.path() == "/token").unwrap();
    assert_eq!(token.header("authorization"), Some(USER));
    assert_eq!(token.query("service").as_deref(), Some("s"));
}

#[tokio::test]
async fn no_more_than_the_needed_rights_are_asked_for() {
    let (registry, _) = TokenServer::new().guard().await;
    let client = registry.client();
    client.manifest(&registry.tagged("t")).await.unwrap();
    client.push_blob(&registry.repository, Bytes::from("x")).await.unwrap();
    let scopes: Vec<_> = registry.server.requests().iter().filter_map(|r| r.query("scope")).collect();
    assert_eq!(scopes, ["repository:a/b:pull", "repository:a/b:pull%2Cpush"]);
}

#[tokio::test]
async fn many_requests_wait_for_one_token() {
    let (registry, tokens) = TokenServer::new().for_user().guard().await;
    let client = registry.client_with(registry.options(), user(&registry));
    let tag = registry.tagged("t");
    let all = (0..64).map(|_| client.manifest(&tag));
    for outcome in futures::future::join_all(all).await {
        outcome.unwrap();
    }
    assert_eq!(tokens.issued(), 1);
}

#[tokio::test]
async fn many_requests_share_one_failure() {
    let (registry, _) = TokenServer::new().for_user().guard().await;
    let wrong =
        StaticCredentials::new(registry.server.host.as_str(), vec![Credential::password("user", "wrong")]);
    let client = registry.client_with(registry.options(), wrong);
    let tag = registry.tagged("t");
    // The first one is on its way to the token server when the others arrive.
    let all = (0..16).map(|_| client.manifest(&tag));
    for outcome in futures::future::join_all(all).await {
        assert_eq!(failure(&outcome.unwrap_err()), AuthFailure::Denied);
    }
    assert!(registry.server.count("/token") < 16, "{}", registry.server.count("/token"));
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_whatever_the_status() {
    for status in [401, 403] {
        let mut tokens = TokenServer::new();
        tokens.status = status;
        let (registry, tokens) = tokens.guard().await;
        let client = registry.client();
        client.manifest(&registry.tagged("t")).await.unwrap();
        tokens.revoke_all();
        client.manifest(&registry.tagged("t")).await.unwrap();
        assert_eq!(tokens.issued(), 2, "{status}");
    }
}

#[tokio::test]
async fn requests_refused_together_renew_once() {
    let (registry, tokens) = TokenServer::new().guard().await;
    let (client, tag) = (registry.client(), registry.tagged("t"));
    client.manifest(&tag).await.unwrap();
    tokens.revoke_all();
    for outcome in futures::future::join_all((0..16).map(|_| client.manifest(&tag))).await {
        outcome.unwrap();
    }
    assert_eq!(tokens.issued(), 2);
}

#[tokio::test]
async fn an_expired_token_is_not_sent() {
    let mut tokens = TokenServer::new();
    tokens.expires_in = 1;
    let (registry, tokens) = tokens.guard().await;
    let client = registry.client();
    client.manifest(&registry.tagged("t")).await.unwrap();
    client.manifest(&registry.tagged("t")).await.unwrap();
    assert_eq!(tokens.issued(), 2);
    // The second request knew the challenge and the expiry: it was never refused.
    let refused = registry.server.requests().iter().filter(|r| r.header("authorization").is_none()).count();
    assert_eq!(refused, 3, "the first manifest and two anonymous token requests");
}

#[tokio::test]
async fn a_new_token_that_is_refused_is_the_end() {
    for status in [401, 403] {
        let mut tokens = TokenServer::new();
        tokens.status = status;
        let (registry, tokens) = tokens.for_user().guard().await;
        let challenged = Arc::clone(&tokens);
        registry.contents.lock().unwrap().faults.insert(
            0,
            Box::new(move |r: &Request| {
                challenged.revoke_all();
                (r.path() != "/token" && r.header("authorization").is_some())
                    .then(|| Response::error(status, "DENIED"))
            }),
        );
        let client = registry.client_with(registry.options(), user(&registry));
        let error = client.manifest(&registry.tagged("t")).await.unwrap_err();
        assert_eq!(failure(&error), AuthFailure::Denied);
        assert!(!error.is_transient());
        assert_eq!(tokens.issued(), 1, "{status}");
    }
}

#[tokio::test]
async fn credentials_are_tried_in_order_and_none_is_dropped_for_anonymity() {
    let (registry, tokens) = TokenServer::new().for_user().guard().await;
    let host = registry.server.host.as_str();
    let two = StaticCredentials::new(
        host,
        vec![Credential::password("user", "old"), Credential::password("user", "pass")],
    );
    let client = registry.client_with(registry.options(), two);
    client.manifest(&registry.tagged("t")).await.unwrap();
    assert_eq!((tokens.issued(), registry.server.count("/token")), (1, 2));

    let wrong = StaticCredentials::new(host, vec![Credential::password("user", "old")]);
    let client = registry.client_with(registry.options(), wrong);
    let error = client.manifest(&registry.tagged("t")).await.unwrap_err();
    assert_eq!(failure(&error), AuthFailure::Denied);
    let anonymous = |r: &Request| r.path() == "/token" && r.header("authorization").is_none();
    assert!(!registry.server.requests().iter().any(anonymous));

    let error = registry.client().manifest(&registry.tagged("t")).await.unwrap_err();
    assert_eq!(failure(&error), AuthFailure::NoCredential);
}

#[tokio::test]
async fn a_rotated_credential_is_asked_for_after_a_rejection() {
    #[derive(Debug, Default)]
    struct Rotating(Mutex<Vec<Reason>>);
    #[async_trait]
    impl CredentialSource for Rotating {
        async fn get(&self, _: &Repository, reason: Reason) -> Result<Vec<Credential>, Error> {
            self.0.lock().unwrap().push(reason);
            Ok(vec![Credential::password("user", "pass")])
        }
    }
    let (registry, tokens) = TokenServer::new().for_user().guard().await;
    let source = Arc::new(Rotating::default());
    let client = referrers::Registry::new(registry.options(), source.clone()).unwrap();
    client.manifest(&registry.tagged("t")).await.unwrap();
    tokens.revoke_all();
    client.manifest(&registry.tagged("t")).await.unwrap();
    assert_eq!(*source.0.lock().unwrap(), [Reason::First, Reason::Rejected]);
}

/// Gives one list of users after the other, the last one again and again.
#[derive(Debug)]
struct Lists(Mutex<Vec<Vec<&'static str>>>);

#[async_trait]
impl CredentialSource for Lists {
    async fn get(&self, _: &Repository, _: Reason) -> Result<Vec<Credential>, Error> {
        let mut lists = self.0.lock().unwrap();
        let users = if lists.len() > 1 { lists.remove(0) } else { lists[0].clone() };
        Ok(users.into_iter().map(|password| Credential::password("user", password)).collect())
    }
}

#[tokio::test]
async fn a_credential_that_was_rotated_meanwhile_is_tried_in_the_same_request() {
    // The file changes after it was read; a longer one may also hold old entries in other places.
    for lists in [vec![vec!["old"], vec!["pass"]], vec![vec!["old", "older"], vec!["older", "pass"]]] {
        let (registry, tokens) = TokenServer::new().for_user().guard().await;
        let client = registry.client_with(registry.options(), Lists(Mutex::new(lists)));
        client.manifest(&registry.tagged("t")).await.unwrap();
        assert_eq!(tokens.issued(), 1);
    }
}

#[tokio::test]
async fn a_name_without_the_right_leaves_it_to_the_next_name() {
    for status in [401, 403] {
        let registry = TestRegistry::start().await;
        registry.put(Some("t"), media_type::OCI_INDEX, &index(&[]));
        // Both may log in, one may read.
        registry.fault(move |r| match r.header("authorization") {
            Some(USER) => None,
            header => {
                let status = if header.is_some() { status } else { 401 };
                Some(Response::error(status, "DENIED").with("www-authenticate", "Basic realm=\"r\""))
            }
        });
        let client = registry.client_with(registry.options(), Lists(Mutex::new(vec![vec!["other", "pass"]])));
        client.manifest(&registry.tagged("t")).await.unwrap();
        assert_eq!(registry.server.requests().len(), 3, "{status}");
    }
}

#[tokio::test]
async fn whoever_has_lost_every_name_is_not_taken_for_nobody() {
    let (registry, _) = TokenServer::new().for_user().guard().await;
    let client = registry.client_with(registry.options(), Lists(Mutex::new(vec![vec!["old"], vec![]])));
    let error = client.manifest(&registry.tagged("t")).await.unwrap_err();
    assert_eq!(failure(&error), AuthFailure::Denied);
    assert_eq!(registry.server.count("/token"), 1);
}

fn basic_only(request: &Request) -> Option<Response> {
    let challenge = Response::error(401, "UNAUTHORIZED").with("www-authenticate", "Basic realm=\"r\"");
    (request.header("authorization") != Some(USER)).then_some(challenge)
}

#[tokio::test]
async fn basic_authentication() {
    let registry = TestRegistry::start().await;
    registry.put(Some("t"), media_type::OCI_INDEX, &index(&[]));
    registry.fault(basic_only);
    let client = registry.client_with(registry.options(), user(&registry));
    client.manifest(&registry.tagged("t")).await.unwrap();
    client.manifest(&registry.tagged("t")).await.unwrap();
    assert_eq!(registry.server.requests().len(), 3);
    let error = registry.client_with(registry.options(), Anonymous).manifest(&registry.tagged("t")).await;
    assert_eq!(failure(&error.unwrap_err()), AuthFailure::NoCredential);
}

#[tokio::test]
async fn a_token_given_by_the_user_is_sent_as_it_is() {
    let (registry, tokens) = TokenServer::new().guard().await;
    tokens.valid.lock().unwrap().insert("mine".into());
    let host = registry.server.host.as_str();
    let source = StaticCredentials::new(host, vec![Credential::Token(Secret::new("mine"))]);
    let client = registry.client_with(registry.options(), source);
    client.manifest(&registry.tagged("t")).await.unwrap();
    assert_eq!(tokens.issued(), 0);
}

#[tokio::test]
async fn a_scheme_that_is_not_spoken_is_named_as_the_cause() {
    let registry = TestRegistry::start().await;
    registry.fault(|_| Some(Response::new(401).with("www-authenticate", "Negotiate")));
    let error = registry.client().manifest(&registry.tagged("t")).await.unwrap_err();
    assert_eq!(failure(&error), AuthFailure::UnsupportedScheme);
}

#[tokio::test]
async fn a_token_server_that_fails_for_a_moment_is_asked_again() {
    let (registry, tokens) = TokenServer::new().guard().await;
    let down = AtomicUsize::new(2);
    registry.contents.lock().unwrap().faults.insert(
        0,
        Box::new(move |r: &Request| {
            let fails = r.path() == "/token"
                && down.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
            fails.then(|| Response::new(503))
        }),
    );
    registry.client().manifest(&registry.tagged("t")).await.unwrap();
    assert_eq!(tokens.issued(), 1);
}

#[tokio::test]
async fn an_identity_token_buys_tokens_in_the_oauth_form() {
    let (registry, tokens) = TokenServer::new().for_user().guard().await;
    let host = registry.server.host.as_str();
    let source =
        |token: &str| StaticCredentials::new(host, vec![Credential::IdentityToken(Secret::new(token))]);
    let client = registry.client_with(registry.options(), source("identity/1"));
    client.manifest(&registry.tagged("t")).await.unwrap();
    assert_eq!(tokens.issued(), 1);
    let client = registry.client_with(registry.options(), source("expired"));
    let error = client.manifest(&registry.tagged("t")).await.unwrap_err();
    assert_eq!(failure(&error), AuthFailure::Denied);
    assert!(!format!("{error:?}").contains("expired"));
    let queries: Vec<_> =
        registry.server.asked().into_iter().filter(|line| line.contains("/token?")).collect();
    assert!(queries.is_empty(), "secrets do not stand in URLs: {queries:?}");
}

#[tokio::test]
async fn the_credential_that_worked_is_tried_first_the_next_time() {
    let (registry, tokens) = TokenServer::new().for_user().guard().await;
    let two = StaticCredentials::new(
        registry.server.host.as_str(),
        vec![Credential::password("user", "old"), Credential::password("user", "pass")],
    );
    let client = registry.client_with(registry.options(), two);
    client.manifest(&registry.tagged("t")).await.unwrap();
    tokens.revoke_all();
    client.manifest(&registry.tagged("t")).await.unwrap();
    assert_eq!((tokens.issued(), registry.server.count("/token")), (2, 3));
}

#[tokio::test]
async fn a_token_is_renewed_while_it_still_serves() {
    let (registry, tokens) = TokenServer::new().for_user().guard().await;
    let client = registry.client_with(registry.options(), user(&registry));
    let ask = async || {
        client.manifest(&registry.tagged("t")).await.unwrap();
        let requests = registry.server.requests();
        requests.iter().rfind(|r| r.path() != "/token").unwrap().header("authorization").unwrap().to_owned()
    };
    ask().await;
    // Of 300 s, 30 are a margin; three quarters of the rest are over after 202.5.
    registry.clock.advance(std::time::Duration::from_secs(200));
    assert_eq!((ask().await.as_str(), tokens.issued()), ("Bearer t0", 1));
    registry.clock.advance(std::time::Duration::from_secs(3));
    assert_eq!(ask().await, "Bearer t0", "nobody waits for the new one");
    let renewed = async {
        while ask().await != "Bearer t1" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), renewed).await.unwrap();
    assert_eq!(tokens.issued(), 2);
}

#[tokio::test]
async fn a_renewal_ahead_of_time_that_fails_hurts_nobody() {
    let (registry, tokens) = TokenServer::new().for_user().guard().await;
    let client = registry.client_with(registry.options(), user(&registry));
    client.manifest(&registry.tagged("t")).await.unwrap();
    registry
        .contents
        .lock()
        .unwrap()
        .faults
        .insert(0, Box::new(|r: &Request| (r.path() == "/token").then(|| Response::new(503))));
    registry.clock.advance(std::time::Duration::from_secs(210));
    for _ in 0..20 {
        client.manifest(&registry.tagged("t")).await.unwrap();
    }
    assert_eq!((tokens.issued(), registry.server.count("/token") <= 2), (1, true));
}
