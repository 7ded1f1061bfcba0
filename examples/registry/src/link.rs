//! A model of the network between the clients and the registry, so that a design that asks too often
//! or fetches too much pays for it on a loopback socket as it would on a real path.
//!
//! # The model
//!
//! * **Bandwidth.** Each direction is one pipe of [`Link::bits_per_second`], shared by all
//!   connections of the server, its redirect target and its token endpoint included. Bytes pass in
//!   the order in which they are handed over, in pieces of at most 16 KiB.
//! * **Connection set-up** costs one round trip: nothing that the client sends is seen earlier than
//!   [`Link::round_trip`] after the connection was accepted.
//! * **Every exchange** costs one round trip: the first byte of an answer leaves one round trip after
//!   the server began to write it.
//! * **Slow start.** Each connection may have a window of bytes on its way per round trip and
//!   direction: 10 segments of 1460 bytes at first (RFC 6928), doubled after every round trip that
//!   used it up, until it covers the path (bandwidth × round trip). A direction that was silent for
//!   longer than 200 ms or two round trips, whichever is more, starts again with the first window
//!   (RFC 5681 §4.1 with the least retransmission timeout in common use). There is no loss.
//!
//! So a body of `n` bytes on a fresh connection is complete after two round trips (set-up and exchange),
//! one more for each window that is smaller than bandwidth × round trip, and the bytes behind those
//! windows at full bandwidth. At 100 Mbit/s and 20 ms the first five windows are smaller (14 600 to
//! 233 600 bytes, 452 600 in all); a body of 1 000 000 bytes takes 40 + 5 × 20 + 547 400 ÷ 12 500
//! = 183.8 ms.
//!
//! Headers count as bytes. TLS, packet overhead and name resolution are not modelled.
//!
//! # Clock
//!
//! Time is tokio's, so the model works under a paused clock. Its timer ticks once a millisecond; the
//! model keeps exact time itself, and a wait that was too short, or too long by up to 20 ms, is settled
//! by the next one, so the error does not grow with the number of pieces.

mod socket;

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use socket::{Scissors, Socket};

use crate::lock;

/// The path between clients and registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Bandwidth of each direction in bits per second, for all connections together.
    pub bits_per_second: u64,
    /// Time for a packet to the other side and the answer back.
    pub round_trip: Duration,
}

impl Link {
    /// A link of `megabits` · 10⁶ bits per second in each direction.
    pub fn mbit(megabits: u64, round_trip: Duration) -> Self {
        Self { bits_per_second: megabits.saturating_mul(1_000_000), round_trip }
    }
}

/// The two pipes of a link, shared by the connections.
#[derive(Debug)]
pub(crate) struct Path {
    link: Link,
    up: Mutex<Pipe>,
    down: Mutex<Pipe>,
}

impl Path {
    pub(crate) fn new(link: Link) -> Self {
        let free_at = Instant::now();
        Self { link, up: Mutex::new(Pipe { free_at }), down: Mutex::new(Pipe { free_at }) }
    }

    fn bytes_per_second(&self) -> u64 {
        (self.link.bits_per_second / 8).max(1)
    }

    /// Bytes that fit on the path in one round trip.
    fn capacity(&self) -> u64 {
        let bytes = u128::from(self.bytes_per_second()).saturating_mul(self.link.round_trip.as_nanos());
        u64::try_from(bytes / NANOS).unwrap_or(u64::MAX)
    }

    fn time_for(&self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes).saturating_mul(NANOS) / u128::from(self.bytes_per_second());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// One direction of the path: when its last byte so far is through.
#[derive(Debug)]
struct Pipe {
    free_at: Instant,
}

impl Pipe {
    /// Sends for `time`, not before `from`; the result is when that is done.
    fn send(&mut self, from: Instant, time: Duration) -> Instant {
        self.free_at = self.free_at.max(from) + time;
        self.free_at
    }
}

/// One direction of one connection: its window, and an exact clock.
///
/// Time is an argument, so the arithmetic can be tested without a runtime.
#[derive(Debug)]
struct Flow {
    /// Bytes that may be on their way per round trip.
    window: u64,
    /// Bytes of the window that this round has not used.
    left: u64,
    /// When the acknowledgement of the round's first byte is back.
    round_ends: Instant,
    /// When the last byte so far is through, or the time before which nothing is sent.
    clock: Instant,
}

/// Leave to pass some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Grant {
    bytes: usize,
    at: Instant,
}

impl Flow {
    fn new(now: Instant) -> Self {
        Self { window: FIRST_WINDOW, left: FIRST_WINDOW, round_ends: now, clock: now }
    }

