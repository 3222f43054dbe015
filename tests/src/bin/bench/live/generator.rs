//! The load: `tcpreplay` from memory, at a fixed rate, before everything else on the machine, as if it came from
//! another one. Must never pass for a load that it did not reach.

use std::path::Path;
use std::process::{Child, Stdio};

use como_tests::trial;

use super::link::Link;
use crate::peers::found;

/// Part of a load that must be reached for it to count.
const REACHED: f64 = 0.95;
/// Goes before receivers: a real link does not wait for their processors.
const NICE: i8 = -20;
/// Length of the trial that finds out how many generators a load needs: a second.
const TRIAL: &str = "--duration=1";

/// What one burst came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burst {
    /// Packets that reached the receivers' interface.
    pub received: u64,
    /// Rate, packets/s, as the generators tell it.
    pub rate: f64,
}

impl Burst {
    /// Whether the load was there.
    pub fn reaches(&self, load: u32) -> bool {
        self.rate >= REACHED * f64::from(load)
    }
}

/// Whether a load can be made here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Capacity {
    /// By so many generators at once.
    Streams(u32),
    /// Not: the most that any number of them reached, packets/s.
    Limit(f64),
}

/// Finds out how many generators at once a load needs.
pub fn capacity(link: &Link, capture: &Path, load: u32) -> trial::Result<Capacity> {
    found("tcpreplay")?;
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    let mut best = 0.0_f64;
    for streams in 1..=cores {
        let burst = run(link, capture, streams, &[&each(load, streams), TRIAL])?;
        if burst.reaches(load) {
            return Ok(Capacity::Streams(streams));
        }
        best = best.max(burst.rate);
    }
    Ok(Capacity::Limit(best))
}

/// Sends from one process as fast as it can: so many packets.
pub fn send_most(link: &Link, capture: &Path, packets: u64) -> trial::Result<Burst> {
    run(link, capture, 1, &["--topspeed", &format!("--limit={packets}")])
}

/// Sends for so many seconds, from so many processes at once.
pub fn send(link: &Link, capture: &Path, load: u32, seconds: f64, streams: u32) -> trial::Result<Burst> {
    let packets = f64::from(load) * seconds / f64::from(streams);
    let limit = format!("--limit={packets:.0}");
    run(link, capture, streams, &[&each(load, streams), &limit])
}

/// The part of a load that each of several generators takes.
fn each(load: u32, streams: u32) -> String {
    format!("--pps={}", load / streams)
}

fn run(link: &Link, capture: &Path, streams: u32, how: &[&str]) -> trial::Result<Burst> {
    let before = link.received()?;
    let start = || {
        link.far_command("tcpreplay", NICE)
            .args(["--quiet", "--preload-pcap", "--no-flow-stats", "--loop=0"])
            .args(how)
            .arg(format!("--intf1={}", link.far_interface()))
            .arg(capture)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("tcpreplay does not start: {e}"))
    };
    let running: Vec<Child> = (0..streams).map(|_| start()).collect::<trial::Result<_>>()?;
    let mut rate = 0.0;
    for child in running {
        let output = child.wait_with_output().map_err(|e| format!("tcpreplay: {e}"))?;
        let words = [output.stdout, output.stderr].concat();
        let words = String::from_utf8_lossy(&words);
        rate += rated(&words).ok_or_else(|| format!("tcpreplay tells no rate: {words}"))?;
    }
    Ok(Burst {
        received: link.received()? - before,
        rate,
    })
}

/// Sends the first packet of a capture, once.
pub fn send_one(link: &Link, capture: &Path) -> trial::Result<()> {
    let mut command = link.far_command("tcpreplay", NICE);
    command.args(["--quiet", "--limit=1"]);
    command.arg(format!("--intf1={}", link.far_interface()));
    trial::run(command.arg(capture)).map(drop)
}

/// `Rated: 5988308.8 Bps, 47.90 Mbps, 99805.14 pps`.
fn rated(words: &str) -> Option<f64> {
    let line = words.lines().find(|line| line.starts_with("Rated:"))?;
    line.split(',')
        .next_back()?
        .trim()
        .strip_suffix(" pps")?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read_from_what_tcpreplay_says() {
        let words = "Actual: 300000 packets (18000000 bytes) sent in 3.00 seconds\n\
                     Rated: 5988308.8 Bps, 47.90 Mbps, 99805.14 pps\n";
        assert_eq!(rated(words), Some(99805.14));
        assert_eq!(rated("Fatal Error"), None);
    }

    #[test]
    fn a_load_that_is_nearly_there_counts_and_half_of_it_does_not() {
        let burst = |rate| Burst { received: 0, rate };
        assert!(burst(96_000.0).reaches(100_000));
        assert!(!burst(50_000.0).reaches(100_000));
    }
}
