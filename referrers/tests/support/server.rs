//! A scripted HTTP server: a function from requests to responses, and a record of what was asked.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What to answer.
#[derive(Debug, Clone)]
pub struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// How many bytes of the body are sent before the connection is closed.
    cut: Option<usize>,
    chunked: bool,
}

/// A running server; it ends with the test's runtime.
pub struct Server {
    pub host: String,
    record: Arc<Mutex<Vec<Request>>>,
}

type Script = dyn Fn(&Request) -> Response + Send + Sync;

impl Server {
    pub async fn start(script: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let record = Arc::new(Mutex::new(Vec::new()));
        let (script, seen): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&record));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
                tokio::spawn(async move {
                    // A client that goes away is no failure of the server.
                    let _ = serve(stream, &*script, &seen).await;
                });
            }
        });
        Self { host, record }
    }

    /// Everything asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.record.lock().unwrap().clone()
    }

    /// Methods and targets of everything asked so far.
    pub fn asked(&self) -> Vec<String> {
        self.requests().iter().map(|r| format!("{} {}", r.method, r.target)).collect()
    }

    pub fn count(&self, part: &str) -> usize {
        self.asked().iter().filter(|line| line.contains(part)).count()
    }
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    pub fn query(&self, name: &str) -> Option<String> {
        let query = self.target.split_once('?')?.1;
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value.replace("%3A", ":").replace("%2F", "/"))
    }
}

impl Response {
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), cut: None, chunked: false }
    }

    pub fn ok(content_type: &str, body: impl AsRef<[u8]>) -> Self {
        Self::new(200).with("content-type", content_type).body(body)
    }

    pub fn error(status: u16, code: &str) -> Self {
        let body = format!(r#"{{"errors":[{{"code":"{code}","message":"m","detail":null}}]}}"#);
        Self::new(status).with("content-type", "application/json").body(body)
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    pub fn cut_at(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    /// Without a length, so that only reading shows how long the body is.
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }
}

async fn serve(stream: TcpStream, script: &Script, record: &Mutex<Vec<Request>>) -> std::io::Result<()> {
    let mut stream = BufStream::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(()) };
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().unwrap())];
    stream.read_exact(&mut body).await?;
    let request = Request { method, target, headers, body };
    record.lock().unwrap().push(request.clone());
    let response = script(&request);
    let mut head = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", response.status);
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if response.chunked {
        head.push_str("transfer-encoding: chunked\r\n\r\n");
    } else {
        head.push_str(&format!("content-length: {}\r\n\r\n", response.body.len()));
    }
    stream.write_all(head.as_bytes()).await?;
    if request.method != "HEAD" {
        let sent = &response.body[..response.cut.unwrap_or(response.body.len())];
        if response.chunked {
            stream.write_all(format!("{:x}\r\n", sent.len()).as_bytes()).await?;
            stream.write_all(sent).await?;
            stream.write_all(b"\r\n0\r\n\r\n").await?;
        } else {
            stream.write_all(sent).await?;
        }
    }
    stream.flush().await?;
    stream.shutdown().await
}