    /// Holds everything back until `at`, because the other side has to answer first.
    fn hold(&mut self, at: Instant, path: &Path) {
        let idle = RESTART_AFTER.max(path.link.round_trip.saturating_mul(2));
        if at.saturating_duration_since(self.clock) > idle {
            (self.window, self.left, self.round_ends) = (FIRST_WINDOW, FIRST_WINDOW, at);
        }
        self.clock = self.clock.max(at);
    }

    /// Leave for the next at most `wanted` bytes, which are ready at `now`.
    fn next(&mut self, now: Instant, wanted: usize, path: &Path, pipe: &Mutex<Pipe>) -> Grant {
        if now.saturating_duration_since(self.clock) > LATENESS {
            self.hold(now, path);
        }
        let mut from = self.clock;
        if self.left == 0 {
            from = from.max(self.round_ends);
        }
        if from >= self.round_ends {
            if self.left == 0 && self.window < path.capacity() {
                self.window = self.window.saturating_mul(2);
            }
            self.left = self.window;
            self.round_ends = from + path.link.round_trip;
        }
        let bytes = self.left.min(wanted.min(PIECE) as u64);
        self.left = self.left.saturating_sub(bytes);
        self.clock = lock(pipe).send(from, path.time_for(bytes));
        Grant { bytes: usize::try_from(bytes).unwrap_or(PIECE), at: self.clock }
    }
}

/// RFC 6928: ten segments of 1460 bytes.
const FIRST_WINDOW: u64 = 10 * 1460;

/// Silence after which a window starts again.
const RESTART_AFTER: Duration = Duration::from_millis(200);

/// Bytes that pass between two turns of other connections: about a millisecond at 100 Mbit/s.
const PIECE: usize = 16 * 1024;

/// How late a caller may come back and still count as continuing without a pause. It covers the timer's
/// tick and a machine that is busy with other tasks, during which a real path would have gone on
/// filling the receiver's buffer.
const LATENESS: Duration = Duration::from_millis(20);

const NANOS: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(20);

    fn path() -> Path {
        Path::new(Link::mbit(100, ROUND_TRIP))
    }

    /// When `bytes` are through if each piece is asked for as soon as the last one passed.
    fn send(flow: &mut Flow, path: &Path, mut bytes: usize) -> Instant {
        let mut now = flow.clock;
        while bytes > 0 {
            let grant = flow.next(now, bytes, path, &path.down);
            bytes -= grant.bytes;
            now = grant.at;
        }
        now
    }

    fn micros(from: Instant, to: Instant) -> u128 {
        (to - from).as_micros()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_window_goes_at_once_and_each_further_one_waits_for_the_round_trip() {
        let (path, now) = (path(), Instant::now());
        assert_eq!(micros(now, send(&mut Flow::new(now), &path, 14_600)), 1_168);
        let (path, now) = (super::tests::path(), Instant::now());
        assert_eq!(micros(now, send(&mut Flow::new(now), &path, 14_600 + 29_200)), 20_000 + 2_336);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_takes_what_the_formula_says() {
        let (path, now) = (path(), Instant::now());
        let expected = 5 * 20_000 + (1_000_000 - 452_600) * 8 / 100;
        assert_eq!(micros(now, send(&mut Flow::new(now), &path, 1_000_000)), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_warm_connection_sends_at_full_bandwidth_until_it_idles() {
        let (path, now) = (path(), Instant::now());
        let mut flow = Flow::new(now);
        let warm = send(&mut flow, &path, 1_000_000) + Duration::from_millis(100);
        flow.hold(warm, &path);
        assert_eq!(micros(warm, send(&mut flow, &path, 250_000)), 20_000);
        let cold = flow.clock + Duration::from_millis(201);
        flow.hold(cold, &path);
        assert!(micros(cold, send(&mut flow, &path, 250_000)) > 80_000);
    }

    #[tokio::test(start_paused = true)]
    async fn connections_share_the_bandwidth() {
        let (path, now) = (path(), Instant::now());
        let mut flows = [Flow::new(now), Flow::new(now)];
        let mut left = [14_600_usize; 2];
        let mut end = now;
        while left.iter().any(|left| *left > 0) {
            for (flow, left) in flows.iter_mut().zip(&mut left) {
                let grant = flow.next(now, (*left).min(1_460), &path, &path.down);
                *left -= grant.bytes;
                end = end.max(grant.at);
            }
        }
        assert_eq!(micros(now, end), 2 * 1_168);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_timer_costs_nothing_but_a_pause_does() {
        let (path, now) = (path(), Instant::now());
        let mut flow = Flow::new(now);
        let first = flow.next(now, 1_000, &path, &path.down).at;
        let late = flow.next(first + Duration::from_millis(1), 1_000, &path, &path.down).at;
        assert_eq!(micros(now, late), 160);
        let pause = late + Duration::from_millis(50);
        assert_eq!(micros(pause, flow.next(pause, 1_000, &path, &path.down).at), 80);
    }
}
