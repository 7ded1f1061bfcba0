//! A service that converts every image which is pushed, and those that it is asked for.
//!
//! ```text
//!   webhook ─┐
//!   poll ────┼─► rules ─► queue ─► worker ─► converter ─► attached to its base image
//!   request ─┘    │      (on disk)   │
//!            what, how             is it an image? is it done already?
//! ```
//!
//! The base image is only read. What a webhook says is a hint: the image is looked at in the registry that the
//! configuration names before anything is done. That the service's own pushes come back as events does no harm,
//! since what belongs to an image, or is accelerated, is not converted.

use std::fmt;
use std::sync::Arc;

use anyhow::{Result, bail};
use async_trait::async_trait;
use referrers::{Digest, Registry};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use self::job::Job;
use self::metrics::Metrics;
use self::queue::Queue;
use self::server::Secret;
use self::settings::Settings;

pub mod image_converter;
pub mod job;
mod metrics;
mod page;
mod poll;
pub mod push;
pub mod queue;
mod server;
pub mod settings;
mod worker;

/// What converts images.
///
/// # Contract
///
/// * The image is converted as the job says, and the accelerated image attached to it; the answer is its digest.
/// * The image itself is not changed, nor its tag.
/// * A conversion that is dropped or killed at any point and made again gives the same image once.
#[async_trait]
pub trait Convert: Send + Sync + fmt::Debug {
    /// Converts the image of `job`.
    ///
    /// # Errors
    ///
    /// Whatever stands in the way; it is tried again a few times.
    async fn convert(&self, job: &Job) -> Result<Digest>;
}

/// The service.
#[derive(Debug)]
pub struct Service {
    settings: Settings,
    registry: Registry,
    queue: Queue,
    convert: Arc<dyn Convert>,
    secret: Option<Secret>,
    metrics: Metrics,
}

impl Service {
    /// A service that reads from `registry` and converts with `convert`. With a `secret`, webhooks and requests
    /// must carry it as `Authorization`, alone or as a Bearer token.
    pub fn new(
        settings: Settings,
        registry: Registry,
        queue: Queue,
        convert: Arc<dyn Convert>,
        secret: Option<&str>,
    ) -> Arc<Self> {
        let (secret, metrics) = (secret.map(Secret::new), Metrics::default());
        Arc::new(Self { settings, registry, queue, convert, secret, metrics })
    }

    /// Listens at `listener`, looks at tags and converts, until it is dropped. What is under way then waits for
    /// the next start.
    ///
    /// # Errors
    ///
    /// If one of its parts has ended, which none does but by a panic.
    pub async fn run(self: Arc<Self>, listener: TcpListener) -> Result<()> {
        let mut tasks = JoinSet::new();
        for _ in 0..self.settings.workers {
            tasks.spawn(Arc::clone(&self).work());
        }
        if let Some(interval) = self.settings.poll_interval() {
            tasks.spawn(Arc::clone(&self).poll(interval));
        }
        tasks.spawn(self.serve(listener));
        let ended = tasks.join_next().await;
        bail!("a part of the service has ended: {ended:?}")
    }
}
