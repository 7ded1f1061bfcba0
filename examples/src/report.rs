//! The result of a run: a table for people, JSON for programs.

use std::fmt;

use serde::Serialize;

use crate::progress::bytes;

/// What a run found. Times are in seconds, sizes in bytes.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was run, and how it was found.
    pub image: String,
    /// The link that the registry was read over, if this run made one.
    pub link: Option<LinkReport>,
    /// Number of layers.
    pub layers: usize,
    /// Length of all layer blobs.
    pub image_bytes: u64,
    /// The start over the lazily loaded image.
    pub start: StartReport,
    /// The check of everything.
    pub verified: VerifiedReport,
    /// The same image's ordinary form, pulled and unpacked before anything can be read.
    pub eager: Option<EagerReport>,
}

/// The modelled link to the registry.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct LinkReport {
    /// Bits per second.
    pub bits_per_second: u64,
    /// Round-trip time in seconds.
    pub round_trip: f64,
}

/// From the tag to the last byte of the start set.
#[derive(Debug, Clone, Serialize)]
pub struct StartReport {
    /// Parts of files in the start set.
    pub slices: usize,
    /// Bytes of files in the start set.
    pub bytes: u64,
    /// Bytes of blobs that were fetched for them.
    pub fetched: u64,
    /// Requests for blobs.
    pub requests: u64,
    /// Until the first byte of a file was there, the resolution of the tag included.
    pub first_byte: f64,
    /// Until the whole start set was there.
    pub seconds: f64,
}

/// What was checked afterwards.
#[derive(Debug, Clone, Serialize)]
pub struct VerifiedReport {
    /// Blobs whose digest was computed.
    pub blobs: usize,
    /// Files that were read through the filesystem.
    pub files: usize,
    /// Bytes of these files.
    pub bytes: u64,
    /// Bytes of blobs fetched in all.
    pub fetched: u64,
    /// Requests for blobs in all.
    pub requests: u64,
    /// How long the check took.
    pub seconds: f64,
    /// Digest of the whole device, where it was known and checked.
    pub device_digest: Option<String>,
}

/// The pull of the ordinary image.
#[derive(Debug, Clone, Serialize)]
pub struct EagerReport {
    /// Length of all layer blobs, each fetched once.
    pub bytes: u64,
    /// Requests for blobs.
    pub requests: u64,
    /// Until the last layer was unpacked.
    pub seconds: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {} layers", self.image, self.layers)?;
        if let Some(link) = &self.link {
            let megabits = link.bits_per_second as f64 / 1e6;
            writeln!(
                f,
                "over a link of {megabits:.0} Mbit/s with {:.0} ms of round-trip time",
                link.round_trip * 1e3
            )?;
        }
        writeln!(f)?;
        let start = &self.start;
        let mut row = |what: &str, lazy: String, eager: Option<String>| {
            let line = format!("{what:24} {lazy:>24} {:>16}", eager.unwrap_or_default());
            writeln!(f, "{}", line.trim_end())
        };
        let eager = self.eager.as_ref();
        row("", "lazily loaded".to_owned(), eager.map(|_| "eager pull".to_owned()))?;
        row("bytes in the image", bytes(self.image_bytes), eager.map(|eager| bytes(eager.bytes)))?;
        let share = format!("{} ({:.1} %)", bytes(start.fetched), percent(start.fetched, self.image_bytes));
        row("bytes fetched", share, eager.map(|eager| bytes(eager.bytes)))?;
        row("requests", start.requests.to_string(), eager.map(|eager| eager.requests.to_string()))?;
        row("time to first byte", seconds(start.first_byte), eager.map(|eager| seconds(eager.seconds)))?;
        row("time to the start set", seconds(start.seconds), eager.map(|eager| seconds(eager.seconds)))?;
        writeln!(f)?;
        writeln!(f, "start set: {} in {} parts of files", bytes(start.bytes), start.slices)?;
        let verified = &self.verified;
        let VerifiedReport { files, blobs, .. } = verified;
        write!(f, "verified in {}: {files} files of {}", seconds(verified.seconds), bytes(verified.bytes))?;
        write!(f, ", {blobs} blobs by digest")?;
        if let Some(digest) = &verified.device_digest {
            write!(f, ", the device as {digest}")?;
        }
        writeln!(f)
    }
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.2} s")
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}
