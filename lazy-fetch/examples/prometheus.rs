//! What a cache tells, in the text format of Prometheus: `curl` the address that this prints.
//!
//! No exporter crate is needed for counts and histograms that are kept anyway.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use lazy_fetch::{Blob, BlobId, Cache, Histogram, MemorySource, Result, Stats, TokioRuntime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Every count, and both histograms.
fn exposition(stats: &Stats) -> String {
    let mut text = String::new();
    for (name, count) in stats.counts() {
        let _ = writeln!(text, "# TYPE lazy_fetch_{name}_total counter\nlazy_fetch_{name}_total {count}");
    }
    histogram(&mut text, "lazy_fetch_read_seconds", &stats.read_latency);
    histogram(&mut text, "lazy_fetch_first_byte_seconds", &stats.first_byte_latency);
    text
}

/// The format has cumulative counts by upper end; one bucket for each doubling is plenty.
fn histogram(text: &mut String, name: &str, histogram: &Histogram) {
    let (mut below, mut sum) = (0, 0.0);
    let _ = writeln!(text, "# TYPE {name} histogram");
    for (i, (upper, count)) in histogram.buckets().enumerate() {
        below += count;
        sum += upper.as_secs_f64() * count as f64;
        if i % 4 == 3 {
            let _ = writeln!(text, "{name}_bucket{{le=\"{}\"}} {below}", upper.as_secs_f64());
        }
    }
    let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {below}\n{name}_sum {sum}\n{name}_count {below}");
}

/// Something to look at.
async fn read_now_and_then(blob: Blob) -> Result<()> {
    for at in (0..blob.size() - 4096).step_by(10_007).cycle() {
        blob.read_at(&mut [0; 4096], at).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let cache = Cache::builder(Arc::new(TokioRuntime::current()?)).build()?;
    let source = Arc::new(MemorySource::new(vec![7; 16 << 20]));
    let blobs = ["one", "two"].map(|name| Ok(cache.open(BlobId::new(name)?, 16 << 20, source.clone())));
    let blobs = blobs.into_iter().collect::<Result<Vec<Blob>>>()?;
    for blob in blobs.clone() {
        tokio::spawn(read_now_and_then(blob));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/metrics", listener.local_addr()?);
    loop {
        let (mut client, _) = listener.accept().await?;
        let _ = client.read(&mut [0; 4096]).await?;
        let body = exposition(&blobs.iter().map(Blob::stats).sum());
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        client.write_all((head + &body).as_bytes()).await?;
    }
}
