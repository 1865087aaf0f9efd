//! Bounded memory for many threads: buffers that are lent and come back, a queue of jobs, and a stop that wakes every
//! thread.
//!
//! Only [`Pool::take`] waits for memory. A thread that holds a buffer can always go on, so threads cannot wait in a
//! circle as long as none takes two buffers of one pool.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crate::base::threads::start;

/// Locks a mutex even if another thread panicked with it. The join of that thread passes the panic on anyway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Takes the value out of a mutex that no other thread shares any more, even if one panicked with it.
pub(crate) fn unlocked<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Lends up to `limit` values of one kind. The pool makes each one when it is first needed, and lends it again later.
pub(crate) struct Pool<T> {
    state: Mutex<PoolState<T>>,
    back: Condvar,
    make: Box<dyn Fn() -> T + Send + Sync>,
}

struct PoolState<T> {
    free: Vec<T>,
    /// Values that the pool may still make.
    unmade: usize,
    closed: bool,
}

impl<T> Pool<T> {
    /// A pool of up to `limit` values, none of which is made yet.
    pub(crate) fn new(limit: usize, make: impl Fn() -> T + Send + Sync + 'static) -> Arc<Self> {
        let state = PoolState { free: Vec::new(), unmade: limit, closed: false };
        Arc::new(Self { state: Mutex::new(state), back: Condvar::new(), make: Box::new(make) })
    }

    /// Waits for a value. `None` once the pool is closed.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Lease<T>> {
        let mut state = lock(&self.state);
        loop {
            if state.closed {
                return None;
            }
            if let Some(value) = state.free.pop() {
                return Some(Lease { value: Some(value), pool: self.clone() });
            }
            if state.unmade > 0 {
                state.unmade -= 1;
                // Made without the lock: making may take long, or panic for lack of memory.
                drop(state);
                return Some(Lease { value: Some((self.make)()), pool: self.clone() });
            }
            state = self.back.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// Wakes all threads that wait. From now on the pool lends nothing.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.back.notify_all();
    }
}

/// A value on loan. It goes back to the pool when dropped.
pub(crate) struct Lease<T> {
    /// `None` only while the loan ends.
    value: Option<T>,
    pool: Arc<Pool<T>>,
}

impl<T> Deref for Lease<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.value.as_ref().expect("held until dropped")
    }
}

impl AsRef<[u8]> for Lease<Vec<u8>> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl<T> DerefMut for Lease<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("held until dropped")
    }
}

impl<T> Drop for Lease<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            lock(&self.pool.state).free.push(value);
            self.pool.back.notify_one();
        }
    }
}

/// Jobs for worker threads. The queue has no bound of its own: the pools that lend its jobs their buffers bound it.
pub(crate) struct Queue<J> {
    state: Mutex<QueueState<J>>,
    more: Condvar,
}

struct QueueState<J> {
    jobs: VecDeque<J>,
    closed: bool,
}

impl<J> Default for Queue<J> {
    fn default() -> Self {
        let state = QueueState { jobs: VecDeque::new(), closed: false };
        Self { state: Mutex::new(state), more: Condvar::new() }
    }
}

impl<J> Queue<J> {
    pub(crate) fn push(&self, job: J) {
        lock(&self.state).jobs.push_back(job);
        self.more.notify_one();
    }

    /// Waits for a job and takes the first of those with the lowest `rank`. `None` once the queue is closed and empty.
    pub(crate) fn pop(&self, rank: impl Fn(&J) -> u8) -> Option<J> {
        let mut state = lock(&self.state);
        loop {
            let best = state.jobs.iter().enumerate().min_by_key(|(_, job)| rank(job)).map(|(at, _)| at);
            let job = best.and_then(|at| state.jobs.remove(at));
            if job.is_some() || state.closed {
                return job;
            }
            state = self.more.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// Ends the queue. Waiting jobs are still handed out.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.more.notify_all();
    }

    /// Ends the queue and drops the waiting jobs.
    pub(crate) fn abandon(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.jobs.clear();
        drop(state);
        self.more.notify_all();
    }
}

/// The first failure of many threads. A failure wakes the others, so that none waits for a thread that has stopped.
pub(crate) struct Stop<E> {
    first: Mutex<Option<E>>,
    /// Closes pools and queues, so that no thread goes on waiting.
    wake: Box<dyn Fn() + Send + Sync>,
}

impl<E> Stop<E> {
    /// `wake` has to close everything that a thread may wait for.
    pub(crate) fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self { first: Mutex::new(None), wake: Box::new(wake) }
    }

