//! A blob at an HTTP endpoint.
//!
//! ```text
//!          ┌ a signed URL is known ─► storage host ─ 400 401 403 404, 3xx ─► forget it ┐
//!  fetch ──┤                                                                         ▼
//!          └ none is: the first goes, the others wait ─► locate(Fresh) ─► endpoint, its redirects
//!                                                                                         │
//!                          endpoint, its redirects ◄─ locate(Rejected) ◄─ 401 403 of the endpoint's host
//! ```
//!
//! Every edge is taken at most once per fetch; trying again is up to the caller.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use futures::stream;
use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{Response, Url};
use tokio::time::{Instant, timeout_at};

use super::answer::{self, Body};
use super::client::{Exchange, HttpClient, transport};
use super::endpoint::{Endpoint, Locate, Location, presentable};
use super::redirect;
use super::way::{Start, Way};
use crate::source::{BlobSource, ByteStream, FetchRequest, Progress, check_bounds};
use crate::{Error, ErrorKind, Result};

/// A blob over HTTP as a [`BlobSource`]. Needs a tokio runtime around it: use
/// [`TokioRuntime`](crate::TokioRuntime) for the cache.
///
/// The origin is trusted with nothing: an answer that is not provably the range asked for is an error.
/// Headers of the [`Endpoint`] are sent to the scheme, host and port of its URL only, and not again once a
/// redirect has left it. At most five redirects are followed, none from https to http.
#[derive(Debug)]
pub struct HttpSource {
    client: HttpClient,
    endpoint: Arc<dyn Endpoint>,
    size: u64,
    /// What every URL is put behind.
    proxy: Option<String>,
    way: Way,
}

impl HttpSource {
    /// The blob of `size` bytes that `endpoint` locates.
    pub fn new(client: HttpClient, endpoint: Arc<dyn Endpoint>, size: u64) -> Self {
        Self { client, endpoint, size, proxy: None, way: Way::default() }
    }

    /// Sends every request through a caching proxy of the kind that takes the URL behind its own, as those
    /// of Dragonfly and of overlaybd's peer-to-peer mode do: `http://localhost:65001/prefix` is asked for
    /// `http://localhost:65001/prefix/https://host/path`. The proxy sees the headers of the
    /// [`Endpoint`].
    ///
    /// A proxy that may be away is put before the origin by a [`Fallback`](crate::Fallback) of two sources.
    #[must_use]
    pub fn with_proxy(mut self, prefix: impl Into<String>) -> Self {
        self.proxy = Some(prefix.into());
        self
    }

    async fn answer(&self, request: &FetchRequest) -> Result<Answer> {
        let mut finder = None;
        // The second way is the one that another request has found meanwhile.
        for _ in 0..2 {
            let url = match self.way.start(request).await {
                Start::Endpoint(found) => {
                    finder = found;
                    break;
                }
                Start::Signed(url) => url,
            };
            match self.get(&url, &[], request).await {
                Ok(exchange) if !is_stale(exchange.response.status().as_u16()) => {
                    return Ok(Answer { exchange, url, at_home: false });
                }
                Ok(_) => self.way.forget(&url),
                Err(error) => {
                    // The storage host may be gone; the endpoint knows a better one.
                    self.way.forget(&url);
                    return Err(error);
                }
            }
        }
        let mut location = self.endpoint.locate(Locate::Fresh).await?;
        let mut answer = self.follow(&location, request).await?;
        for _ in 0..MAX_REJECTIONS {
            let status = answer.exchange.response.status().as_u16();
            if !answer.at_home || !matches!(status, 401 | 403) {
                break;
            }
            let challenges = challenges(&answer.exchange.response);
            // Frees the connection before the endpoint may want one.
            drop(answer);
            let rejected = Locate::Rejected { status, challenges, location: location.clone() };
            let next = self.endpoint.locate(rejected).await?;
            answer = self.follow(&next, request).await?;
            if next == location {
                break;
            }
            location = next;
        }
        if answer.exchange.response.status().is_success() {
            if answer.at_home {
                self.way.leads_home();
            } else {
                self.way.leads_to(answer.url.clone());
            }
        }
        drop(finder);
        Ok(answer)
    }

    /// Asks at `location` and follows redirects.
    async fn follow(&self, location: &Location, request: &FetchRequest) -> Result<Answer> {
        let home = redirect::start(location.url())?;
        let (mut url, mut at_home) = (home.clone(), true);
        for _ in 0..=MAX_REDIRECTS {
            let headers = if at_home { location.headers() } else { &[] };
            let exchange = self.get(&url, headers, request).await?;
            if !redirect::is_redirect(exchange.response.status().as_u16()) {
                return Ok(Answer { exchange, url, at_home });
            }
            url = redirect::target(&url, &exchange.response)?;
            at_home = at_home && redirect::same_origin(&url, &home);
        }
        Err(Error::new(ErrorKind::Refused, format!("more than {MAX_REDIRECTS} redirects")))
    }

