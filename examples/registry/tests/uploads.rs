//! Uploads that break off, and chunks that are too short.

use registry::{Digest, Registry, Server};
use reqwest::header::{LOCATION, RANGE};
use reqwest::{Client, StatusCode};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

async fn open(server: &Server) -> String {
    let url = format!("{}/v2/a/blobs/uploads/", server.url());
    let response = Client::new().post(url).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    response.headers()[LOCATION].to_str().unwrap().to_owned()
}

/// The range that a session says it has.
async fn received(server: &Server, location: &str) -> String {
    let response = reqwest::get(format!("{}{location}", server.url())).await.unwrap();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    response.headers()[RANGE].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_arrived_of_a_broken_chunk_is_kept() {
    let server = Registry::builder().serve().await.unwrap();
    let location = open(&server).await;
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    let head = format!("PATCH {location} HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n0123");
    stream.write_all(head.as_bytes()).await.unwrap();
    drop(stream);
    // The server learns of the end in its own time; asking again is how a client would find out too.
    let mut asked = 0;
    while received(&server, &location).await != "0-3" {
        asked += 1;
        assert!(asked < 1000, "the session never had the four bytes");
    }
    let digest = Digest::sha256(b"0123456789");
    let url = format!("{}{location}?digest={digest}", server.url());
    let response = Client::new().put(url).header("content-range", "4-9").body("456789").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn only_the_last_chunk_may_be_short() {
    let server = Registry::builder().chunk_min_length(4).serve().await.unwrap();
    let client = Client::new();
    let patch = async |location: &str, chunk: &'static str| {
        let url = format!("{}{location}", server.url());
        client.patch(url).body(chunk).send().await.unwrap().status()
    };
    let location = open(&server).await;
    assert_eq!(patch(&location, "0123").await, StatusCode::ACCEPTED);
    assert_eq!(patch(&location, "45").await, StatusCode::ACCEPTED);
    assert_eq!(patch(&location, "6789").await, StatusCode::BAD_REQUEST);
    assert_eq!(received(&server, &location).await, "0-5");
    let url = format!("{}{location}?digest={}", server.url(), Digest::sha256(b"012345"));
    assert_eq!(client.put(url).send().await.unwrap().status(), StatusCode::CREATED);
}

#[tokio::test]
async fn the_least_length_of_a_chunk_is_told() {
    let server = Registry::builder().chunk_min_length(4).serve().await.unwrap();
    let url = format!("{}/v2/a/blobs/uploads/", server.url());
    let response = Client::new().post(url).send().await.unwrap();
    assert_eq!(response.headers()["oci-chunk-min-length"], "4");
}
