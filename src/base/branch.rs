//! Runs jobs that lead to further jobs, as folders lead to folders, on all cores. A thread goes on with the first job
//! that came of its last one, so it stays in one place of a tree as long as it can. Not bounded: the number of waiting
//! jobs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};

use crate::base::pool::{lock, workers};

/// A job and its number. Numbers are given in the order in which jobs come up.
type Numbered<J> = (usize, J);

/// Does `work` for the first job and for all that come of it, on all cores. `work` passes each new job to its last
/// argument, which returns the job's number. The first job has number 0. Returns the results in the order of their
/// numbers.
pub(crate) fn branch_out<J: Send, R: Send>(
    first: J,
    work: impl Fn(J, &mut dyn FnMut(J) -> usize) -> R + Sync,
) -> Vec<R> {
    let branches = Branches::new(first);
    let mut done = std::thread::scope(|scope| {
        // If the system has no more threads to spare, fewer do the work.
        let others: Vec<_> = (1..workers())
            .map_while(|_| std::thread::Builder::new().spawn_scoped(scope, || branches.work_off(&work)).ok())
            .collect();
        let mut done = branches.work_off(&work);
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

/// What all threads share.
struct Branches<J> {
    waiting: Mutex<WaitingJobs<J>>,
    changed: Condvar,
    next_number: AtomicUsize,
}

struct WaitingJobs<J> {
    /// A stack: the last job is taken first.
    jobs: Vec<Numbered<J>>,
    /// How many threads are at work and may add jobs.
    busy: usize,
    /// Whether a thread panicked. The others then leave the waiting jobs undone.
    abandoned: bool,
}

impl<J: Send> Branches<J> {
    fn new(first: J) -> Self {
        let waiting = WaitingJobs { jobs: vec![(0, first)], busy: 0, abandoned: false };
        Self { waiting: Mutex::new(waiting), changed: Condvar::new(), next_number: AtomicUsize::new(1) }
    }

    /// Works until no job waits and no thread can add one.
    fn work_off<R>(&self, work: &impl Fn(J, &mut dyn FnMut(J) -> usize) -> R) -> Vec<(usize, R)> {
        let _guard = WakeOnPanic(self);
        let mut done = Vec::new();
        let mut next = self.first();
        while let Some((number, job)) = next {
            let mut made = Vec::new();
            let result = work(job, &mut |job| {
                let number = self.next_number.fetch_add(1, Ordering::Relaxed);
                made.push((number, job));
                number
            });
            done.push((number, result));
            next = self.after(made);
        }
        done
    }

    fn first(&self) -> Option<Numbered<J>> {
        self.take(lock(&self.waiting))
    }

    /// Adds the jobs that came of the finished one, and takes the next.
    fn after(&self, made: Vec<Numbered<J>>) -> Option<Numbered<J>> {
        let mut waiting = lock(&self.waiting);
        waiting.busy -= 1;
        // This thread takes one of them itself, so a single one needs no other thread.
        if made.len() > 1 {
            self.changed.notify_all();
        }
        // Reversed, so that the first of them is on top of the stack.
        waiting.jobs.extend(made.into_iter().rev());
        self.take(waiting)
    }

    fn take(&self, mut waiting: MutexGuard<'_, WaitingJobs<J>>) -> Option<Numbered<J>> {
        loop {
            if waiting.abandoned {
                return None;
            }
            if let Some(job) = waiting.jobs.pop() {
                waiting.busy += 1;
                return Some(job);
            }
            // No thread can add a job any more, so all others may stop too.
            if waiting.busy == 0 {
                self.changed.notify_all();
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }
}

/// Wakes the other threads if this one panics. Otherwise they would wait for this one for ever.
struct WakeOnPanic<'a, J>(&'a Branches<J>);

impl<J> Drop for WakeOnPanic<'_, J> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(&self.0.waiting).abandoned = true;
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The children in a tree of numbers: `n` leads to `2n` and `2n + 1`, below a limit.
    fn children(of: u64) -> impl Iterator<Item = u64> {
        (2 * of..2 * of + 2).filter(|child| (2..5_000).contains(child))
    }

    #[test]
    fn every_job_is_done_once_and_known_by_its_number() {
        let results = branch_out(1, |job, fork| {
            let made: Vec<(u64, usize)> = children(job).map(|child| (child, fork(child))).collect();
            (job, made)
        });
        let mut jobs: Vec<u64> = results.iter().map(|(job, _)| *job).collect();
        for (_, made) in &results {
            made.iter().for_each(|(child, number)| assert_eq!(results[*number].0, *child));
        }
        jobs.sort_unstable();
        assert!(results[0].0 == 1 && jobs.into_iter().eq(1..5_000));
    }

    #[test]
    fn a_long_chain_is_no_recursion() {
        let results = branch_out(0_u32, |job, fork| {
            if job < 100_000 {
                fork(job + 1);
            }
            job
        });
        assert!(results.into_iter().eq(0..=100_000));
    }

    #[test]
    fn a_panic_ends_all_threads() {
        let panicked = std::panic::catch_unwind(|| {
            branch_out(1, |job, fork| {
                assert!(job != 77, "on purpose");
                children(job).map(fork).count()
            })
        });
        assert!(panicked.is_err());
    }
}
