//! The jobs, kept so that a crash loses none and doubles none.
//!
//! Each job is one file, named by its key and replaced as a whole: what was said to wait is on the disk before
//! the answer is given, and it waits until the file says that it is done. What is under way is written nowhere;
//! after a crash it waits again, and converting it again gives the same image.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::job::{Job, State};
use crate::document;
use crate::whole_file::WholeFile;

/// Jobs in a directory, which one process at a time may use. Clones are the same queue.
#[derive(Debug, Clone)]
pub struct Queue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    _lock: File,
    jobs: Mutex<Jobs>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Jobs {
    entries: BTreeMap<String, Entry>,
    taken: HashSet<String>,
    /// Those that went wrong, and when they are tried again. A new process tries them at once.
    resting: BTreeMap<String, Instant>,
}

/// A job in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What is to be done.
    pub job: Job,
    /// What became of it.
    pub state: State,
    /// When it came to this state, in seconds since 1970.
    pub since: u64,
    /// How often it went wrong.
    pub failures: u32,
}

/// A job that is under way; dropped before its end, it waits again.
#[derive(Debug)]
pub struct Taken {
    queue: Queue,
    key: String,
    job: Job,
}

impl Queue {
    /// The queue in `directory`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// If another process uses it, or a file in it cannot be read.
    pub fn open(directory: &Path) -> Result<Self> {
        let at = || directory.display().to_string();
        fs::create_dir_all(directory).with_context(at)?;
        let lock = File::create(directory.join("lock")).with_context(at)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("{} is in use by another process", directory.display()))?;
        let mut jobs = Jobs::default();
        for file in fs::read_dir(directory).with_context(at)? {
            let path = file.with_context(at)?.path();
            // Others are files that a crash left half written.
            if let (Some(key), true) = (path.file_stem(), path.extension().is_some_and(|e| e == "json")) {
                let entry = serde_json::from_slice(&document::read(&path)?);
                let entry = entry.with_context(|| path.display().to_string())?;
                jobs.entries.insert(key.to_string_lossy().into_owned(), entry);
            }
        }
        let (directory, changed) = (directory.to_owned(), Notify::new());
        Ok(Self(Arc::new(Inner { directory, _lock: lock, jobs: Mutex::new(jobs), changed })))
    }

    /// Takes a job in, and says whether it is new; one that is known stays as it is.
    ///
    /// # Errors
    ///
    /// If it cannot be written, or too many wait.
    pub fn add(&self, job: Job) -> Result<bool> {
        self.put(job, |_| true).map(|(_, new)| new)
    }

    /// Takes a job in that somebody asks for, also if it has failed or was skipped before; one that rests is done
    /// at once. Returns what is known of it now.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn ask(&self, job: Job) -> Result<Entry> {
        self.lock().resting.remove(job.key().hex());
        self.0.changed.notify_one();
        self.put(job, |state| matches!(state, State::Waiting | State::Done { .. })).map(|(entry, _)| entry)
    }

    fn put(&self, job: Job, stands: impl FnOnce(&State) -> bool) -> Result<(Entry, bool)> {
        let key = job.key().hex().to_owned();
        let mut jobs = self.lock();
        if let Some(entry) = jobs.entries.get(&key)
            && stands(&entry.state)
        {
            return Ok((entry.clone(), false));
        }
        let waiting = jobs.entries.values().filter(|entry| entry.state == State::Waiting).count();
        ensure!(waiting < MOST_WAITING, "{MOST_WAITING} images wait already");
        let entry = Entry { job, state: State::Waiting, since: now(), failures: 0 };
        self.write(&key, &entry)?;
        jobs.entries.insert(key, entry.clone());
        self.forget_oldest(&mut jobs);
        drop(jobs);
        self.0.changed.notify_one();
        Ok((entry, true))
    }

    /// Waits for a job that nobody does yet, the oldest first.
    pub async fn take(&self) -> Taken {
        loop {
            let soonest = match self.try_take() {
                Ok(taken) => return taken,
                Err(soonest) => soonest,
            };
            let changed = self.0.changed.notified();
            match soonest {
                // Whichever comes first.
                Some(soonest) => drop(tokio::time::timeout_at(soonest, changed).await),
                None => changed.await,
            }
        }
    }

    /// A job, or when the next one has rested.
    fn try_take(&self) -> Result<Taken, Option<Instant>> {
        let mut jobs = self.lock();
        let now = Instant::now();
        jobs.resting.retain(|_, until| *until > now);
        let free = jobs.entries.iter().filter(|(key, entry)| {
            entry.state == State::Waiting && !jobs.taken.contains(*key) && !jobs.resting.contains_key(*key)
        });
        let Some((key, job)) = free
            .min_by_key(|(key, entry)| (entry.since, *key))
            .map(|(key, entry)| (key.clone(), entry.job.clone()))
        else {
            return Err(jobs.resting.values().min().copied());
        };
        jobs.taken.insert(key.clone());
        drop(jobs);
        // There may be more, for others who wait.
        self.0.changed.notify_one();
        Ok(Taken { queue: self.clone(), key, job })
    }

    /// Everything that is known, the latest first.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<_> = self.lock().entries.values().cloned().collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.since));
        entries
    }

    /// Makes room in the history.
    fn forget_oldest(&self, jobs: &mut Jobs) {
        let ended = jobs.entries.iter().filter(|(_, entry)| entry.state != State::Waiting);
        let mut ended: Vec<_> = ended.map(|(key, entry)| (entry.since, key.clone())).collect();
        ended.sort();
        let surplus = ended.len().saturating_sub(MOST_ENDED);
        for (_, key) in ended.into_iter().take(surplus) {
            // One that cannot be removed is known again after the next start, which does no harm.
            let _ = fs::remove_file(self.path(&key));
            jobs.entries.remove(&key);
        }
    }

    /// Replaces the job's file; it is on the disk when this returns.
    fn write(&self, key: &str, entry: &Entry) -> Result<()> {
        let path = self.path(key);
        let at = || format!("writing {}", path.display());
        let whole = WholeFile::create(&path)?;
        whole.file().write_all(&serde_json::to_vec(entry)?).with_context(at)?;
        whole.file().sync_all().with_context(at)?;
        whole.keep()?;
        File::open(&self.0.directory).and_then(|directory| directory.sync_all()).with_context(at)
    }

    fn path(&self, key: &str) -> PathBuf {
        self.0.directory.join(format!("{key}.json"))
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// What is to be done.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Writes down that it is done, or that there is nothing to do.
    ///
    /// # Errors
    ///
    /// If it cannot be written; the job waits then, and rests.
    pub fn end(self, state: State) -> Result<()> {
        self.settle(state, 0)
    }

    /// Writes down that it went wrong. It waits again, longer each time, until it has gone wrong too often.
    ///
    /// # Errors
    ///
    /// If it cannot be written; the job waits then.
    pub fn fail(self, why: String) -> Result<()> {
        let failures = self.queue.lock().entries.get(&self.key).map_or(0, |entry| entry.failures) + 1;
        if failures >= MOST_FAILURES {
            return self.settle(State::Failed { why }, failures);
        }
        let rest = FIRST_REST * 4u32.pow(failures - 1);
        self.queue.lock().resting.insert(self.key.clone(), Instant::now() + rest);
        self.settle(State::Waiting, failures)
    }

    fn settle(self, state: State, failures: u32) -> Result<()> {
        let mut jobs = self.queue.lock();
        let Jobs { entries, resting, .. } = &mut *jobs;
        let Some(entry) = entries.get_mut(&self.key) else { return Ok(()) };
        let settled = Entry { job: entry.job.clone(), state, since: now(), failures };
        if let Err(error) = self.queue.write(&self.key, &settled) {
            // A full disk must not make a job run all the time.
            resting.insert(self.key.clone(), Instant::now() + FIRST_REST);
            return Err(error);
        }
        *entry = settled;
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.queue.lock().taken.remove(&self.key);
        self.queue.0.changed.notify_one();
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A registry that is converted for the first time has fewer.
const MOST_WAITING: usize = 100_000;
/// What was done before this is asked of the registry again.
const MOST_ENDED: usize = 10_000;
/// With growing rests in between: most of what passes has passed by then.
const MOST_FAILURES: u32 = 5;
const FIRST_REST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accelerate::job::Plan;
    use crate::convert::options::Mode;

    fn job(name: &str) -> Job {
        let digest = referrers::Digest::sha256_of(name.as_bytes());
        let plan = Plan { mode: Mode::Full, platforms: vec![], tag_suffix: None };
        Job { image: format!("h.io/{name}@{digest}").parse().unwrap(), tag: Some("t".into()), plan }
    }

    fn done() -> State {
        State::Done { accelerated: referrers::Digest::sha256_of(b"") }
    }

    #[tokio::test]
    async fn what_waits_or_is_under_way_waits_in_the_next_process() {
        let directory = tempfile::tempdir().unwrap();
        let queue = Queue::open(directory.path()).unwrap();
        for name in ["a", "b", "c"] {
            assert!(queue.add(job(name)).unwrap());
            assert!(!queue.add(job(name)).unwrap(), "it is known");
        }
        let ended = queue.take().await;
        let name = ended.job().clone();
        ended.end(done()).unwrap();
        // A process that is killed runs no destructors.
        std::mem::forget(queue.take().await);
        assert!(Queue::open(directory.path()).unwrap_err().to_string().contains("in use"));
        let copy = tempfile::tempdir().unwrap();
        for file in fs::read_dir(directory.path()).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        // What a crash leaves of a file that was being written.
        fs::write(copy.path().join(".tmpXyz"), "{").unwrap();
        let queue = Queue::open(copy.path()).unwrap();
        let left = [queue.take().await, queue.take().await].map(|taken| taken.job().clone());
        assert!(left[0] != left[1] && !left.contains(&name));
        assert!(queue.entries().iter().any(|entry| entry.job == name && entry.state == done()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_wrong_rests_ever_longer_and_then_fails() {
        let directory = tempfile::tempdir().unwrap();
        let queue = Queue::open(directory.path()).unwrap();
        queue.add(job("a")).unwrap();
        let started = Instant::now();
        for seconds in [0, 10, 50, 210, 850] {
            let taken = queue.take().await;
            // The timer's own grain is a millisecond.
            assert_eq!(started.elapsed().as_secs(), seconds);
            taken.fail("no".to_owned()).unwrap();
        }
        let failed = State::Failed { why: "no".to_owned() };
        assert_eq!((&queue.entries()[0].state, queue.entries()[0].failures), (&failed, 5));
        assert!(!queue.add(job("a")).unwrap(), "an event does not bring it back");
        assert_eq!(queue.ask(job("a")).unwrap().state, State::Waiting);
        assert_eq!(*queue.take().await.job(), job("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_written_down_rests() {
        let directory = tempfile::tempdir().unwrap();
        let queue = Queue::open(directory.path()).unwrap();
        queue.add(job("a")).unwrap();
        fs::remove_dir_all(directory.path()).unwrap();
        let started = Instant::now();
        queue.take().await.end(done()).unwrap_err();
        assert_eq!(*queue.take().await.job(), job("a"));
        assert_eq!(started.elapsed().as_secs(), FIRST_REST.as_secs());
        assert!(queue.add(job("b")).is_err(), "what is not on the disk is not taken in");
        assert_eq!(queue.entries().len(), 1);
    }

    #[tokio::test]
    async fn a_job_that_is_let_go_waits_again() {
        let directory = tempfile::tempdir().unwrap();
        let queue = Queue::open(directory.path()).unwrap();
        queue.add(job("a")).unwrap();
        drop(queue.take().await);
        let taken = queue.take().await;
        assert!(tokio::time::timeout(Duration::ZERO, queue.take()).await.is_err(), "nobody else gets it");
        let other = tokio::spawn({
            let queue = queue.clone();
            async move { queue.take().await.job().clone() }
        });
        queue.add(job("b")).unwrap();
        assert_eq!(other.await.unwrap(), job("b"));
        drop(taken);
    }

    #[test]
    fn a_broken_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("x.json"), "{").unwrap();
        let error = Queue::open(directory.path()).unwrap_err();
        assert!(format!("{error:#}").contains("x.json"), "{error:#}");
    }
}
