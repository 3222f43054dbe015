//! A link of one's own with a known load on it, and the programs that capture from it. Must never decide what a
//! figure means: `rows/live.rs` does.

pub mod asking;
pub mod frames;
pub mod generator;
pub mod link;
pub mod node;
pub mod receivers;

use std::process::Child;
use std::time::{Duration, Instant};

use como_tests::site::processes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a receiver may take until it listens.
pub const READY: Duration = Duration::from_secs(10);
/// How long one may take to end.
const STOP: Duration = Duration::from_secs(5);
/// How often is looked.
pub const POLL: Duration = Duration::from_millis(50);
/// A receiver has taken what it will take once it did next to nothing for this long.
const QUIET: Duration = Duration::from_millis(400);
/// Next to nothing: processor time in that stretch, seconds (two ticks of `/proc`, and what idle timers need).
const QUIET_CPU_S: f64 = 0.025;
/// Longest wait for that.
const DRAIN: Duration = Duration::from_secs(8);

/// What a receiver made of one burst.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    /// Packets that are in its files.
    pub stored: u64,
    /// Packets that it says it lost; `None`: it was not asked.
    pub counted_lost: Option<u64>,
    /// Processor time of all its processes, seconds.
    pub cpu_s: f64,
}

/// Processor time of a process and all below it, ended children too.
pub fn tree_cpu_s(pid: u32) -> f64 {
    let own = processes::one(pid).into_iter();
    own.chain(processes::below(pid))
        .map(|process| process.own_s + process.ended_children_s)
        .sum()
}

/// Waits until a tree of processes has nothing to do any more, and gives its processor time then.
pub fn once_quiet(cpu_s: impl Fn() -> f64) -> f64 {
    let begin = Instant::now();
    let mut before = cpu_s();
    while begin.elapsed() < DRAIN {
        std::thread::sleep(QUIET);
        let now = cpu_s();
        if now - before <= QUIET_CPU_S {
            return now;
        }
        before = now;
    }
    before
}

/// A child that does not outlive its measurement.
pub struct Reaped(pub Child);

impl Reaped {
    /// SIGINT, as its user would; whoever does not end on that is killed, and its files say how far it came.
    fn interrupt(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGINT);
        let begin = Instant::now();
        while begin.elapsed() < STOP && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
