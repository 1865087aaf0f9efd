//! Threads for one piece of work, as many as the system has. A user limit, a container or a lack of memory may leave
//! none to spare. Then there are fewer, and the caller's own thread does the rest: nothing here panics for lack of a
//! thread. Not guaranteed: that work which needs several threads at once (a queue, a channel) can be done at all. A
//! caller that starts such threads with [`start`] has to end the others if one does not start.

use std::io;
use std::thread::{Builder, Scope, ScopedJoinHandle};

/// Starts a thread that ends with its scope.
///
/// # Errors
/// The system has no thread to spare.
pub(crate) fn start<'scope, R: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> R + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, R>> {
    Builder::new().spawn_scoped(scope, work)
}

/// Does `work` on up to `most` threads, this one included, and returns when all have finished. It runs at least once.
pub(crate) fn on_several(most: usize, work: impl Fn() + Sync) {
    let work = &work;
    std::thread::scope(|scope| {
        for _ in 1..most {
            if start(scope, work).is_err() {
                break;
            }
        }
        work();
    });
}

/// Does `work` for all jobs at the same time, each on a thread of its own. Jobs for which there is no thread run on
/// this one, one after the other.
pub(crate) fn one_each<J: Sync>(jobs: &[J], work: impl Fn(&J) + Sync) {
    let work = &work;
    std::thread::scope(|scope| {
        let mut without = Vec::new();
        for job in jobs {
            if start(scope, move || work(job)).is_err() {
                without.push(job);
            }
        }
        without.into_iter().for_each(work);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn work_is_done_on_this_thread_and_others() {
        for most in [0, 1, 3] {
            let times = AtomicUsize::new(0);
            on_several(most, || _ = times.fetch_add(1, Ordering::Relaxed));
            assert_eq!(times.into_inner(), most.max(1));
        }
    }

    #[test]
    fn every_job_is_done_once() {
        let done: Vec<AtomicUsize> = (0..5).map(|_| AtomicUsize::new(0)).collect();
        let jobs: Vec<usize> = (0..5).collect();
        one_each(&jobs, |job| _ = done[*job].fetch_add(1, Ordering::Relaxed));
        assert!(done.into_iter().all(|times| times.into_inner() == 1));
    }
}
