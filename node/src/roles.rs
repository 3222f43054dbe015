//! The one file that names all roles: what each does between being started and running.
//!
//! Every role begins alike: read the first message of the control link, open what must be opened before
//! (a source, a listening socket), close the sandbox over itself, say `ready`, run.

use std::path::PathBuf;

use como_capnp::wire_capnp as wire;

use crate::link::{self, Frame, LinkReceiver, LinkSender};
use crate::process::{self, Needs, Role, RoleArguments};
use crate::wire::{self as messages, text};
use crate::{capture, export, query, reader, runner, storage};

/// A role that ended with an error, which the supervisor was told.
#[derive(Debug)]
pub struct RoleFailed;

/// Runs a role as the supervisor started it (`como-node role ...`).
pub fn run(arguments: &RoleArguments) -> Result<(), RoleFailed> {
    let (mut control, commands) = match link::control() {
        Ok(link) => link,
        Err(error) => {
            tracing::error!("no control link: {error}; roles are started by the supervisor only");
            return Err(RoleFailed);
        }
    };
    // A second sender for what goes wrong: the role itself owns the first.
    let mut last_words = link::control().ok().map(|(sender, _)| sender);
    start(arguments, &mut control, commands).map_err(|failure| {
        if let Some(sender) = &mut last_words {
            let _ = sender.send_bytes(&messages::failed(&failure.what, failure.lasting), &[]);
        }
        RoleFailed
    })
}

type Text = String;

/// Why a role ends.
struct Failure {
    what: Text,
    /// Starting it again mends nothing.
    lasting: bool,
}

impl From<Text> for Failure {
    fn from(what: Text) -> Self {
        Self { what, lasting: false }
    }
}

fn start(
    arguments: &RoleArguments,
    control: &mut LinkSender,
    mut commands: LinkReceiver,
) -> Result<(), Failure> {
    let say = |e: &dyn std::fmt::Display| e.to_string();
    let first = commands
        .recv()
        .map_err(|e| say(&e))?
        .ok_or_else(|| "the supervisor went away\nStart the node again.".to_owned())?;
    let control = control.try_clone().map_err(|e| say(&e))?;
    match arguments.role {
        Role::Capture => {
            let source = capture::open(&first).map_err(|e| say(&e))?;
            let control = confine(arguments, control, Needs::default())?;
            capture::run(control, commands, &first, source).map_err(|e| Failure {
                what: say(&e),
                lasting: e.is_lasting(),
            })
        }
        Role::Storage => {
            let folders = folders(&first, false).map_err(|e| say(&e))?;
            let needs = Needs {
                read: folders.clone(),
                write: folders,
                bind_port: None,
            };
            let control = confine(arguments, control, needs)?;
            Ok(storage::run(control, commands, &first).map_err(|e| say(&e))?)
        }
        Role::Export => {
            let control = confine(arguments, control, Needs::default())?;
            Ok(export::run(control, commands).map_err(|e| say(&e))?)
        }
        Role::Reader => {
            let needs = Needs {
                read: folders(&first, true).map_err(|e| say(&e))?,
                ..Needs::default()
            };
            let control = confine(arguments, control, needs)?;
            Ok(reader::run(control, commands, &first).map_err(|e| say(&e))?)
        }
        Role::Runner => {
            let control = confine(arguments, control, Needs::default())?;
            Ok(runner::run(control, commands, &first).map_err(|e| say(&e))?)
        }
        Role::Query => {
            let mut start = query_parameters(&first).map_err(|e| say(&e))?;
            start.bind().map_err(|e| say(&e))?;
            let port = start
                .listener
                .as_ref()
                .and_then(|l| l.local_addr().ok())
                .map(|a| a.port());
            let control = confine(
                arguments,
                control,
                Needs {
                    bind_port: port,
                    ..Needs::default()
                },
            )?;
            Ok(query::run(control, commands, start).map_err(|e| say(&e))?)
        }
    }
}

/// Closes the sandbox, then says `ready`: only now may input come.
fn confine(arguments: &RoleArguments, mut control: LinkSender, needs: Needs) -> Result<LinkSender, Text> {
    let report = process::plan_for(arguments, needs)
        .and_then(|plan| process::enter(&plan))
        .map_err(|e| e.to_string())?;
    control
        .send_bytes(&messages::ready(&report.to_string()), &[])
        .map_err(|e| e.to_string())?;
    Ok(control)
}

/// The folders that a storage or reader process is started on.
fn folders(first: &Frame, reader: bool) -> capnp::Result<Vec<PathBuf>> {
    let message = como_capnp::read_message(&first.bytes)?;
    match messages::read_down(&message)? {
        wire::down::Which::StartReader(start) if reader => {
            let start = start?;
            let named = [text(start.get_directory())?, text(start.get_records_directory())?];
            let used = named.into_iter().filter(|folder| !folder.is_empty());
            Ok(used.map(PathBuf::from).collect())
        }
        wire::down::Which::StartStorage(start) if !reader => Ok(vec![text(start?.get_directory())?.into()]),
        _ => Err(capnp::Error::failed(
            "the first message is not this role's start".into(),
        )),
    }
}

fn query_parameters(first: &Frame) -> Result<query::StartParameters, Text> {
    let read = || -> capnp::Result<Result<query::StartParameters, Text>> {
        let message = como_capnp::read_message(&first.bytes)?;
        match messages::read_down(&message)? {
            wire::down::Which::StartQuery(start) => {
                Ok(query::StartParameters::read(start?).map_err(|e| e.to_string()))
            }
            _ => Err(capnp::Error::failed(
                "the first message is not this role's start".into(),
            )),
        }
    };
    read().map_err(|e| e.to_string())?
}
