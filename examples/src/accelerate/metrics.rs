//! Numbers about the service, in Prometheus' text format.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;

use super::job::State;
use super::queue::Entry;

/// What is counted since the start.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    pub(super) pushes_queued: AtomicU64,
    pub(super) pushes_known: AtomicU64,
    pub(super) pushes_ignored: AtomicU64,
    pub(super) refused: AtomicU64,
    done: AtomicU64,
    skipped: AtomicU64,
    failed: AtomicU64,
    milliseconds: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Metrics {
    /// A try has ended.
    pub(super) fn ended(&self, outcome: &Result<State>, after: Duration) {
        match outcome {
            Ok(State::Done { .. }) => count(&self.done),
            Ok(_) => count(&self.skipped),
            Err(_) => count(&self.failed),
        }
        let milliseconds = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.milliseconds.fetch_add(milliseconds, Ordering::Relaxed);
    }

    /// Everything as text.
    pub(super) fn text(&self, entries: &[Entry]) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text, entries);
        text
    }

    fn write(&self, out: &mut String, entries: &[Entry]) -> fmt::Result {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        heading(out, "accelerate_jobs", "gauge", "Images in the queue and its history.")?;
        for name in ["waiting", "done", "skipped", "failed"] {
            let count = entries.iter().filter(|entry| entry.state.name() == name).count();
            writeln!(out, "accelerate_jobs{{state=\"{name}\"}} {count}")?;
        }
        heading(out, "accelerate_pushes_total", "counter", "Pushes that webhooks told of.")?;
        for (name, counter) in [
            ("queued", &self.pushes_queued),
            ("known", &self.pushes_known),
            ("ignored", &self.pushes_ignored),
        ] {
            writeln!(out, "accelerate_pushes_total{{outcome=\"{name}\"}} {}", get(counter))?;
        }
        heading(out, "accelerate_refused_total", "counter", "Messages that were refused.")?;
        writeln!(out, "accelerate_refused_total {}", get(&self.refused))?;
        heading(out, "accelerate_tries_total", "counter", "Tries to do a job.")?;
        for (name, counter) in [("done", &self.done), ("skipped", &self.skipped), ("failed", &self.failed)] {
            writeln!(out, "accelerate_tries_total{{outcome=\"{name}\"}} {}", get(counter))?;
        }
        heading(out, "accelerate_try_seconds_total", "counter", "Time that tries took.")?;
        writeln!(
            out,
            "accelerate_try_seconds_total {}",
            Duration::from_millis(get(&self.milliseconds)).as_secs_f64()
        )
    }
}

fn heading(out: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}
