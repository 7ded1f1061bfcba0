//! An HTTP/1.1 server made by hand, so that it can be as wrong as a test wants it.

#![allow(dead_code, reason = "each test uses its part")]

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The range asked for, as first and last byte.
    pub(crate) fn range(&self) -> Option<(usize, usize)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?))
    }
}

/// The bytes to send, and whether to keep the connection open without a word after them.
pub(crate) enum Reply {
    Bytes(Vec<u8>),
    ThenStall(Vec<u8>),
}

/// A server that logs what it is asked.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) origin: String,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Starts a server that answers each request with what `answer` says for it and its number.
    pub(crate) async fn start(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { origin, log: Arc::default() };
        let (log, answer) = (Arc::clone(&server.log), Arc::new(answer));
        tokio::spawn(async move {
            loop {
                let Ok((mut socket, _)) = listener.accept().await else { return };
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = socket.read_u8().await else { return };
                        head.push(byte);
                    }
                    let request = parse(&String::from_utf8(head).unwrap());
                    let number = {
                        let mut log = log.lock().unwrap();
                        log.push(request.clone());
                        log.len() - 1
                    };
                    let (bytes, stall) = match answer(&request, number) {
                        Reply::Bytes(bytes) => (bytes, false),
                        Reply::ThenStall(bytes) => (bytes, true),
                    };
                    let _ = socket.write_all(&bytes).await;
                    if stall {
                        std::future::pending::<()>().await;
                    }
                    let _ = socket.shutdown().await;
                });
            }
        });
        server
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }
}

fn parse(head: &str) -> Request {
    let mut lines = head.lines();
    let target = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Request { target, headers }
}

/// An answer of the given status line, headers and body; the connection closes after it.
pub(crate) fn reply(status: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let mut bytes = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// The answer of a server that does what it should.
pub(crate) fn serve(content: &[u8], request: &Request) -> Vec<u8> {
    let (first, last) = request.range().unwrap();
    let range = format!("Content-Range: bytes {first}-{last}/{}", content.len());
    let length = format!("Content-Length: {}", last - first + 1);
    reply("206 Partial Content", &[&range, &length], &content[first..=last])
}

/// The whole blob, whatever range was asked for.
pub(crate) fn serve_whole(content: &[u8]) -> Vec<u8> {
    reply("200 OK", &[&format!("Content-Length: {}", content.len())], content)
}

pub(crate) fn content(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8).collect()
}
