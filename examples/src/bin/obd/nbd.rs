//! `obd nbd`.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use examples::nbd::{self, Export};
use lazy_fetch::Stats;
use overlaybd_format::ReadWriteAt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::interrupt::Interrupted;
use crate::source::Source;

/// Serve a device as a network block device until interrupted.
///
/// For qemu, nbdcopy, nbd-client and whatever else speaks NBD (fixed newstyle, structured replies,
/// block status, several connections; no TLS). The export has any name. The first line on standard
/// error is `listening on ADDRESS:PORT`; SIGINT and SIGTERM end it. What cannot be read is an I/O
/// error for the client, after the time of --timeout at the latest, and never zeros. The device of a
/// config.v1.json with an upper can be written.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd nbd registry.example/team/app:1 --listen 127.0.0.1:10809

JSON keys:
  virtual_size   size of the device in bytes
  requests       requests to a registry for parts of blobs
  fetched_bytes  what came in answer to them"
)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// Where to listen; port 0 is a free port.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:10809")]
    listen: SocketAddr,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let interrupted = Interrupted::new()?;
    if let Some(device) = args.source.writable().await? {
        let device = Arc::new(device);
        let served = serve(args.listen, Export::writable(device.clone()), interrupted).await;
        device.flush()?;
        served?;
        return Ok(said(device.size(), &Stats::default()));
    }
    args.source
        .read_device(async |image| {
            serve(args.listen, Export::image(image.device.clone()), interrupted).await?;
            Ok(said(image.reader().size(), &image.stats()))
        })
        .await
}

async fn serve(listen: SocketAddr, export: Export, mut interrupted: Interrupted) -> Result<()> {
    let place = || listen.to_string();
    let listener = TcpListener::bind(listen).await.with_context(place)?;
    eprintln!("listening on {}", listener.local_addr().with_context(place)?);
    let (stop, stopped) = watch::channel(false);
    tokio::join!(nbd::serve(listener, export, stopped), async {
        interrupted.wait().await;
        let _ = stop.send(true);
    });
    Ok(())
}

fn said(size: u64, cost: &Stats) -> Value {
    json!({ "virtual_size": size, "requests": cost.requests, "fetched_bytes": cost.bytes_fetched })
}
