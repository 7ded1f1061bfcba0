//! What became of the reads, for people and for the end of a run.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The reads that a server answers.
#[derive(Debug, Default)]
pub struct Reads {
    failed: AtomicU64,
    failing: AtomicBool,
}

impl Reads {
    /// Reads that were answered with an error.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Counts an answered read. Only the turns are told, because an outage fails each of thousands of reads.
    pub(super) fn done<T>(&self, result: &Result<T, impl fmt::Display>) {
        let turned = match result {
            Ok(_) => self.failing.load(Ordering::Relaxed) && self.failing.swap(false, Ordering::Relaxed),
            Err(_) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                !self.failing.swap(true, Ordering::Relaxed)
            }
        };
        if turned {
            // Whoever listened may have gone.
            let _ = match result {
                Ok(_) => writeln!(io::stderr(), "reads succeed again"),
                Err(error) => writeln!(io::stderr(), "reads fail: {error}"),
            };
        }
    }
}
