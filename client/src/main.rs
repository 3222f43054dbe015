//! The `como` program: parses the command line and runs one command.
//!
//! Must never hold logic: that is the library's.

use clap::Parser as _;
use como_client::cli::Cli;

fn main() {
    let _cli = Cli::parse();
}
