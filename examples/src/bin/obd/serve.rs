//! `obd registry`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use registry::{Account, Auth, Bearer, Fault, Link, Registry, Rule, Store};
use serde_json::{Value, json};

use crate::interrupt::Interrupted;

/// Serve a directory as an OCI registry until interrupted.
///
/// For tests and demonstrations: plain HTTP, with a modelled link, credentials and faults on
/// request. The first line on standard error is `listening on ADDRESS:PORT`; SIGINT and SIGTERM end
/// it. Faults strike the answers whose path contains the text of --on, the next --times of them.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Example: obd registry --dir content/ --listen 127.0.0.1:5000 --cut-at 1000 --on /blobs/ --times 1

JSON keys:
  requests  requests until the end"
)]
pub(crate) struct Args {
    /// The directory that holds the content; made if it is not there.
    #[arg(long)]
    dir: PathBuf,
    /// Where to listen; port 0 is a free port.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Bandwidth of a modelled link.
    #[arg(long, value_name = "MBIT", requires = "round_trip")]
    bandwidth: Option<u64>,
    /// Round-trip time of a modelled link.
    #[arg(long, value_name = "MS", requires = "bandwidth")]
    round_trip: Option<u64>,
    /// Redirect blobs to a second listener.
    #[arg(long)]
    redirect_blobs: bool,
    /// Ask for this user name and password, by tokens.
    #[arg(long, value_name = "NAME:PASSWORD")]
    account: Option<String>,
    #[command(flatten)]
    faults: Faults,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Faults")]
struct Faults {
    /// Have no Referrers API.
    #[arg(long)]
    no_referrers: bool,
    /// Answer the Referrers API with 404 and a JSON error of this code.
    #[arg(long, value_name = "CODE")]
    referrers_error: Option<String>,
    /// Answer ranged requests with the whole blob.
    #[arg(long)]
    ignore_ranges: bool,
    /// Say that ranges start one byte further on than they do.
    #[arg(long)]
    wrong_content_range: bool,
    /// Go on behind the end of ranges.
    #[arg(long)]
    long_body: bool,
    /// Answer with a web page.
    #[arg(long)]
    html: bool,
    /// Invert a bit of this byte of bodies.
    #[arg(long, value_name = "BYTE")]
    flip_at: Option<u64>,
    /// Close connections after so many bytes of a body.
    #[arg(long, value_name = "BYTES")]
    cut_at: Option<u64>,
    /// Fall silent after so many bytes of a body.
    #[arg(long, value_name = "BYTES")]
    stall_at: Option<u64>,
    /// Answer with this status.
    #[arg(long)]
    status: Option<u16>,
    /// Redirect token requests to this URL.
    #[arg(long, value_name = "URL")]
    redirect_realm: Option<String>,
    /// Only on paths that contain this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    on: String,
    /// Only so many times, each.
    #[arg(long, value_name = "N")]
    times: Option<u32>,
}

impl Faults {
    fn rules(self) -> impl Iterator<Item = Rule> {
        let faults = [
            self.no_referrers.then_some(Fault::ReferrersOff),
            self.referrers_error.map(|code| Fault::ReferrersError { code }),
            self.ignore_ranges.then_some(Fault::RangeIgnored),
            self.wrong_content_range.then_some(Fault::WrongContentRange),
            self.long_body.then_some(Fault::LongBody),
            self.html.then_some(Fault::Html),
            self.flip_at.map(|at| Fault::BitFlip { at }),
            self.cut_at.map(|at| Fault::Cut { at }),
            self.stall_at.map(|at| Fault::Stall { at }),
            self.status.map(Fault::Status),
            self.redirect_realm.map(|to| Fault::RealmRedirect { to }),
        ];
        faults.into_iter().flatten().map(move |fault| {
            let rule = fault.on(self.on.as_str());
            match self.times {
                Some(times) => rule.times(times),
                None => rule,
            }
        })
    }
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
    if let Some(account) = args.account {
        let (name, password) = account.split_once(':').context("--account is not NAME:PASSWORD")?;
        builder = builder.auth(Auth::Bearer(Bearer::new(Account::new(name, password))));
    }
    for rule in args.faults.rules() {
        builder = builder.fault(rule);
    }
    let mut interrupted = Interrupted::new()?;
    let server = builder.serve_at(args.listen).await.with_context(|| args.listen.to_string())?;
    eprintln!("listening on {}", server.addr());
    interrupted.wait().await;
    let requests = server.log().len();
    server.shutdown().await;
    Ok(json!({ "requests": requests }))
}
