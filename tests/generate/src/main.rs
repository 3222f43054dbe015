//! `como-generate OUT.pcap [--packets N] [--seconds S] [--seed N] [--us]`: writes a generated capture.

use std::fs::File;
use std::io::BufWriter;
use std::process::ExitCode;

use como_generate::Traffic;

const USAGE: &str =
    "usage: como-generate OUT.pcap [--packets N] [--seconds S] [--seed N] [--start-ns T] [--us]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("como-generate: {error}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut traffic = Traffic::default();
    let mut out = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| format!("{argument} needs a value"))
        };
        match argument.as_str() {
            "--packets" => traffic.packets = value()?.parse()?,
            "--seconds" => traffic.duration_s = value()?.parse()?,
            "--seed" => traffic.seed = value()?.parse()?,
            "--start-ns" => traffic.start_ns = value()?.parse()?,
            "--us" => traffic.nanoseconds = false,
            "--help" | "-h" => {
                println!("{USAGE}");
                return Ok(());
            }
            _ if argument.starts_with('-') || out.is_some() => {
                return Err(format!("{argument} is not known").into());
            }
            _ => out = Some(argument),
        }
    }
    let out = out.ok_or("no output file given")?;
    traffic.write_pcap(BufWriter::with_capacity(1 << 20, File::create(out)?))?;
    Ok(())
}
