//! Blob reads through the storage listener.

use std::time::Duration;

use registry::{Account, Auth, Fault, Listener, Registry, Server};
use reqwest::header::{AUTHORIZATION, LOCATION, RANGE};
use reqwest::{Client, RequestBuilder, StatusCode, redirect::Policy};

struct Bench {
    server: Server,
    client: Client,
    url: String,
}

impl Bench {
    async fn new() -> Self {
        let auth = Auth::Basic(Account::new("user", "secret"));
        let server = Registry::builder().auth(auth).redirect_blobs().serve().await.unwrap();
        let digest = server.put_blob("a", "0123456789".into()).unwrap();
        let url = format!("{}/v2/a/blobs/{digest}", server.url());
        Self { server, client: Client::builder().redirect(Policy::none()).build().unwrap(), url }
    }

    fn get(&self) -> RequestBuilder {
        self.client.get(&self.url).basic_auth("user", Some("secret"))
    }

    /// Where the registry sends a reader.
    async fn location(&self) -> String {
        let response = self.get().send().await.unwrap();
        assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
        response.headers()[LOCATION].to_str().unwrap().to_owned()
    }

    async fn status(&self, url: &str) -> StatusCode {
        self.client.get(url).send().await.unwrap().status()
    }
}

#[tokio::test]
async fn a_reader_is_sent_to_another_origin_that_asks_for_nothing() {
    let bench = Bench::new().await;
    assert_eq!(bench.status(&bench.url).await, StatusCode::UNAUTHORIZED);
    let location = bench.location().await;
    assert!(!location.starts_with(bench.server.url()));
    let response = bench.client.get(&location).header(RANGE, "bytes=2-4").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(response.text().await.unwrap(), "234");
}

#[tokio::test]
async fn the_storage_listener_records_what_it_was_sent() {
    let bench = Bench::new().await;
    let location = bench.location().await;
    let leak = bench.client.get(&location).header(AUTHORIZATION, "Basic x").header("x-extra", "1");
    leak.send().await.unwrap();
    bench.client.get(&location).send().await.unwrap();
    let log = bench.server.log();
    let storage: Vec<_> = log.iter().filter(|request| request.listener == Listener::Storage).collect();
    assert_eq!(storage.iter().map(|request| request.authorization).collect::<Vec<_>>(), [true, false]);
    assert_eq!(storage[0].headers["x-extra"], "1");
    assert_ne!(storage[0].connection, log[0].connection);
}

#[tokio::test]
async fn a_url_is_good_for_its_blob_until_it_expires() {
    let bench = Bench::new().await;
    let location = bench.location().await;
    let other = bench.server.put_blob("a", "other".into()).unwrap();
    let digest = bench.url.rsplit('/').next().unwrap();
    assert_eq!(bench.status(&location).await, StatusCode::OK);
    assert_eq!(bench.status(&location.replace(digest, other.as_str())).await, StatusCode::FORBIDDEN);
    assert_eq!(bench.status(&location.replace("Signature=", "Signature=0")).await, StatusCode::FORBIDDEN);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(300)).await;
    tokio::time::resume();
    assert_eq!(bench.status(&location).await, StatusCode::FORBIDDEN);
    assert_eq!(bench.status(&bench.location().await).await, StatusCode::OK);
}

#[tokio::test]
async fn the_lifetime_of_a_url_can_be_cut_short() {
    let bench = Bench::new().await;
    bench.server.faults().add(Fault::RedirectLifetime(Duration::ZERO).times(1));
    assert_eq!(bench.status(&bench.location().await).await, StatusCode::FORBIDDEN);
    assert_eq!(bench.status(&bench.location().await).await, StatusCode::OK);
}

#[tokio::test]
async fn a_missing_blob_and_a_head_are_not_redirected() {
    let bench = Bench::new().await;
    let head = bench.client.head(&bench.url).basic_auth("user", Some("secret")).send().await.unwrap();
    assert_eq!(head.status(), StatusCode::OK);
    let url = bench.url.replace("/a/", "/b/");
    let missing = bench.client.get(url).basic_auth("user", Some("secret")).send().await.unwrap();
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
}
