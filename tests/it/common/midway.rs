//! Runs of the program that are met on their way: killed, interrupted or held there. One that came too far
//! before is begun anew, so that no test depends on how fast a machine is, or how busy.

use std::process::{Child, Output};

use rustix::process::{Pid, Signal, kill_process};

use super::until;

/// So many runs may get away.
const TRIES: usize = 100;

/// Starts runs until `meet` has met one; that gets a run that is `there`, and ends or keeps it. `start` clears away
/// what an earlier one left.
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
    panic!("no run could be met on its way");
}

/// Kills a run once it is `there`; what it left is `midway`.
#[track_caller]
pub fn killed(start: impl Fn() -> Child, there: impl Fn() -> bool, midway: impl Fn() -> bool) {
    met(start, there, |mut child| {
        child.kill().expect("it can be killed");
        child.wait().expect("a child");
        midway().then_some(())
    });
}

/// Interrupts a run once it is `there`, as Ctrl-C does; what it said, which ended with 130.
#[track_caller]
pub fn interrupted(start: impl Fn() -> Child, there: impl Fn() -> bool) -> Output {
    met(start, there, |child| {
        signal(&child, Signal::INT);
        let output = child.wait_with_output().expect("a child");
        (output.status.code() == Some(130)).then_some(output)
    })
}

/// Holds a run once it is `there`, while `midway` holds.
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

/// A run that stands still until it is told to go on; killed when dropped.
pub struct Held(Option<Child>);

impl Held {
    /// It goes on.
    pub fn check_not_cancelled(mut self) -> Child {
        let child = self.0.take().expect("nobody took it");
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
    kill_process(Pid::from_child(child), signal).expect("it is a child");
}

/// Whether no thread of it runs any more.
fn stands(child: &Child) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{}/task", child.id())).into_iter().flatten().flatten();
    let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    stats.into_iter().all(|stat| stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T')))
}
