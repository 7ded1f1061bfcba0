//! A device as a network block device: what `qemu-nbd`, `nbdcopy`, `nbd-client` and virtual machine
//! monitors talk to.
//!
//! The protocol is that of the NBD project's `doc/proto.md`, in the fixed newstyle form:
//!
//! ```text
//! negotiation    options: EXPORT_NAME GO INFO LIST STRUCTURED_REPLY {LIST,SET}_META_CONTEXT ABORT
//! transmission   requests in flight side by side, each answered when it is done
//! ```
//!
//! Structured replies, `base:allocation` block status and several connections to one device are there;
//! TLS is not. A read that fails is answered with EIO and the reason as text, never with zeros.

mod connection;
mod negotiation;
mod reply;
mod request;

use std::fmt;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use overlaybd_format::{Extent, ExtentKind, Image, ReadOnly, ReadWriteAt, Result};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// What a server offers under any name a client asks for.
#[derive(Clone)]
pub struct Export {
    device: Arc<dyn ReadWriteAt>,
    /// Tells which bytes read as zeros.
    image: Option<Arc<Image>>,
    writable: bool,
}

impl Export {
    /// A device that cannot be written.
    pub fn image(image: Arc<Image>) -> Self {
        Self { device: Arc::new(ReadOnly(Arc::clone(&image))), image: Some(image), writable: false }
    }

    /// A device that can be written.
    pub fn writable(device: Arc<dyn ReadWriteAt>) -> Self {
        Self { device, image: None, writable: true }
    }

    /// Runs of `range` and whether they are known to read as zeros.
    fn allocation(&self, range: Range<u64>) -> Result<Vec<(u64, bool)>> {
        let Some(image) = &self.image else { return Ok(vec![(range.end - range.start, false)]) };
        let mut runs: Vec<(u64, bool)> = Vec::new();
        for extent in image.map(range)? {
            let Extent { device, kind } = extent?;
            let (len, zero) =
                (device.end - device.start, matches!(kind, ExtentKind::Hole | ExtentKind::Zeroed { .. }));
            match runs.last_mut() {
                Some(last) if last.1 == zero => last.0 += len,
                _ => runs.push((len, zero)),
            }
        }
        Ok(runs)
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, writable, .. } = self;
        f.debug_struct("Export").field("size", &device.size()).field("writable", writable).finish()
    }
}

/// Serves `export` to all who connect to `listener`, until `stop` turns true or its sender is gone. Requests
/// that are being answered then have five seconds.
pub async fn serve(listener: TcpListener, export: Export, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let stopped = stop.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    let (export, stop) = (export.clone(), stopped.clone());
                    connections.spawn(async move {
                        if let Err(error) = connection::serve(socket, &export, stop).await {
                            report(format_args!("connection of {peer}: {error}"));
                        }
                    });
                }
                // The client gave up, or there are no descriptors left until another connection ends.
                Err(error) => {
                    report(format_args!("accepting a connection: {error}"));
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            _ = stop.wait_for(|&stop| stop) => break,
            Some(_) = connections.join_next() => {}
        }
    }
    // A client that does not take its answers must not keep the server.
    let _ = timeout(LAST_ANSWERS, async { while connections.join_next().await.is_some() {} }).await;
    connections.shutdown().await;
}

/// Says what happened to whoever still listens.
fn report(what: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{what}");
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
const LAST_ANSWERS: Duration = Duration::from_secs(5);
