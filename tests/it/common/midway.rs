//! Catches runs of the program midway, to kill, interrupt or stop them. A run that got too far is started anew, so that
//! no test depends on how fast or busy the machine is.

use std::process::{Child, Output};

use rustix::process::{Pid, Signal, kill_process};

use super::until;

/// Runs that may get away before the test fails.
const TRIES: usize = 100;

/// Starts runs until `meet` succeeds with one that is `there`. `start` has to clear away what the run before left.
#[track_caller]
fn met<T>(start: impl Fn() -> Child, there: impl Fn() -> bool, meet: impl Fn(Child) -> Option<T>) -> T {
    for _ in 0..TRIES {
        let mut child = start();
        let mut is_over = false;
        until(|| {
            is_over = child.try_wait().expect("a child").is_some();
            is_over || there()
        });
        if is_over {
            continue;
        }
        if let Some(met) = meet(child) {
            return met;
        }
    }
    panic!("no run could be caught midway");
}

/// Kills a run once it is `there`. Tries again unless what it left is `midway`.
#[track_caller]
pub fn killed(start: impl Fn() -> Child, there: impl Fn() -> bool, midway: impl Fn() -> bool) {
    met(start, there, |mut child| {
        child.kill().expect("the child can be killed");
        child.wait().expect("a child");
        midway().then_some(())
    });
}

/// Interrupts a run once it is `there`, as Ctrl-C does. Returns the output of a run that exited with 130.
#[track_caller]
pub fn interrupted(start: impl Fn() -> Child, there: impl Fn() -> bool) -> Output {
    met(start, there, |child| {
        signal(&child, Signal::INT);
        let output = child.wait_with_output().expect("a child");
        (output.status.code() == Some(130)).then_some(output)
    })
}

/// Stops a run once it is `there`. Tries again unless it is stopped `midway`.
#[track_caller]
pub fn held(start: impl Fn() -> Child, there: impl Fn() -> bool, midway: impl Fn() -> bool) -> Held {
    met(start, there, |mut child| {
        signal(&child, Signal::STOP);
        let mut is_over = false;
        until(|| {
            is_over = child.try_wait().expect("a child").is_some();
            is_over || stands(&child)
        });
        let held = Held(Some(child));
        (!is_over && midway()).then_some(held)
    })
}

/// A stopped run; killed when dropped.
pub struct Held(Option<Child>);

impl Held {
    /// Lets the run go on.
    pub fn check_not_cancelled(mut self) -> Child {
        let child = self.0.take().expect("the child is still here");
        signal(&child, Signal::CONT);
        child
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends a signal to a child that was not waited for yet.
fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("the child can be signalled");
}

/// Whether every thread of the child is stopped.
fn stands(child: &Child) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{}/task", child.id())).into_iter().flatten().flatten();
    let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    stats.into_iter().all(|stat| stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T')))
}