    async fn get(&self, url: &Url, headers: &[(String, String)], request: &FetchRequest) -> Result<Exchange> {
        match &self.proxy {
            None => self.client.get(url, headers, request).await,
            Some(prefix) => {
                let behind = redirect::start(&format!("{}/{url}", prefix.trim_end_matches('/')))?;
                self.client.get(&behind, headers, request).await
            }
        }
    }
}

#[async_trait]
impl BlobSource for HttpSource {
    async fn fetch(&self, request: FetchRequest) -> Result<ByteStream> {
        let range = request.range.clone();
        check_bounds(&range, self.size)?;
        if range.is_empty() {
            return Ok(Box::pin(stream::empty()));
        }
        let deadline = Instant::from_std(request.deadline);
        let answer = timeout_at(deadline, self.answer(&request)).await.map_err(|_| out_of_time())??;
        let Answer { exchange, url, at_home } = answer;
        let response = &exchange.response;
        let body = answer::judge(response.status().as_u16(), response.headers(), &range, self.size);
        let body = body.map_err(|e| {
            // A host whose answer is none is no way to the bytes.
            if !at_home {
                self.way.forget(&url);
            }
            named(&url, e)
        })?;
        let missing = range.end.saturating_sub(range.start).saturating_sub(body.len);
        let pieces = Pieces { exchange, url, body, missing, deadline, progress: request.progress };
        Ok(Box::pin(stream::try_unfold(pieces, Pieces::next)))
    }
}

/// The last answer and where it comes from.
struct Answer {
    exchange: Exchange,
    url: Url,
    /// Whether no redirect has led away from the endpoint's origin.
    at_home: bool,
}

/// The wanted bytes of a body.
struct Pieces {
    exchange: Exchange,
    url: Url,
    body: Body,
    /// Bytes of the request that the origin left out.
    missing: u64,
    deadline: Instant,
    progress: Progress,
}

impl Pieces {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        loop {
            if self.body.len == 0 {
                return match self.missing {
                    0 => Ok(None),
                    missing => Err(self.ended(missing)),
                };
            }
            let chunk =
                timeout_at(self.deadline, self.exchange.response.chunk()).await.map_err(|_| out_of_time())?;
            let Some(mut piece) = chunk.map_err(|e| transport(&self.url, e))? else {
                return Err(self.ended(self.body.len.saturating_add(self.missing)));
            };
            let skipped = self.body.skip.min(piece.len() as u64);
            // Not more than the piece's length.
            piece.advance(usize::try_from(skipped).unwrap_or(piece.len()));
            self.body.skip = self.body.skip.saturating_sub(skipped);
            if piece.is_empty() {
                self.progress.moved();
                continue;
            }
            let wanted = usize::try_from(self.body.len).unwrap_or(usize::MAX);
            if piece.len() > wanted && !self.body.whole {
                let error = Error::new(ErrorKind::Protocol, "a body longer than its range");
                return Err(named(&self.url, error));
            }
            piece.truncate(wanted);
            self.body.len = self.body.len.saturating_sub(piece.len() as u64);
            return Ok(Some((piece, self)));
        }
    }

    fn ended(&self, missing: u64) -> Error {
        let why = format!("the body ended with {missing} bytes missing");
        named(&self.url, Error::new(ErrorKind::Connection, why))
    }
}

/// Answers of a storage host after which its signed URL is worth nothing.
fn is_stale(status: u16) -> bool {
    matches!(status, 400 | 401 | 403 | 404) || redirect::is_redirect(status)
}

fn challenges(response: &Response) -> Vec<String> {
    let values = response.headers().get_all(WWW_AUTHENTICATE).iter();
    values.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
}

/// `error`, with the URL it came from.
fn named(url: &Url, error: Error) -> Error {
    error.during(format!("get {}", presentable(url.as_str())))
}

fn out_of_time() -> Error {
    Error::new(ErrorKind::DeadlineExceeded, "the origin did not answer in time")
}

/// More credentials than one repository has.
const MAX_REJECTIONS: usize = 4;
/// A registry, a storage host and a few mirrors; what needs more is a loop.
const MAX_REDIRECTS: usize = 5;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::StreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::HttpOptions;

    /// A server without ranges, for one request.
    async fn serve_whole(len: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            assert!(socket.read(&mut [0; 4096]).await.unwrap() > 0);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n");
            socket.write_all(&[head.as_bytes(), &vec![7; len]].concat()).await.unwrap();
        });
        origin
    }

    #[tokio::test]
    async fn skipping_is_a_sign_of_life() {
        let size = 1 << 20;
        let location = Location::new(serve_whole(size).await);
        let client = HttpClient::new(HttpOptions::default()).unwrap();
        let source = HttpSource::new(client, Arc::new(location), size as u64);
        let deadline = Instant::now() + Duration::from_secs(60);
        let request = FetchRequest::new(size as u64 - 10..size as u64, deadline.into());
        let progress = request.progress.clone();
        let mut stream = source.fetch(request).await.unwrap();
        let (before, _) = progress.look();
        assert_eq!(stream.next().await.unwrap().unwrap(), [7; 10].as_slice());
        assert!(progress.look().0 > before);
    }
}
