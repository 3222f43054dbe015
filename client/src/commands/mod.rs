//! One file per family of commands: each turns a parsed command line into calls of the library.
//!
//! Owns what a person sees of each command; must never speak to a node or open a file but through the
//! library's modules, nor exit the process.

mod anonymize;
mod audit;
mod capture;
mod dataset;
mod keys;
mod manual;
mod module_local;
mod module_show;
mod modules;
mod node;
mod open;
mod query;

use std::path::PathBuf;

use crate::blocking::Client;
use como_keys::signing::VerifyingKey;

use crate::cli::{AuditCommand, Cli, Command, Common};
use crate::error::{ClientError, Result};
use crate::keys::Bundle;
use crate::output::Output;
use crate::profile::{self, Profile};

/// Runs one command line.
pub fn run(cli: Cli) -> Result<()> {
    let context = Context {
        output: Output {
            json: cli.common.json,
        },
        common: cli.common,
    };
    match cli.command {
        Command::Keygen(args) => keys::keygen(&context, &args),
        Command::Join(args) => keys::join(&context, &args),
        Command::Module(command) => modules::run(&context, command),
        Command::Query(args) => query::query(&context, &args),
        Command::Trace(args) => query::trace(&context, &args),
        Command::Fetch(args) => query::fetch(&context, &args),
        Command::Cancel(args) => query::cancel(&context, &args),
        Command::Status => node::status(&context),
        Command::Catalog => node::catalog(&context),
        Command::Dataset(command) => dataset::run(&context, command),
        Command::Anonymize(args) => anonymize::run(&context, &args),
        Command::Audit(AuditCommand::Verify(args)) => audit::verify(&context, &args),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { dir } => manual::man(&context, &dir),
    }
}

/// Width of a page where stdout is no terminal that says its own.
const PAGE_WIDTH: usize = 100;

/// How wide a page may be, in characters.
fn page_width() -> usize {
    let columns = std::env::var("COLUMNS").ok();
    columns
        .and_then(|columns| columns.parse().ok())
        .unwrap_or(PAGE_WIDTH)
}

/// What every command works with; keys and profile are read when a command needs them.
struct Context {
    output: Output,
    common: Common,
}

impl Context {
    /// The folder of keys and nodes.
    fn keys_dir(&self) -> Result<PathBuf> {
        let set = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        self.common
            .keys
            .clone()
            .or_else(|| set("XDG_CONFIG_HOME").map(|dir| dir.join("como")))
            .or_else(|| set("HOME").map(|dir| dir.join(".config/como")))
            .ok_or_else(|| {
                ClientError::keys(
                    "there is no home folder to keep keys in",
                    "name a folder with --keys DIR",
                )
            })
    }

    fn bundle(&self) -> Result<Bundle> {
        Bundle::open(&self.keys_dir()?)
    }

    fn profile(&self) -> Result<Profile> {
        profile::find(&self.keys_dir()?, self.common.node.as_deref())
    }

    /// The key given in hex, else that of the node in the profile.
    fn node_key(&self, hex: Option<&str>) -> Result<VerifyingKey> {
        match hex {
            Some(hex) => VerifyingKey::from_hex(hex).map_err(|error| {
                let (what, _) = crate::error::split(&error.to_string());
                ClientError::usage(
                    what,
                    "give the node's public signing key: `node_key` of its welcome file",
                )
            }),
            None => Ok(self.profile()?.node_key),
        }
    }

    fn client(&self) -> Result<(Client, Profile)> {
        let bundle = self.bundle()?;
        let profile = self.profile()?;
        Ok((Client::new(&bundle, &profile)?, profile))
    }
}
