//! The table of processes as the kernel tells it (`/proc/PID/stat`, proc(5)). Only reads.

use std::fs;

/// Unit of the times in `/proc`: a hundredth of a second on every Linux that we know.
const TICKS_PER_S: f64 = 100.0;

/// One process.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// That of its parent.
    pub parent: u32,
    /// `R`, `S`, `Z` and so on.
    pub state: String,
    /// When it started, in ticks since boot: a number alone may be used again.
    pub started: u64,
    /// Processor time of its own, seconds.
    pub own_s: f64,
    /// Processor time of its children that ended, seconds.
    pub ended_children_s: f64,
}

/// All processes; one that ends meanwhile is left out.
pub fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(one).collect()
}

/// One process, while it is there.
pub fn one(pid: u32) -> Option<Process> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// All processes below one, at any depth.
pub fn below(pid: u32) -> Vec<Process> {
    let all = all();
    let (mut found, mut parents) = (Vec::new(), vec![pid]);
    while let Some(parent) = parents.pop() {
        for child in all.iter().filter(|child| child.parent == parent) {
            parents.push(child.pid);
            found.push(child.clone());
        }
    }
    found
}

fn parse(pid: u32, stat: &str) -> Option<Process> {
    // The name in parentheses may hold anything: fields are counted from its end. The state is field 3.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let seconds = |a: u64, b: u64| (a + b) as f64 / TICKS_PER_S;
    Some(Process {
        pid,
        parent: u32::try_from(field(4)?).ok()?,
        state: (*fields.first()?).to_owned(),
        started: field(22)?,
        own_s: seconds(field(14)?, field(15)?),
        ended_children_s: seconds(field(16)?, field(17)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_behind_any_name() {
        let stat = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 100 50 30 20 20 0 1 0 99 5";
        let process = parse(42, stat).unwrap();
        assert_eq!((process.pid, process.parent, process.started), (42, 7, 99));
        assert_eq!((process.own_s, process.ended_children_s), (1.5, 0.5));
        assert!(parse(42, "42 (cut) S 7").is_none());
    }

    #[test]
    fn this_process_is_among_them() {
        let own = std::process::id();
        assert!(all().iter().any(|process| process.pid == own));
        let parent = one(own).unwrap().parent;
        assert!(below(parent).iter().any(|process| process.pid == own));
    }
}
