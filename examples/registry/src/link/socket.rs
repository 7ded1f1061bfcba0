//! An accepted socket, slowed down as the link says, and able to end an answer in the middle.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Flow, PIECE, Path};

/// A socket under the link model; without a link it passes everything through.
#[derive(Debug)]
pub(crate) struct Socket<S> {
    inner: S,
    shape: Option<Shape>,
    scissors: Scissors,
}

impl<S> Socket<S> {
    /// Takes a socket that was accepted just now.
    pub(crate) fn new(inner: S, path: Option<Arc<Path>>, scissors: Scissors) -> Self {
        Self { inner, shape: path.map(Shape::new), scissors }
    }
}

/// Cuts the connection as soon as everything that was written before is on its way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scissors(Arc<AtomicBool>);

impl Scissors {
    pub(crate) fn cut(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_cut(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[derive(Debug)]
struct Shape {
    path: Arc<Path>,
    up: Gate,
    down: Gate,
    /// Bytes that came out of the socket but are still on their way by the model.
    arriving: BytesMut,
    /// A request was read since the last write, so the next write begins an answer.
    asked: bool,
}

impl Shape {
    fn new(path: Arc<Path>) -> Self {
        let (mut up, down) = (Gate::new(), Gate::new());
        up.flow.hold(Instant::now() + path.link.round_trip, &path);
        Self { path, up, down, arriving: BytesMut::new(), asked: false }
    }
}

/// Lets the bytes of one direction through, each grant when its time has come.
#[derive(Debug)]
struct Gate {
    flow: Flow,
    granted: usize,
    sleep: Pin<Box<Sleep>>,
}

impl Gate {
    fn new() -> Self {
        let now = Instant::now();
        Self { flow: Flow::new(now), granted: 0, sleep: Box::pin(sleep_until(now)) }
    }

    /// How many of `wanted` bytes may pass now.
    fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        wanted: usize,
        path: &Path,
        pipe: &std::sync::Mutex<super::Pipe>,
    ) -> Poll<usize> {
        if self.granted == 0 {
            let grant = self.flow.next(Instant::now(), wanted, path, pipe);
            self.granted = grant.bytes;
            self.sleep.as_mut().reset(grant.at);
        }
        if self.sleep.deadline().saturating_duration_since(Instant::now()) >= TICK {
            ready!(self.sleep.as_mut().poll(cx));
        }
        Poll::Ready(self.granted.min(wanted))
    }

    fn passed(&mut self, bytes: usize) {
        self.granted = self.granted.saturating_sub(bytes);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(shape) = &mut this.shape else { return Pin::new(&mut this.inner).poll_read(cx, buf) };
        if shape.arriving.is_empty() {
            shape.arriving.resize(PIECE, 0);
            let mut piece = ReadBuf::new(&mut shape.arriving);
            let polled = Pin::new(&mut this.inner).poll_read(cx, &mut piece);
            let read = piece.filled().len();
            shape.arriving.truncate(read);
            ready!(polled)?;
            if read == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        let wanted = shape.arriving.len().min(buf.remaining());
        let bytes = ready!(shape.up.poll_pass(cx, wanted, &shape.path, &shape.path.up));
        shape.up.passed(bytes);
        shape.asked = true;
        if let Some(piece) = shape.arriving.get(..bytes) {
            buf.put_slice(piece);
        }
        shape.arriving.advance(bytes);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(shape) = &mut this.shape else { return Pin::new(&mut this.inner).poll_write(cx, buf) };
        if std::mem::take(&mut shape.asked) {
            shape.down.flow.hold(Instant::now() + shape.path.link.round_trip, &shape.path);
        }
        let bytes = ready!(shape.down.poll_pass(cx, buf.len(), &shape.path, &shape.path.down));
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, buf.get(..bytes).unwrap_or(buf)))?;
        shape.down.passed(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.shape.is_none() {
            return Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        }
        let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
        Pin::new(this).poll_write(cx, first)
    }

    fn is_write_vectored(&self) -> bool {
        self.shape.is_none() && self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.inner).poll_flush(cx))?;
        if this.scissors.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

/// The tick of tokio's timer. A shorter wait is skipped: the flow's clock is ahead by it, and the next
/// wait is longer by as much.
const TICK: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::Link;

    const ROUND_TRIP: Duration = Duration::from_millis(20);

    fn connect(path: &Arc<Path>) -> (DuplexStream, Socket<DuplexStream>) {
        let (client, server) = duplex(1 << 20);
        (client, Socket::new(server, Some(Arc::clone(path)), Scissors::default()))
    }

    /// One exchange with a small request and an answer of `len` bytes: its time in milliseconds.
    async fn exchange(client: &mut DuplexStream, server: &mut Socket<DuplexStream>, len: usize) -> f64 {
        let start = Instant::now();
        client.write_all(b"request").await.unwrap();
        let mut answer = vec![0; len];
        let serve = async {
            server.read_exact(&mut [0; 7]).await.unwrap();
            server.write_all(&vec![1; len]).await.unwrap();
        };
        tokio::join!(serve, async { client.read_exact(&mut answer).await.unwrap() });
        start.elapsed().as_secs_f64() * 1e3
    }

    fn about(took: f64, expected: f64) {
        assert!((took - expected).abs() <= 2.0, "{took} ms, expected {expected} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn set_up_exchange_and_slow_start_are_charged() {
        let path = Arc::new(Path::new(Link::mbit(100, ROUND_TRIP)));
        let (mut client, mut server) = connect(&path);
        about(exchange(&mut client, &mut server, 1_000_000).await, 183.8);
    }

    #[tokio::test(start_paused = true)]
    async fn a_chatty_client_pays_a_round_trip_for_each_exchange() {
        let path = Arc::new(Path::new(Link::mbit(100, ROUND_TRIP)));
        let (mut client, mut server) = connect(&path);
        about(exchange(&mut client, &mut server, 1_000).await, 40.0);
        let start = Instant::now();
        for _ in 0..50 {
            exchange(&mut client, &mut server, 1_000).await;
        }
        let took = start.elapsed().as_secs_f64() * 1e3;
        assert!((1_000.0..1_060.0).contains(&took), "{took} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn two_connections_share_the_pipe() {
        let path = Arc::new(Path::new(Link::mbit(8, Duration::from_millis(4))));
        let (mut a, mut b) = (connect(&path), connect(&path));
        let start = Instant::now();
        tokio::join!(exchange(&mut a.0, &mut a.1, 500_000), exchange(&mut b.0, &mut b.1, 500_000));
        about(start.elapsed().as_secs_f64() * 1e3, 1_008.0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_client_sends_is_slowed_down_too() {
        let path = Arc::new(Path::new(Link::mbit(100, ROUND_TRIP)));
        let (mut client, mut server) = connect(&path);
        let start = Instant::now();
        let mut got = vec![0; 1_000_000];
        tokio::join!(async { client.write_all(&vec![1; 1_000_000]).await.unwrap() }, async {
            server.read_exact(&mut got).await.unwrap()
        },);
        about(start.elapsed().as_secs_f64() * 1e3, 163.8);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_before_a_cut_arrive() {
        let (mut client, server) = duplex(64);
        let scissors = Scissors::default();
        let mut server = Socket::new(server, None, scissors.clone());
        server.write_all(b"before").await.unwrap();
        scissors.cut();
        assert_eq!(server.flush().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        drop(server);
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"before");
    }
}
