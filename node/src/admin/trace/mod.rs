//! `como-node trace info|verify|repair|export`: the trace in its operator's hands. Reads segments where they
//! lie; must never write one, but for `repair` on a stopped node, and must never read packets unlogged.

mod export;
mod folder;
mod info;
pub(in crate::admin) mod moment;
mod repair;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use como_policies::AccessLevel;
use indicatif::{ProgressBar, ProgressStyle};

pub(super) use export::{Export, Format};
pub(super) use folder::{Access, Folder};
pub(super) use moment::shown;

use super::AdminError;
use super::cli::NodeArgument;
use moment::{Moment, Span};

/// Commands on the trace.
#[derive(Clone, Debug, Subcommand)]
pub enum TraceCommand {
    /// List the segments: time, packets, losses, state
    Info {
        /// One JSON document
        #[arg(long)]
        json: bool,
        /// Which node, and whether its keys are used.
        #[command(flatten)]
        access: AccessArguments,
    },
    /// Check every byte: hashes, signatures, the chain of segments and, with keys, every seal
    Verify {
        /// One JSON document
        #[arg(long)]
        json: bool,
        /// Which node, and whether its keys are used.
        #[command(flatten)]
        access: AccessArguments,
    },
    /// Mend what can be mended safely; without --apply, only say what would be done
    Repair {
        /// Do it
        #[arg(long)]
        apply: bool,
        /// Only say what would be done, which is the default
        #[arg(long, conflicts_with = "apply")]
        dry_run: bool,
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
    /// Write packets of a window to a pcap or pcapng file or pipe; the access is logged
    Export {
        /// From when: RFC 3339, or seconds since 1970 [default: where the trace begins]
        #[arg(long)]
        from: Option<Moment>,
        /// Up to when, exclusive [default: where the trace ends]
        #[arg(long)]
        to: Option<Moment>,
        /// The last stretch of the trace, as 5m or 1h30m
        #[arg(long, conflicts_with_all = ["from", "to"])]
        last: Option<Span>,
        /// Which packets, in the words of pcap-filter, seen at the level
        #[arg(long, default_value = "")]
        filter: String,
        /// anonymized (the node's own pseudonyms), headers or payload (byte for byte)
        #[arg(long, default_value = "anonymized")]
        level: AccessLevel,
        /// pcap or pcapng [default: as the file's name ends, else pcapng]
        #[arg(long)]
        format: Option<Format>,
        /// Where the packets go; - for a pipe
        #[arg(long, short)]
        output: PathBuf,
        /// Replace the file where it is there
        #[arg(long)]
        force: bool,
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
}

/// Which node, and whether its keys are used.
#[derive(Clone, Debug, Args)]
pub struct AccessArguments {
    /// Tell only what can be told without the node's keys
    #[arg(long)]
    no_keys: bool,
    /// Which node.
    #[command(flatten)]
    node: NodeArgument,
}

/// Runs a command: what it says, and its exit code.
pub(super) fn run(command: TraceCommand) -> Result<(String, ExitCode), AdminError> {
    crate::process::go_after_the_node();
    match command {
        TraceCommand::Info { json, access } => {
            let folder = access.open()?;
            Ok((info::info(&folder, json)?, ExitCode::SUCCESS))
        }
        TraceCommand::Verify { json, access } => {
            let report = verify::verify(&access.open()?)?;
            let code = match report.is_sound() {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            };
            let text = if json { report.json() } else { report.to_string() };
            Ok((text, code))
        }
        TraceCommand::Repair { apply, node, .. } => {
            let folder = Folder::open(node.path(), Access::WithoutKeys)?;
            Ok((repair::repair(&folder, apply)?, ExitCode::SUCCESS))
        }
        TraceCommand::Export {
            from,
            to,
            last,
            filter,
            level,
            format,
            output,
            force,
            node,
        } => {
            let export = Export {
                from,
                to,
                last,
                filter,
                level,
                format,
                output,
                force,
            };
            // Packets may be on stdout: what there is to say went to stderr.
            export.run(&node.open()?)?;
            Ok((String::new(), ExitCode::SUCCESS))
        }
    }
}

impl AccessArguments {
    fn open(&self) -> Result<Folder, AdminError> {
        let access = match self.no_keys {
            true => Access::WithoutKeys,
            false => Access::WithKeys,
        };
        Folder::open(self.node.path(), access)
    }
}

/// A bar over so many bytes, drawn on a terminal only.
pub(in crate::admin) fn progress_bar(bytes: u64, message: &'static str) -> ProgressBar {
    // indicatif hides a bar whose stderr is no terminal.
    let style = ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    ProgressBar::new(bytes)
        .with_style(style.expect("the template is valid").progress_chars("=> "))
        .with_message(message)
}
