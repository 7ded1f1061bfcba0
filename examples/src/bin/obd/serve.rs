//! `obd registry`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use registry::{Fault, Link, Registry, Store};
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory that holds the content; made if it is not there.
    #[arg(long)]
    dir: PathBuf,
    /// Where to listen; port 0 is a free port. The address is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Bandwidth of a modelled link, in Mbit/s.
    #[arg(long, requires = "round_trip")]
    bandwidth: Option<u64>,
    /// Round-trip time of a modelled link, in milliseconds.
    #[arg(long, requires = "bandwidth")]
    round_trip: Option<u64>,
    /// Have no Referrers API.
    #[arg(long)]
    no_referrers: bool,
    /// Redirect blobs to a second listener.
    #[arg(long)]
    redirect_blobs: bool,
    /// Answer ranged requests with the whole blob.
    #[arg(long)]
    ignore_ranges: bool,
    /// Close connections after this many bytes of a body, once for each of the next `--times` requests.
    #[arg(long)]
    cut_at: Option<u64>,
    /// Fall silent after this many bytes of a body, for the next `--times` requests.
    #[arg(long)]
    stall_at: Option<u64>,
    /// Answer with this status, for the next `--times` requests.
    #[arg(long)]
    status: Option<u16>,
    /// For how many requests a fault lasts.
    #[arg(long, default_value_t = u32::MAX)]
    times: u32,
}

pub(crate) async fn run(args: Args) -> Result<Value> {
    let store = Store::dir(&args.dir).with_context(|| args.dir.display().to_string())?;
    let mut builder = Registry::builder().store(store);
    if let (Some(megabits), Some(milliseconds)) = (args.bandwidth, args.round_trip) {
        builder = builder.link(Link::mbit(megabits, Duration::from_millis(milliseconds)));
    }
    if args.redirect_blobs {
        builder = builder.redirect_blobs();
    }
    let faults = [
        args.no_referrers.then_some(Fault::ReferrersOff),
        args.ignore_ranges.then_some(Fault::RangeIgnored),
        args.cut_at.map(|at| Fault::Cut { at }),
        args.stall_at.map(|at| Fault::Stall { at }),
        args.status.map(Fault::Status),
    ];
    for fault in faults.into_iter().flatten() {
        builder = builder.fault(fault.times(args.times));
    }
    let server = builder.serve_at(args.listen).await.with_context(|| args.listen.to_string())?;
    eprintln!("listening on {}", server.addr());
    tokio::signal::ctrl_c().await?;
    let requests = server.log().len();
    server.shutdown().await;
    Ok(json!({ "requests": requests }))
}
