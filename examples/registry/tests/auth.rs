//! Credentials: what is asked for, what is accepted, and what expires.

use std::time::Duration;

use registry::{Account, Auth, Bearer, Fault, Listener, Registry, Server};
use reqwest::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

fn account() -> Account {
    Account::new("user", "secret")
}

async fn bearer_server(bearer: Bearer) -> Server {
    let server = Registry::builder().auth(Auth::Bearer(bearer)).serve().await.unwrap();
    server.put_blob("a/b", "blob".into()).unwrap();
    server
}

fn request(server: &Server, method: Method, path: &str) -> RequestBuilder {
    Client::new().request(method, format!("{}{path}", server.url()))
}

fn challenge(response: &Response) -> &str {
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    response.headers()[WWW_AUTHENTICATE].to_str().unwrap()
}

/// A token for `scope`, asked for with the account's credentials or none.
async fn token(server: &Server, scope: &str, with_credentials: bool) -> String {
    let mut get =
        request(server, Method::GET, "/token").query_pairs(&[("service", "registry"), ("scope", scope)]);
    if with_credentials {
        get = get.basic_auth("user", Some("secret"));
    }
    let body: Value = serde_json::from_str(&get.send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(body["token"], body["access_token"]);
    body["token"].as_str().unwrap().to_owned()
}

/// A query without the client library's optional feature for it.
trait QueryPairs {
    fn query_pairs(self, pairs: &[(&str, &str)]) -> Self;
}

impl QueryPairs for RequestBuilder {
    fn query_pairs(self, pairs: &[(&str, &str)]) -> Self {
        let (client, request) = self.build_split();
        let mut request = request.unwrap();
        request.url_mut().query_pairs_mut().extend_pairs(pairs);
        Self::from_parts(client, request)
    }
}

async fn tags(server: &Server, token: &str) -> Response {
    request(server, Method::GET, "/v2/a/b/tags/list").bearer_auth(token).send().await.unwrap()
}

#[tokio::test]
async fn basic_asks_and_accepts_one_account() {
    let server = Registry::builder().auth(Auth::Basic(account())).serve().await.unwrap();
    let response = request(&server, Method::GET, "/v2/").send().await.unwrap();
    assert_eq!(challenge(&response), "Basic realm=\"registry\"");
    for (password, status) in [("secret", StatusCode::OK), ("other", StatusCode::UNAUTHORIZED)] {
        let get = request(&server, Method::GET, "/v2/").basic_auth("user", Some(password));
        assert_eq!(get.send().await.unwrap().status(), status);
    }
}

#[tokio::test]
async fn a_challenge_names_realm_and_scope() {
    let server = bearer_server(Bearer::new(account())).await;
    let realm = format!("Bearer realm=\"{}/token\",service=\"registry\"", server.url());
    let mount = "/v2/a/b/blobs/uploads/?mount=sha256:0&from=c/d";
    for (method, path, scope) in [
        (Method::GET, "/v2/", ""),
        (Method::GET, "/v2/a/b/tags/list", ",scope=\"repository:a/b:pull\""),
        (Method::POST, "/v2/a/b/blobs/uploads/", ",scope=\"repository:a/b:pull,push\""),
        (Method::POST, mount, ",scope=\"repository:a/b:pull,push repository:c/d:pull\""),
        (Method::DELETE, "/v2/a/b/manifests/t", ",scope=\"repository:a/b:delete\""),
    ] {
        let response = request(&server, method, path).send().await.unwrap();
        assert_eq!(challenge(&response), format!("{realm}{scope}"), "{path}");
    }
}

#[tokio::test]
async fn a_token_is_good_for_its_scope_only() {
    let server = bearer_server(Bearer::new(account())).await;
    let pull = token(&server, "repository:a/b:pull", true).await;
    assert_eq!(tags(&server, &pull).await.status(), StatusCode::OK);
    let push =
        request(&server, Method::POST, "/v2/a/b/blobs/uploads/").bearer_auth(&pull).send().await.unwrap();
    assert!(challenge(&push).ends_with(",error=\"insufficient_scope\""));
    let other = token(&server, "repository:a:pull,push", true).await;
    assert!(challenge(&tags(&server, &other).await).contains("insufficient_scope"));
    assert!(challenge(&tags(&server, "made-up").await).contains("invalid_token"));
}

#[tokio::test]
async fn who_shows_nothing_may_pull_if_that_is_allowed() {
    let server = bearer_server(Bearer::new(account())).await;
    let nothing = token(&server, "repository:a/b:pull", false).await;
    assert_eq!(tags(&server, &nothing).await.status(), StatusCode::UNAUTHORIZED);
    let server = bearer_server(Bearer::new(account()).with_anonymous_pull()).await;
    let pull = token(&server, "repository:a/b:pull,push", false).await;
    assert_eq!(tags(&server, &pull).await.status(), StatusCode::OK);
    let push =
        request(&server, Method::POST, "/v2/a/b/blobs/uploads/").bearer_auth(&pull).send().await.unwrap();
    assert_eq!(push.status(), StatusCode::UNAUTHORIZED);
    let wrong =
        request(&server, Method::GET, "/token").basic_auth("user", Some("other")).send().await.unwrap();
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_identity_token_buys_access_tokens() {
    let server = bearer_server(Bearer::new(account())).await;
    let post = async |form: &str| {
        let post = request(&server, Method::POST, "/token");
        let post = post.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.to_owned());
        let response = post.send().await.unwrap();
        let status = response.status();
        (status, serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap())
    };
    let scope = "scope=repository:a/b:pull+repository:c:pull";
    let (_, body) =
        post(&format!("grant_type=password&username=user&password=secret&access_type=offline&{scope}")).await;
    let refresh = body["refresh_token"].as_str().unwrap();
    let (_, body) = post(&format!("grant_type=refresh_token&refresh_token={refresh}&{scope}")).await;
    assert_eq!(tags(&server, body["access_token"].as_str().unwrap()).await.status(), StatusCode::OK);
    assert_eq!(post("grant_type=refresh_token&refresh_token=x").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(post("grant_type=password&username=user&password=x").await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn tokens_expire_and_can_be_revoked() {
    let server = bearer_server(Bearer::new(account()).with_lifetime(Duration::from_secs(90))).await;
    let kept = token(&server, "repository:a/b:pull", true).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(89)).await;
    tokio::time::resume();
    assert_eq!(tags(&server, &kept).await.status(), StatusCode::OK);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::resume();
    assert!(challenge(&tags(&server, &kept).await).contains("invalid_token"));
    let fresh = token(&server, "repository:a/b:pull", true).await;
    server.revoke_tokens();
    assert!(challenge(&tags(&server, &fresh).await).contains("invalid_token"));
}

#[tokio::test]
async fn the_lifetime_of_a_token_can_be_less_than_it_says() {
    let server = bearer_server(Bearer::new(account())).await;
    server.faults().add(Fault::TokenLifetime(Duration::ZERO).times(1));
    let dead = token(&server, "repository:a/b:pull", true).await;
    assert!(challenge(&tags(&server, &dead).await).contains("invalid_token"));
    let good = token(&server, "repository:a/b:pull", true).await;
    assert_eq!(tags(&server, &good).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn expiry_is_told_as_401_or_as_403() {
    let server = bearer_server(Bearer::new(account())).await;
    let good = token(&server, "repository:a/b:pull", true).await;
    server.faults().add(Fault::ExpiredToken { status: 401 }.times(1));
    server.faults().add(Fault::ExpiredToken { status: 403 }.times(1));
    assert!(challenge(&tags(&server, &good).await).contains("invalid_token"));
    let response = tags(&server, &good).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(!response.headers().contains_key(WWW_AUTHENTICATE));
    assert_eq!(tags(&server, &good).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_realm_can_be_another_origin() {
    let server = bearer_server(Bearer::new(account()).with_own_listener()).await;
    let response = request(&server, Method::GET, "/v2/").send().await.unwrap();
    let realm = challenge(&response).split('"').nth(1).unwrap().to_owned();
    assert!(!realm.starts_with(server.url()));
    assert_eq!(Client::new().get(realm).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(server.log().last().unwrap().listener, Listener::Token);
    assert!(!server.log().last().unwrap().authorization);
    let here = request(&server, Method::GET, "/token").send().await.unwrap();
    assert_eq!(here.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_log_hides_credentials_and_tells_that_there_were_some() {
    let server = Registry::builder().auth(Auth::Basic(account())).serve().await.unwrap();
    request(&server, Method::GET, "/v2/").basic_auth("user", Some("secret")).send().await.unwrap();
    let logged = server.log().pop().unwrap();
    assert!(logged.authorization);
    let header = logged.headers["authorization"].to_str().unwrap();
    assert!(!format!("{logged:?}").contains(header));
    assert!(!format!("{:?}", account()).contains("secret"));
}
