//! What a run says while it works: bars on a terminal, plain lines elsewhere. Always on the standard
//! error stream, so that the result on standard output can be piped.

use std::io::{IsTerminal, stderr, stdout};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// Where and how to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// As bars, and a line for each finished step.
    Bars,
    /// As lines.
    Plain,
    /// Not at all.
    Silent,
}

impl Progress {
    /// Bars if both standard output and standard error are terminals, lines if not.
    pub fn detect() -> Self {
        if stdout().is_terminal() && stderr().is_terminal() { Self::Bars } else { Self::Plain }
    }

    /// Bars if standard error is a terminal, nothing if not.
    pub fn bars() -> Self {
        if stderr().is_terminal() { Self::Bars } else { Self::Silent }
    }

    /// Plain lines.
    pub fn plain() -> Self {
        Self::Plain
    }

    /// Begins a step that handles `bytes` bytes (0 if that is unknown).
    pub fn step(&self, what: &str, bytes: u64) -> Step {
        let bar = match (self, bytes) {
            (Self::Silent, _) => ProgressBar::hidden(),
            (Self::Plain, _) => {
                eprintln!("{what} ...");
                ProgressBar::hidden()
            }
            (Self::Bars, 0) => ProgressBar::new_spinner(),
            (Self::Bars, bytes) => ProgressBar::new(bytes)
                .with_style(ProgressStyle::with_template(BAR).unwrap_or(ProgressStyle::default_bar())),
        };
        bar.set_message(what.to_owned());
        if *self == Self::Bars {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Step { what: what.to_owned(), bar, progress: *self, started: Instant::now() }
    }
}

/// A step under way.
#[derive(Debug)]
pub struct Step {
    what: String,
    bar: ProgressBar,
    progress: Progress,
    started: Instant,
}

impl Step {
    /// Tells of `bytes` more bytes.
    pub fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// Ends the step with a line that says what came of it.
    pub fn finish(self, outcome: &str) {
        let line = format!("{}: {outcome} ({:.1} s)", self.what, self.started.elapsed().as_secs_f64());
        match self.progress {
            Progress::Silent => {}
            Progress::Plain => eprintln!("{line}"),
            Progress::Bars => {
                self.bar.suspend(|| eprintln!("{line}"));
                self.bar.finish_and_clear();
            }
        }
    }
}

/// `bytes` for people, such as `12.50 MiB`.
pub fn bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

const BAR: &str = "{msg:32} {bar:30} {bytes:>11} of {total_bytes:11} {bytes_per_sec:>12}";
