//! The `como` program: parses the command line and runs one command.
//!
//! Must never hold logic: that is the library's.

use std::process::ExitCode;

use clap::Parser as _;
use como_client::cli::Cli;
use como_client::exit::Exit;
use como_client::output::Output;

fn main() -> ExitCode {
    // clap itself exits with 2 on a wrong command line: `Exit::Usage`.
    let cli = Cli::parse();
    let output = Output {
        json: cli.common.json,
    };
    match como_client::commands::run(cli) {
        Ok(()) => Exit::Ok.into(),
        Err(error) => {
            output.error(&error);
            error.exit().into()
        }
    }
}
