//! Putting a server together.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;

use crate::auth::{Auth, Gate};
use crate::faults::{Faults, Rule};
use crate::link::{Link, Path};
use crate::log::{Listener, Log};
use crate::redirect::Redirects;
use crate::referrers::Subjects;
use crate::registry::{Registry, TOKEN_PATH};
use crate::server::Server;
use crate::store::Store;
use crate::upload::Uploads;

/// What a server is to be like.
#[derive(Debug, Default)]
#[must_use]
pub struct Builder {
    store: Option<Store>,
    auth: Auth,
    link: Option<Link>,
    faults: Faults,
    redirect_blobs: bool,
    chunk_min: u64,
}

impl Builder {
    /// Serves the content of `store`.
    pub fn store(self, store: Store) -> Self {
        Self { store: Some(store), ..self }
    }

    /// Asks for credentials.
    pub fn auth(self, auth: Auth) -> Self {
        Self { auth, ..self }
    }

    /// Puts `link` between the server and its clients.
    pub fn link(self, link: Link) -> Self {
        Self { link: Some(link), ..self }
    }

    /// Starts with a fault switched on.
    pub fn fault(self, rule: impl Into<Rule>) -> Self {
        self.faults.add(rule);
        self
    }

    /// Answers a `GET` of a blob with a redirect to a second listener, with a signed URL that expires.
    pub fn redirect_blobs(self) -> Self {
        Self { redirect_blobs: true, ..self }
    }

    /// Asks for chunks of at least `bytes` in an upload, the last one excepted.
    pub fn chunk_min_length(self, bytes: u64) -> Self {
        Self { chunk_min: bytes, ..self }
    }

    /// Starts the server on a free port of the loopback address.
    ///
    /// # Errors
    ///
    /// As [`serve_at`](Self::serve_at).
    pub async fn serve(self) -> io::Result<Server> {
        self.serve_at(LOOPBACK).await
    }

    /// Starts the server at `address`; port 0 is a free port. Further listeners take free ports of the
    /// same address.
    ///
    /// # Errors
    ///
    /// If an address cannot be bound, or the store's manifests cannot be read.
    pub async fn serve_at(self, address: SocketAddr) -> io::Result<Server> {
        let beside = SocketAddr::new(address.ip(), 0);
        let registry = TcpListener::bind(address).await?;
        let origin = origin(&registry)?;
        let mut listeners = vec![(Listener::Registry, registry)];
        let mut realm = format!("{origin}{TOKEN_PATH}");
        if matches!(&self.auth, Auth::Bearer(bearer) if bearer.has_own_listener()) {
            let token = TcpListener::bind(beside).await?;
            realm = format!("{}{TOKEN_PATH}", self::origin(&token)?);
            listeners.push((Listener::Token, token));
        }
        let mut redirects = None;
        if self.redirect_blobs {
            let storage = TcpListener::bind(beside).await?;
            redirects = Some(Redirects::new(self::origin(&storage)?));
            listeners.push((Listener::Storage, storage));
        }
        let store = self.store.unwrap_or_else(Store::memory).0;
        let registry = Registry {
            subjects: Subjects::load(&*store)?,
            store,
            uploads: Uploads::new(self.chunk_min),
            gate: Gate::new(self.auth, realm),
            redirects,
            faults: self.faults,
            log: Log::new(),
            origin,
            connections: AtomicU64::new(0),
            writing: Mutex::default(),
        };
        Server::start(registry, listeners, self.link.map(|link| Arc::new(Path::new(link))))
    }
}

fn origin(listener: &TcpListener) -> io::Result<String> {
    Ok(format!("http://{}", listener.local_addr()?))
}

/// A free port of the loopback interface.
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
