//! The command tree of the administration; `main.rs` flattens it into its own.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use como_keys::keyring::Destroy;
use como_keys::signing::KeyId;
use como_policies::{AccessLevel, SystemMode};

use super::init::{InitOptions, NewSource};
use super::partners::{Grant, Standing};
use super::trace::{self, TraceCommand};
use super::{
    AdminError, AdminNode, State, check, developers, endorse, init, keys, partners, reload, revocations, runs,
};
use crate::config::SpiffeId;
use crate::registry::RegistryName;

/// Commands that need no running node.
#[derive(Clone, Debug, Subcommand)]
pub enum AdminCommand {
    /// Make a new node in a folder of its own
    Init {
        /// The folder; must not exist or be empty
        folder: PathBuf,
        /// SPIFFE id of the node, as spiffe://consortium.example/organisation/node
        #[arg(long)]
        name: SpiffeId,
        /// Kind of system: public, restricted or private
        #[arg(long, default_value = "restricted")]
        mode: SystemMode,
        /// Where packets come from: file:PATH or live:INTERFACE
        #[arg(long, value_name = "SOURCE")]
        source: NewSource,
        /// Address and port to listen on
        #[arg(long, default_value = "127.0.0.1:8443")]
        listen: SocketAddr,
        /// What partners connect to, if not the address above
        #[arg(long)]
        url: Option<String>,
        /// Seal the key file with a passphrase that is asked for at every start
        #[arg(long)]
        passphrase: bool,
    },
    /// Check configuration, policies, keys and registry, without starting anything
    Check {
        /// The node's folder, or its configuration file
        #[arg(default_value = ".")]
        node: PathBuf,
    },
    /// Have a running node read configuration, policies and registry again
    Reload {
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
    /// Who may ask
    #[command(subcommand)]
    Partner(PartnerCommand),
    /// Whose modules are taken
    #[command(subcommand)]
    Developer(DeveloperCommand),
    /// Declare that a module's results reveal less than its input
    Endorse {
        /// SHA-256 of the module, as `como module list` shows it
        hash: String,
        /// The level that its results then have
        #[arg(long)]
        output_level: AccessLevel,
        /// Name of the entry
        #[arg(long)]
        name: RegistryName,
        /// For which arguments it holds: NAME=MIN..MAX; may be repeated
        #[arg(long = "range", value_parser = endorse::parse_range)]
        ranges: Vec<(String, (i64, i64))>,
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
    /// Take an endorsement back
    Withdraw {
        /// Name of the entry
        name: RegistryName,
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
    /// Modules and developers' keys that run here no more
    #[command(subcommand)]
    Revocations(RevocationsCommand),
    /// The node's keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Modules that run on the live stream
    #[command(subcommand)]
    Module(ModuleCommand),
    /// Queries that wait or run
    #[command(subcommand)]
    Query(QueryCommand),
    /// The trace on disk
    #[command(subcommand)]
    Trace(TraceCommand),
}

/// Which node.
#[derive(Clone, Debug, Args)]
pub struct NodeArgument {
    /// The node's folder, or its configuration file
    #[arg(long = "node", short = 'n', default_value = ".", value_name = "DIR")]
    node: PathBuf,
}

/// Commands on partners.
#[derive(Clone, Debug, Subcommand)]
pub enum PartnerCommand {
    /// Register a partner from its card, and issue its certificate
    Add {
        /// Name of the entry
        name: RegistryName,
        /// The card.toml that `como keygen` wrote
        #[arg(long)]
        card: PathBuf,
        /// The highest level it may see
        #[arg(long)]
        ceiling: AccessLevel,
        /// Project: those of one project see the same pseudonyms [default: the name]
        #[arg(long)]
        project: Option<String>,
        /// It may submit modules
        #[arg(long)]
        may_plug_in: bool,
        /// Where the welcome goes that the partner gets back
        #[arg(long, short, default_value = "welcome.toml")]
        output: PathBuf,
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
    /// List partners
    List {
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
    /// Replace a partner's keys and certificate by those of a new card
    Rotate {
        /// Name of the entry
        name: RegistryName,
        /// The new card.toml, under the same SPIFFE id
        #[arg(long)]
        card: PathBuf,
        /// Where the welcome goes that the partner gets back
        #[arg(long, short, default_value = "welcome.toml")]
        output: PathBuf,
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
    /// Refuse a partner everything for the time being
    Suspend {
        /// Name of the entry
        name: RegistryName,
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
    /// Answer a suspended partner again
    Resume {
        /// Name of the entry
        name: RegistryName,
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
    /// Revoke a partner's certificates for good
    #[command(alias = "remove")]
    Revoke {
        /// Name of the entry
        name: RegistryName,
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
}

/// Commands on developers.
#[derive(Clone, Debug, Subcommand)]
pub enum DeveloperCommand {
    /// Register a developer from a card
    Add {
        /// Name of the entry
        name: RegistryName,
        /// The card.toml that `como keygen` wrote
        #[arg(long)]
        card: PathBuf,
        /// The highest level that its modules may see
        #[arg(long)]
        ceiling: AccessLevel,
        /// The highest level of their results [default: the ceiling]
        #[arg(long)]
        output_ceiling: Option<AccessLevel>,
        /// Where the welcome goes that the developer gets back
        #[arg(long, short, default_value = "welcome.toml")]
        output: PathBuf,
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
    /// List developers
    List {
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
    /// Replace a developer's keys and certificate by those of a new card
    Rotate {
        /// Name of the entry
        name: RegistryName,
        /// The new card.toml, under the same SPIFFE id
        #[arg(long)]
        card: PathBuf,
        /// Others may have the old key: stop the modules that it signed
        #[arg(long)]
        compromised: bool,
        /// Where the welcome goes that the developer gets back
        #[arg(long, short, default_value = "welcome.toml")]
        output: PathBuf,
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
    /// Stop a developer's modules and take no more
    Revoke {
        /// Name of the entry
        name: RegistryName,
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
}

/// Commands on revocation lists.
#[derive(Clone, Debug, Subcommand)]
pub enum RevocationsCommand {
    /// Show the lists in force
    Show {
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
    /// Put more on the node's own list, which gets the next number
    Add {
        /// A developer's key: 64 hex digits, or its id of 32; may be repeated
        #[arg(long = "key", value_parser = revocations::parse_key)]
        keys: Vec<KeyId>,
        /// SHA-256 of a module, as `como module list` shows it; may be repeated
        #[arg(long = "module", value_parser = revocations::parse_module)]
        modules: Vec<[u8; 32]>,
        /// Days until nobody may rely on the list any more; then no module runs [default: never]
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: Option<u32>,
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
    /// Take a newer list of an issuer whose key `[modules] revocation_keys` names
    Install {
        /// The list
        file: PathBuf,
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
}

/// Commands on live runs of a running node.
#[derive(Clone, Debug, Subcommand)]
pub enum ModuleCommand {
    /// List what runs, for whom, and what it used
    List {
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
    /// Stop one run, whoever wants it; who may can start it again
    Stop {
        /// Its number, as `como-node module list` shows it
        run: u64,
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
}

/// Commands on queries of a running node.
#[derive(Clone, Debug, Subcommand)]
pub enum QueryCommand {
    /// List queries of all partners
    List {
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
    /// Cancel one query, whoever asked it
    Cancel {
        /// Its id, as `como-node query list` shows it
        id: String,
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
}

/// Commands on keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeysCommand {
    /// Show the node's public key
    Show {
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
    /// Issue the server's certificate and the revocation list anew
    Renew {
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
    /// Destroy the keys of a day: nobody opens it again
    Destroy {
        /// The sealing epoch: days since 1970-01-01 of packet time
        #[arg(long)]
        epoch: u32,
        /// The trace of that day
        #[arg(long)]
        trace: bool,
        /// The records of that day
        #[arg(long)]
        records: bool,
        /// Both
        #[arg(long)]
        all: bool,
        /// Which node.
        #[command(flatten)]
        node: NodeArgument,
    },
}

/// Runs a command: its answer on stdout, errors (two lines) on stderr; 0 done, 1 refused or wrong.
pub fn run(command: AdminCommand) -> ExitCode {
    match answer(command) {
        Ok((text, code)) => {
            if !text.is_empty() {
                // A closed pipe is the reader's wish, not an error.
                let _ = writeln!(std::io::stdout(), "{text}");
            }
            code
        }
        Err(error) => {
            eprintln!("como-node: {error}");
            ExitCode::FAILURE
        }
    }
}

fn answer(command: AdminCommand) -> Result<(String, ExitCode), AdminError> {
    let done = |text: String| Ok((text, ExitCode::SUCCESS));
    match command {
        AdminCommand::Init {
            folder,
            name,
            mode,
            source,
            listen,
            url,
            passphrase,
        } => {
            let options = InitOptions {
                name,
                mode,
                source,
                listen,
                url,
                passphrase,
            };
            let mut notes = init::init(&folder, &options)?;
            notes.insert(0, format!("Made a {mode} node in {}.", folder.display()));
            notes.push(format!(
                "Next: como-node check {0}, como-node run {0}",
                folder.display()
            ));
            done(notes.join("\n"))
        }
        AdminCommand::Check { node } => {
            let findings = check::check(&node);
            let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
            let wrong = findings.iter().any(|finding| finding.state == State::Error);
            Ok((
                lines.join("\n"),
                if wrong {
                    ExitCode::FAILURE
                } else {
                    ExitCode::SUCCESS
                },
            ))
        }
        AdminCommand::Reload { node } => done(reload::reload(node.path())?),
        AdminCommand::Partner(command) => done(partner(command)?),
        AdminCommand::Developer(command) => done(developer(command)?),
        AdminCommand::Endorse {
            hash,
            output_level,
            name,
            ranges,
            node,
        } => done(endorse::endorse(
            &node.open()?,
            &hash,
            output_level,
            &name,
            &ranges,
        )?),
        AdminCommand::Withdraw { name, node } => done(endorse::withdraw(&node.open()?, &name)?),
        AdminCommand::Revocations(command) => done(revocations_command(command)?),
        AdminCommand::Keys(command) => done(keys_command(command)?),
        AdminCommand::Module(ModuleCommand::List { node }) => done(runs::runs(&node.open()?)?),
        AdminCommand::Module(ModuleCommand::Stop { run, node }) => done(runs::stop(&node.open()?, run)?),
        AdminCommand::Query(QueryCommand::List { node }) => done(runs::queries(&node.open()?)?),
        AdminCommand::Query(QueryCommand::Cancel { id, node }) => done(runs::cancel(&node.open()?, &id)?),
        AdminCommand::Trace(command) => trace::run(command),
    }
}

impl NodeArgument {
    pub(super) fn path(&self) -> &Path {
        &self.node
    }

    pub(super) fn open(&self) -> Result<AdminNode, AdminError> {
        AdminNode::open(&self.node)
    }
}

fn partner(command: PartnerCommand) -> Result<String, AdminError> {
    match command {
        PartnerCommand::Add {
            name,
            card,
            ceiling,
            project,
            may_plug_in,
            output,
            node,
        } => {
            let grant = Grant {
                ceiling,
                project,
                may_plug_in,
            };
            partners::add(&mut node.open()?, &name, &card, grant, &output)
        }
        PartnerCommand::List { node } => Ok(partners::list(&node.open()?)),
        PartnerCommand::Rotate {
            name,
            card,
            output,
            node,
        } => partners::rotate(&mut node.open()?, &name, &card, &output),
        PartnerCommand::Suspend { name, node } => {
            partners::change(&mut node.open()?, &name, Standing::Suspend)
        }
        PartnerCommand::Resume { name, node } => partners::change(&mut node.open()?, &name, Standing::Resume),
        PartnerCommand::Revoke { name, node } => partners::change(&mut node.open()?, &name, Standing::Revoke),
    }
}

fn developer(command: DeveloperCommand) -> Result<String, AdminError> {
    match command {
        DeveloperCommand::Add {
            name,
            card,
            ceiling,
            output_ceiling,
            output,
            node,
        } => developers::add(&node.open()?, &name, &card, ceiling, output_ceiling, &output),
        DeveloperCommand::List { node } => Ok(developers::list(&node.open()?)),
        DeveloperCommand::Rotate {
            name,
            card,
            compromised,
            output,
            node,
        } => developers::rotate(&node.open()?, &name, &card, compromised, &output),
        DeveloperCommand::Revoke { name, node } => developers::revoke(&node.open()?, &name),
    }
}

fn revocations_command(command: RevocationsCommand) -> Result<String, AdminError> {
    match command {
        RevocationsCommand::Show { node } => revocations::show(&node.open()?),
        RevocationsCommand::Add {
            keys,
            modules,
            days,
            node,
        } => {
            let addition = revocations::Addition { keys, modules, days };
            revocations::add(&node.open()?, addition)
        }
        RevocationsCommand::Install { file, node } => revocations::install(&node.open()?, &file),
    }
}

fn keys_command(command: KeysCommand) -> Result<String, AdminError> {
    match command {
        KeysCommand::Show { node } => Ok(keys::show(&node.open()?)),
        KeysCommand::Renew { node } => keys::renew(&node.open()?),
        KeysCommand::Destroy {
            epoch,
            trace,
            records,
            all,
            node,
        } => {
            let what = match (trace || all, records || all) {
                (true, true) => Destroy::All,
                (true, false) => Destroy::Trace,
                (false, true) => Destroy::Records,
                (false, false) => {
                    return Err(AdminError::refused(
                        "it is not said what to destroy",
                        "add --trace, --records or --all",
                    ));
                }
            };
            keys::destroy(&mut node.open()?, epoch, what)
        }
    }
}
