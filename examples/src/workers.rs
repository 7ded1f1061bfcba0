//! Independent jobs on a few threads.

use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result};

/// Runs `work` on each job, started in order on so many threads. The results come in the order of the
/// jobs.
///
/// # Errors
///
/// The error of the first job, in their order, that failed.
pub fn map<J: Send, T: Send>(
    threads: usize,
    jobs: Vec<J>,
    work: impl Fn(J) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let results: Vec<_> = jobs.iter().map(|_| Mutex::new(None)).collect();
    let queue = Mutex::new(jobs.into_iter().zip(&results));
    let next = || queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
    thread::scope(|scope| {
        for _ in 0..threads.clamp(1, results.len().max(1)) {
            scope.spawn(|| {
                while let Some((job, result)) = next() {
                    let outcome = work(job);
                    *result.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(outcome);
                }
            });
        }
    });
    results
        .into_iter()
        .map(|result| {
            result
                .into_inner()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
                .context("a worker ended early")?
        })
        .collect()
}

#[cfg(test)]
mod tests {
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
}
