//! Answers that a client must not believe or follow: each is sent when its fault is on, and only then.

use registry::{Account, Auth, Bearer, Digest, Fault, Registry};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use reqwest::{Client, StatusCode, redirect};
use serde_json::Value;

#[tokio::test]
async fn a_partial_answer_goes_on_behind_its_range() {
    let server = Registry::builder().serve().await.unwrap();
    let digest = server.put_blob("a", "0123456789".into()).unwrap();
    let url = format!("{}/v2/a/blobs/{digest}", server.url());
    let range = async |range: &str| Client::new().get(&url).header(RANGE, range).send().await.unwrap();
    for (fault, body, length) in [(false, "234", true), (true, "23456789", false)] {
        if fault {
            server.faults().add(Fault::LongBody);
        }
        let response = range("bytes=2-4").await;
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(response.headers()[CONTENT_RANGE], "bytes 2-4/10");
        assert_eq!(response.headers().contains_key(CONTENT_LENGTH), length);
        assert_eq!(response.text().await.unwrap(), body);
    }
    assert_eq!(range("bytes=5-9").await.text().await.unwrap(), "56789", "nothing follows the end");
}

#[tokio::test]
async fn referrers_are_an_error_in_json() {
    let server = Registry::builder().serve().await.unwrap();
    let url = format!("{}/v2/a/referrers/{}", server.url(), Digest::sha256(b"x"));
    let get = async || Client::new().get(&url).send().await.unwrap();
    assert_eq!(get().await.status(), StatusCode::OK);
    server.faults().add(Fault::ReferrersError { code: "NAME_UNKNOWN".to_owned() });
    let response = get().await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(body["errors"][0]["code"], "NAME_UNKNOWN");
}

#[tokio::test]
async fn a_realm_sends_elsewhere() {
    let auth = Auth::Bearer(Bearer::new(Account::new("u", "p")));
    let server = Registry::builder().auth(auth).serve().await.unwrap();
    let client = Client::builder().redirect(redirect::Policy::none()).build().unwrap();
    let token = async || {
        client.get(format!("{}/token", server.url())).basic_auth("u", Some("p")).send().await.unwrap()
    };
    assert_eq!(token().await.status(), StatusCode::OK);
    server.faults().add(Fault::RealmRedirect { to: "http://elsewhere.invalid/token".to_owned() });
    let response = token().await;
    assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(response.headers()[LOCATION], "http://elsewhere.invalid/token");
}
