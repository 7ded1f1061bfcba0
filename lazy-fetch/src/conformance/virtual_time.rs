//! A runtime on one thread whose clock stands still while anything can run.
//!
//! Each step polls the oldest ready task. When none is ready the clock jumps to the next timer, so a
//! test of a thirty-second deadline takes microseconds and runs the same way each time.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use crate::Runtime;
use crate::sync::{Mutex, lock};

/// A deterministic [`Runtime`] on virtual time. Clones share tasks and clock.
#[derive(Debug, Clone)]
pub struct VirtualTime {
    shared: Arc<Shared>,
}

struct Shared {
    start: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    elapsed: Duration,
    ready: VecDeque<u64>,
    tasks: HashMap<u64, Option<BoxFuture<'static, ()>>>,
    timers: BTreeMap<(Instant, u64), Waker>,
    next_id: u64,
}

impl VirtualTime {
    /// A clock that stands at now, and no tasks.
    #[allow(clippy::new_without_default, reason = "the start of a clock is no default value")]
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared { start: Instant::now(), state: Mutex::default() }) }
    }

    /// Runs `future`, and every task it needs, to its end.
    ///
    /// # Panics
    ///
    /// If `future` waits for something that no task and no timer will bring.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let _inside = Inside::enter();
        let mut future = pin!(future);
        let woken = Arc::new(Flag(Mutex::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        loop {
            if std::mem::take(&mut *lock(&woken.0))
                && let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker))
            {
                return output;
            }
            if !*lock(&woken.0) && !self.step() {
                panic!("deadlock: no task and no timer can wake the future");
            }
        }
    }

    /// Runs until nothing is left to do: no ready task and no timer.
    pub fn run_until_idle(&self) {
        let _inside = Inside::enter();
        while self.step() {}
    }

    /// Virtual time since the start.
    pub fn elapsed(&self) -> Duration {
        lock(&self.shared.state).elapsed
    }

    /// Tasks that have not ended.
    pub fn tasks(&self) -> usize {
        lock(&self.shared.state).tasks.len()
    }

    /// Polls one ready task or moves the clock to the next timer; false if there is neither.
    fn step(&self) -> bool {
        let mut state = lock(&self.shared.state);
        if let Some(id) = state.ready.pop_front() {
            let Some(mut task) = state.tasks.get_mut(&id).and_then(Option::take) else {
                return true;
            };
            drop(state);
            let waker = Waker::from(Arc::new(TaskWaker { id, shared: Arc::clone(&self.shared) }));
            let poll = task.as_mut().poll(&mut Context::from_waker(&waker));
            let mut state = lock(&self.shared.state);
            if poll.is_ready() {
                state.tasks.remove(&id);
            } else {
                state.tasks.insert(id, Some(task));
            }
            return true;
        }
        let Some(((at, _), waker)) = state.timers.pop_first() else {
            return false;
        };
        state.elapsed = state.elapsed.max(at.saturating_duration_since(self.shared.start));
        drop(state);
        waker.wake();
        true
    }
}

impl Runtime for VirtualTime {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        let mut state = lock(&self.shared.state);
        let id = state.take_id();
        state.tasks.insert(id, Some(task));
        state.ready.push_back(id);
    }

    fn spawn_blocking(&self, job: Box<dyn FnOnce() + Send>) {
        self.spawn(Box::pin(async move { job() }));
    }

    fn now(&self) -> Instant {
        self.shared.start + self.elapsed()
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let id = lock(&self.shared.state).take_id();
        Box::pin(Sleep { deadline, id, runtime: self.clone() })
    }

    fn in_async_context(&self) -> bool {
        INSIDE.get()
    }
}

impl State {
    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("elapsed", &lock(&self.state).elapsed).finish_non_exhaustive()
    }
}

struct Sleep {
    deadline: Instant,
    id: u64,
    runtime: VirtualTime,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.runtime.now() >= self.deadline {
            return Poll::Ready(());
        }
        let mut state = lock(&self.runtime.shared.state);
        state.timers.insert((self.deadline, self.id), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        lock(&self.runtime.shared.state).timers.remove(&(self.deadline, self.id));
    }
}

struct TaskWaker {
    id: u64,
    shared: Arc<Shared>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut state = lock(&self.shared.state);
        if state.tasks.contains_key(&self.id) && !state.ready.contains(&self.id) {
            state.ready.push_back(self.id);
        }
    }
}

struct Flag(Mutex<bool>);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        *lock(&self.0) = true;
    }
}

/// Marks the thread as one that drives tasks.
struct Inside(bool);

impl Inside {
    fn enter() -> Self {
        Self(INSIDE.replace(true))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(self.0);
    }
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}
