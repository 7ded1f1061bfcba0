//! The link model end to end, on virtual time: what requests cost a client on a real socket.

use std::time::Duration;

use registry::{Link, Registry, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

const ROUND_TRIP: Duration = Duration::from_millis(20);
const BLOB: usize = 1_000_000;

async fn server() -> (Server, String) {
    let server = Registry::builder().link(Link::mbit(100, ROUND_TRIP)).serve().await.unwrap();
    let digest = server.put_blob("a", vec![1; BLOB].into()).unwrap();
    (server, format!("/v2/a/blobs/{digest}"))
}

/// Reads `len` bytes of the blob over a connection.
async fn read(stream: &mut TcpStream, path: &str, len: usize) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nrange: bytes=0-{}\r\n\r\n", len - 1);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 206 "));
    stream.read_exact(&mut vec![0; len]).await.unwrap();
}

fn millis(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// Two round trips, five windows, and the rest at full bandwidth, as the model says. The headers are
/// half a kilobyte more.
#[tokio::test(start_paused = true)]
async fn a_large_read_on_a_fresh_connection() {
    let (server, path) = server().await;
    let start = Instant::now();
    read(&mut TcpStream::connect(server.addr()).await.unwrap(), &path, BLOB).await;
    let took = millis(start);
    assert!((183.0..187.0).contains(&took), "{took} ms");
}

#[tokio::test(start_paused = true)]
async fn connections_are_dearer_than_requests() {
    let (server, path) = server().await;
    let start = Instant::now();
    for _ in 0..10 {
        read(&mut TcpStream::connect(server.addr()).await.unwrap(), &path, 100).await;
    }
    let fresh = millis(start);
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    let start = Instant::now();
    for _ in 0..10 {
        read(&mut stream, &path, 100).await;
    }
    let kept = millis(start);
    assert!((400.0..425.0).contains(&fresh), "{fresh} ms");
    assert!((220.0..235.0).contains(&kept), "{kept} ms");
}

#[tokio::test(start_paused = true)]
async fn connections_side_by_side_share_the_bandwidth() {
    let (server, path) = server().await;
    let start = Instant::now();
    let reads = (0..4).map(|_| {
        let (path, address) = (path.clone(), server.addr());
        tokio::spawn(async move { read(&mut TcpStream::connect(address).await.unwrap(), &path, BLOB).await })
    });
    for task in reads.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let took = millis(start);
    // 4 MB are 320 ms of bandwidth; four slow starts fill the pipe sooner than one.
    assert!((360.0..430.0).contains(&took), "{took} ms");
}