    /// Keeps the error if it is the first one, and wakes all threads.
    pub(crate) fn fail(&self, error: E) {
        lock(&self.first).get_or_insert(error);
        (self.wake)();
    }

    /// Whether a thread has failed. A panic does not count: the join passes it on.
    pub(crate) fn failed(&self) -> bool {
        lock(&self.first).is_some()
    }

    /// Returns the first failure as the error.
    pub(crate) fn into_result(self) -> Result<(), E> {
        match unlocked(self.first) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// A guard that wakes all threads if its holder panics. Without it they would wait for the holder for ever.
    pub(crate) fn on_panic(&self) -> impl Drop + '_ {
        struct Guard<'a, E>(&'a Stop<E>);
        impl<E> Drop for Guard<'_, E> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    (self.0.wake)();
                }
            }
        }
        Guard(self)
    }
}

/// Does `work` for every job on all cores, and returns the results in the order of the jobs. Each thread makes its own
/// `tools`, such as a buffer, and uses them for all its jobs. If the system has no thread to spare, this one does
/// everything.
pub(crate) fn side_by_side<J: Sync, T, R: Send>(
    jobs: &[J],
    tools: impl Fn() -> T + Sync,
    work: impl Fn(&mut T, &J) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let one_thread = || work_off(jobs, &next, tools(), &work);
    let mut done = std::thread::scope(|scope| {
        let others = (1..workers().min(jobs.len())).map_while(|_| start(scope, one_thread).ok());
        let others: Vec<_> = others.collect();
        let mut done = one_thread();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    // Each thread returns its results in its own order.
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Does `work` for the jobs from `next` on that no other thread takes. Returns the results with their jobs' indices.
fn work_off<J, T, R>(jobs: &[J], next: &AtomicUsize, mut tools: T, work: impl Fn(&mut T, &J) -> R) -> Vec<(usize, R)> {
    let mut done = Vec::new();
    loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let Some(job) = jobs.get(at) else { return done };
        done.push((at, work(&mut tools, job)));
    }
}

/// How many threads work at once: one for each core that this process may use.
pub(crate) fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lent_comes_back() {
        let pool = Pool::new(1, Vec::<u8>::new);
        let mut lease = pool.take().unwrap();
        lease.push(7);
        let waiter = {
            let pool = pool.clone();
            std::thread::spawn(move || pool.take().map(|lease| lease.clone()))
        };
        drop(lease);
        assert_eq!(waiter.join().unwrap(), Some(vec![7]), "the same buffer, not a new one");
    }

    #[test]
    fn a_closed_pool_wakes_who_waits() {
        let pool = Pool::new(1, || 0u8);
        let _held = pool.take();
        let waiter = {
            let pool = pool.clone();
            std::thread::spawn(move || pool.take().is_none())
        };
        pool.close();
        assert!(waiter.join().unwrap());
    }

    #[test]
    fn low_ranks_come_first_and_none_is_lost() {
        let queue = Queue::default();
        [3, 1, 4, 1].into_iter().enumerate().for_each(|job| queue.push(job));
        queue.close();
        let order: Vec<usize> = std::iter::from_fn(|| queue.pop(|(_, rank)| *rank)).map(|(at, _)| at).collect();
        assert_eq!(order, [1, 3, 0, 2]);
    }

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        let jobs: Vec<u64> = (0..1000).collect();
        let count = |made: &mut u64, job: &u64| {
            *made += 1;
            (*job, *made)
        };
        let done = side_by_side(&jobs, || 0, count);
        assert!(done.iter().map(|(job, _)| *job).eq(0..1000));
        assert!(done.iter().any(|(_, made)| *made > 1), "tools are used again");
        assert!(side_by_side(&[0; 0], || (), |_, job| *job).is_empty());
    }

    #[test]
    fn the_first_failure_stays() {
        let stop = Stop::new(|| ());
        assert!(!stop.failed());
        stop.fail(1);
        stop.fail(2);
        assert_eq!(stop.into_result(), Err(1));
    }
}
