//! A running server: its listeners and their connections.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::digest::Digest;
use crate::faults::Faults;
use crate::link::{Path, Scissors, Socket};
use crate::log::{Listener, LoggedRequest};
use crate::registry::Registry;

/// A registry that is being served, until this is dropped.
///
/// ```
/// use registry::Registry;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// let server = Registry::builder().serve().await?;
/// let digest = server.put_blob("library/demo", "a blob".into())?;
/// let url = format!("{}/v2/library/demo/blobs/{digest}", server.url());
/// let body = reqwest::get(url).await.unwrap().text().await.unwrap();
/// assert_eq!(body, "a blob");
/// assert_eq!(server.log()[0].status, Some(200));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Server {
    registry: Arc<Registry>,
    address: SocketAddr,
    listeners: JoinSet<()>,
}

impl Server {
    pub(crate) fn start(
        registry: Registry,
        sockets: Vec<(Listener, TcpListener)>,
        path: Option<Arc<Path>>,
    ) -> io::Result<Self> {
        let address = sockets.first().map(|(_, socket)| socket.local_addr()).transpose()?;
        let address = address.ok_or(io::ErrorKind::InvalidInput)?;
        let registry = Arc::new(registry);
        let mut listeners = JoinSet::new();
        for (listener, socket) in sockets {
            listeners.spawn(accept(Arc::clone(&registry), listener, socket, path.clone()));
        }
        Ok(Self { registry, address, listeners })
    }

    /// Where the registry listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Scheme, host and port, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.registry.origin
    }

    /// Every request so far, in the order of arrival, those to the other listeners included.
    pub fn log(&self) -> Vec<LoggedRequest> {
        self.registry.log.snapshot()
    }

    /// The fault switches.
    pub fn faults(&self) -> &Faults {
        &self.registry.faults
    }

    /// Makes every token invalid that was issued so far.
    pub fn revoke_tokens(&self) {
        self.registry.gate.revoke_tokens();
    }

    /// Puts a blob into the store, past the link and without a request. The bytes are not copied.
    ///
    /// # Errors
    ///
    /// If the name is not a repository name or the store fails.
    pub fn put_blob(&self, repository: &str, bytes: Bytes) -> io::Result<Digest> {
        self.registry.put_blob(repository, bytes).map_err(io::Error::other)
    }

    /// Puts a manifest into the store, past the link and without a request, under `tag` if there is
    /// one.
    ///
    /// # Errors
    ///
    /// If a name is not valid, the bytes are no manifest, something they name is missing, or the store
    /// fails.
    pub fn put_manifest(&self, repository: &str, tag: Option<&str>, bytes: Bytes) -> io::Result<Digest> {
        self.registry.put_manifest(repository, tag, bytes).map_err(io::Error::other)
    }

    /// Closes the listeners and ends all connections, whatever they are doing.
    pub async fn shutdown(mut self) {
        self.listeners.shutdown().await;
    }
}

/// Accepts connections for good. They end with this future, because it owns their tasks.
async fn accept(registry: Arc<Registry>, listener: Listener, socket: TcpListener, path: Option<Arc<Path>>) {
    let mut connections = JoinSet::new();
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                connections.spawn(converse(Arc::clone(&registry), listener, stream, path.clone()));
            }
            // The client gave up, or there are no descriptors left until another connection ends.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(registry: Arc<Registry>, listener: Listener, stream: TcpStream, path: Option<Arc<Path>>) {
    // Without it small answers wait for acknowledgements; that it failed shows in nothing but time.
    let _ = stream.set_nodelay(true);
    let number = registry.next_connection();
    let scissors = Scissors::default();
    let socket = TokioIo::new(Socket::new(stream, path, scissors.clone()));
    let service = service_fn(|request| {
        let (registry, scissors) = (&registry, scissors.clone());
        async move { Ok::<_, Infallible>(registry.serve(listener, number, scissors, request).await) }
    });
    // An error is a client that went away or a fault that cut the connection: nothing to tell anybody.
    let _ = http1::Builder::new().header_read_timeout(None).serve_connection(socket, service).await;
}

/// How long the listener rests after it failed to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
