//! Independent jobs on a few threads.

use std::sync::Mutex;
use std::sync::mpsc::sync_channel;
use std::thread;

use anyhow::{Context, Result};

/// Runs `work` on each job, started in order on so many threads. The results come in the order of the
/// jobs.
///
/// # Errors
///
/// As [`in_order`].
pub fn map<J: Send, T: Send>(
    threads: usize,
    jobs: Vec<J>,
    work: impl Fn(J) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let mut results = Vec::with_capacity(jobs.len());
    in_order(threads, jobs, work, |result| {
        results.push(result);
        Ok(())
    })?;
    Ok(results)
}

/// Runs `work` on each job, started in order on so many threads, and `take` on the results, in the order of
/// the jobs, on this thread and as soon as they are there.
///
/// # Errors
///
/// The error of the first job, in their order, that failed, or of `take`. Jobs that have not been started by
/// then are not.
pub fn in_order<J: Send, T: Send>(
    threads: usize,
    jobs: Vec<J>,
    work: impl Fn(J) -> Result<T> + Sync,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let (jobs, results): (Vec<_>, Vec<_>) = jobs
        .into_iter()
        .map(|job| {
            let (sender, result) = sync_channel(1);
            ((job, sender), result)
        })
        .unzip();
    let threads = threads.clamp(1, jobs.len().max(1));
    let queue = Mutex::new(Some(jobs.into_iter()));
    let lock = || queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let next = || lock().as_mut().and_then(Iterator::next);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((job, sender)) = next() {
                    // Without a receiver an earlier job has failed.
                    let _ = sender.send(work(job));
                }
            });
        }
        let taken =
            results.into_iter().try_for_each(|result| take(result.recv().context("a worker ended early")??));
        *lock() = None;
        taken
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::SyncSender;
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_keep_the_order_of_the_jobs() {
        assert_eq!(
            map(3, (0..100).collect(), |n| Ok(n * 2)).unwrap(),
            (0..200).step_by(2).collect::<Vec<_>>()
        );
    }

    #[test]
    fn the_first_failed_job_gives_the_error() {
        let error = map(2, vec![1, 2, 3], |n| {
            anyhow::ensure!(n < 2, "job {n}");
            Ok(n)
        });
        assert_eq!(error.unwrap_err().to_string(), "job 2");
    }

    #[test]
    fn results_are_taken_before_later_jobs_are_done() {
        // The last job waits until the first result was taken.
        let (taken, wait) = sync_channel(1);
        let wait = Mutex::new(wait);
        let mut results = Vec::new();
        in_order(
            2,
            vec![1, 2, 3],
            |n| {
                if n == 3 {
                    wait.lock().unwrap().recv()?;
                }
                Ok(n)
            },
            |n| {
                results.push(n);
                if n == 1 { Ok(taken.send(())?) } else { Ok(()) }
            },
        )
        .unwrap();
        assert_eq!(results, [1, 2, 3]);
    }

    #[test]
    fn an_error_of_the_taker_ends_it() {
        /// A job that tells when it is done or given up.
        struct Job(u32, SyncSender<u32>);
        impl Drop for Job {
            fn drop(&mut self) {
                let _ = self.1.send(self.0);
            }
        }
        let (sender, ended) = sync_channel(3);
        let ended = Mutex::new(ended);
        let jobs = [1, 2, 3].map(|n| Job(n, sender.clone())).into();
        let error = in_order(
            1,
            jobs,
            |job| {
                // The second job is in the way of the third until that is given up.
                while job.0 == 2 && ended.lock().unwrap().recv_timeout(Duration::from_secs(10))? != 3 {}
                anyhow::ensure!(job.0 < 3, "it was started");
                Ok(())
            },
            |()| anyhow::bail!("enough"),
        );
        assert_eq!(error.unwrap_err().to_string(), "enough");
        assert_eq!(ended.lock().unwrap().try_iter().collect::<Vec<_>>(), [2]);
    }
}
