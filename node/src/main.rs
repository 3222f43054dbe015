//! `como-node`: the operator's commands, and the roles that the supervisor starts.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use como_node::admin::AdminCommand;
use como_node::admin::import::{self, BringIn, ImportArguments, Told};
use como_node::config::FILE_NAME;
use como_node::process::RoleArguments;
use como_node::supervisor::{self, ImportEvent, ImportFile};
use tracing::Level;

/// A privacy-first node for sharing network measurements.
#[derive(Parser)]
#[command(name = "como-node", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node until SIGTERM; SIGHUP reads configuration, policy and registry again
    Run {
        /// The node's folder, or its configuration file
        #[arg(default_value = ".")]
        node: PathBuf,
    },
    /// Bring pcap or pcapng files into the trace of a stopped node, each once
    Import(ImportArguments),
    /// A process of a running node: started by the supervisor only
    #[command(hide = true)]
    Role {
        /// Which, and how it is confined.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    #[command(flatten)]
    Admin(AdminCommand),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { node } => run(&node),
        Command::Import(arguments) => import(&arguments),
        Command::Role { arguments } => role(&arguments),
        Command::Admin(command) => como_node::admin::run(command),
    }
}

fn run(node: &std::path::Path) -> ExitCode {
    start_log(Level::INFO);
    let file = if node.is_dir() {
        node.join(FILE_NAME)
    } else {
        node.to_owned()
    };
    match como_node::supervisor::run(&file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("como-node: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The administration knows which files, the supervisor how.
fn import(arguments: &ImportArguments) -> ExitCode {
    start_log(Level::WARN);
    let bring_in: &BringIn = &|config, files, mut tell| {
        let files = files.into_iter().map(|(path, name)| ImportFile { path, name });
        let tell = Box::new(move |event| {
            tell(match event {
                ImportEvent::Read { file, offset } => Told::Read(file, offset),
                ImportEvent::Done {
                    file,
                    packets,
                    damage,
                } => Told::Done(file, packets, damage),
            });
        });
        supervisor::import(config, files.collect(), tell).map_err(|error| error.to_string())
    };
    import::run(arguments, bring_in)
}

fn role(arguments: &[String]) -> ExitCode {
    if arguments.first().is_some_and(|first| first == "probe") {
        return como_node::process::probe_main(&arguments[1..]);
    }
    start_log(Level::INFO);
    match RoleArguments::parse(arguments) {
        Ok(arguments) => match como_node::roles::run(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(what) => {
            eprintln!("como-node: {what}\nRoles are started by `como-node run`.");
            ExitCode::from(2)
        }
    }
}

/// Logs go to standard error, in one line each, without colours where nobody sees them.
fn start_log(most: Level) {
    use std::io::IsTerminal;
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .with_max_level(most)
        .init();
}
