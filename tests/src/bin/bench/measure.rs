//! Wall and processor time of what runs, ours and a peer's in turn. Must never interpret a figure.

use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// What one run took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// From start to end, seconds.
    pub wall_s: f64,
    /// User and system time of all its processes, seconds.
    pub cpu_s: f64,
}

/// One side of a row: does its work once, and says what it took.
pub type Side<'a> = Box<dyn FnMut() -> Result<Cost, String> + 'a>;

/// Runs the sides in turn, once to warm up and then `rounds` times; gives each side's median.
///
/// In turn, so that a machine that slows down slows all sides. A side that fails is left out from then on.
pub fn in_turn(rounds: u32, sides: Vec<Side<'_>>) -> Vec<Result<Cost, String>> {
    let mut sides: Vec<(Side<'_>, Result<Vec<Cost>, String>)> =
        sides.into_iter().map(|side| (side, Ok(Vec::new()))).collect();
    for round in 0..=rounds {
        for (side, costs) in &mut sides {
            let Ok(measured) = costs else { continue };
            match side() {
                Ok(cost) if round > 0 => measured.push(cost),
                Ok(_) => {}
                Err(reason) => *costs = Err(reason),
            }
        }
    }
    sides
        .into_iter()
        .map(|(_, costs)| costs.map(|costs| median(&costs)))
        .collect()
}

/// Wall and processor time each by its own median.
fn median(costs: &[Cost]) -> Cost {
    let of = |pick: fn(&Cost) -> f64| {
        let mut values: Vec<f64> = costs.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        (low + high) / 2.0
    };
    Cost {
        wall_s: of(|cost| cost.wall_s),
        cpu_s: of(|cost| cost.cpu_s),
    }
}

/// Runs a command to its end, its output thrown away; the error carries its last words.
pub fn command(command: &mut Command) -> Result<Cost, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let before = children_cpu_s();
    let start = Instant::now();
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|e| format!("{program} does not start: {e}"))?;
    let cost = Cost {
        wall_s: start.elapsed().as_secs_f64(),
        cpu_s: children_cpu_s() - before,
    };
    if output.status.success() {
        return Ok(cost);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let last = words
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("without a word");
    Err(format!("{program} ended with {}: {last}", output.status))
}

/// Largest resident memory of a command, bytes: `time` (Debian package of that name) watches it.
pub fn peak_bytes(command: &Command) -> Result<f64, String> {
    let output = Command::new("/usr/bin/time")
        .args(["-f", "%M"])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .map_err(|e| format!("/usr/bin/time does not start: {e}; `make setup-bench` installs it"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    let last = words.lines().next_back().unwrap_or_default();
    match last.trim().parse::<f64>() {
        Ok(kib) if output.status.success() => Ok(kib * 1024.0),
        _ => Err(format!("{command:?} ended with {}: {last}", output.status)),
    }
}

/// Processor time of this thread.
pub fn thread_cpu_s() -> f64 {
    cpu_s(UsageWho::RUSAGE_THREAD)
}

/// Processor time of all children that ended and were waited for, with their own.
fn children_cpu_s() -> f64 {
    cpu_s(UsageWho::RUSAGE_CHILDREN)
}

fn cpu_s(who: UsageWho) -> f64 {
    // Documented to fail for a wrong `who` only.
    getrusage(who).map_or(0.0, |usage| {
        let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        micros as f64 / 1e6
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn cost(wall_s: f64) -> Cost {
        Cost {
            wall_s,
            cpu_s: wall_s / 2.0,
        }
    }

    #[test]
    fn sides_run_in_turn_and_the_warm_up_does_not_count() {
        let order = RefCell::new(Vec::new());
        let side = |name: char| {
            let (order, mut round) = (&order, 0);
            Box::new(move || {
                order.borrow_mut().push(name);
                round += 1;
                Ok(cost(if round == 1 { 1000.0 } else { f64::from(round) }))
            }) as Side<'_>
        };
        let costs = in_turn(3, vec![side('a'), side('b')]);
        assert_eq!(costs, [Ok(cost(3.0)), Ok(cost(3.0))]);
        assert_eq!(order.into_inner(), ['a', 'b', 'a', 'b', 'a', 'b', 'a', 'b']);
    }

    #[test]
    fn a_side_that_fails_does_not_stop_the_other() {
        let failing: Side<'_> = Box::new(|| Err("no such tool".into()));
        let working: Side<'_> = Box::new(|| Ok(cost(1.0)));
        assert_eq!(
            in_turn(2, vec![failing, working]),
            [Err("no such tool".into()), Ok(cost(1.0))]
        );
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median(&[cost(4.0), cost(1.0), cost(2.0), cost(100.0)]), cost(3.0));
    }

    #[test]
    fn a_failing_command_gives_its_last_words() {
        let error =
            command(Command::new("sh").args(["-c", "echo first >&2; echo last >&2; exit 3"])).unwrap_err();
        assert!(error.contains("last") && error.contains('3'), "{error}");
        assert!(command(&mut Command::new("/no/such/program")).is_err());
    }
}
