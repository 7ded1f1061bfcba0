//! The socket that containerd connects to.

use std::fs;
use std::io::{ErrorKind, Result};
use std::path::Path;

use futures::stream;
use tokio::net::{UnixListener, UnixStream};
use tonic::transport::Server;

use crate::service::SnapshotsService;

/// Listens at `path`. A socket that nobody listens at any more is replaced.
///
/// # Errors
///
/// If somebody listens there, or the path cannot be used.
pub async fn listen(path: &Path) -> Result<UnixListener> {
    match UnixStream::connect(path).await {
        Ok(_) => return Err(ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)?,
        Err(_) => {}
    }
    UnixListener::bind(path)
}

/// Answers whoever connects, until `end`; requests that came before are answered.
///
/// # Errors
///
/// If the server cannot go on.
pub async fn serve(
    listener: UnixListener,
    service: SnapshotsService,
    end: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let incoming = stream::unfold(listener, async |listener| {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    Server::builder().serve_with_incoming_shutdown(service, Box::pin(incoming), end).await?;
    Ok(())
}
