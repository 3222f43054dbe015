//! `como-bench` (`make bench`): every speed figure that the project aims at, beside its peers', in one run.
//!
//! Owns the frame: a row per figure, ours and the peer's measured in turn on the same file. Must never be
//! part of the tests: a figure depends on the machine, a test must not.

mod live;
mod measure;
mod peers;
mod report;
mod row;
mod rows;
mod trace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Measure CoMo against its peers and aims.
#[derive(Debug, Parser)]
#[command(name = "como-bench")]
pub struct Options {
    /// Capture to measure on [default: one that como-generate makes]
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Packets of the capture that is made
    #[arg(long, value_name = "N", default_value_t = 500_000)]
    packets: u64,
    /// Measured rounds after one warm-up; a figure is the median
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Largest trace in which one flow is looked for: 1, 4 or 16 GB, of which headers are kept (2 GB of disk for 16)
    #[arg(long, value_name = "GB", default_value_t = 4)]
    scale_gb: u64,
    /// Only rows whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Where the same figures go as JSON
    #[arg(long, value_name = "FILE", default_value = "target/bench.json")]
    json: PathBuf,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Short rows are figures to be named, not a failure of the run: only a frame that cannot work is.
fn run(options: &Options) -> Result<(), String> {
    let scratch = tempfile::Builder::new()
        .prefix("como-bench-")
        .tempdir()
        .map_err(|e| format!("no folder for scratch files: {e}\n  fix: set TMPDIR to a disk with space"))?;
    let trace = trace::Trace::take_or_make(options, scratch.path())?;
    let bench = rows::Bench {
        trace,
        rounds: options.rounds,
        scale_gb: options.scale_gb,
        scratch: scratch.path().to_owned(),
    };
    report::opening(&bench, options);
    let rows = rows::all(&bench, &options.only);
    report::print(&rows);
    report::write_json(&rows, &bench, &options.json)?;
    println!("\nThe same as JSON: {}", options.json.display());
    Ok(())
}
