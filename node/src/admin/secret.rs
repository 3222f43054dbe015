//! Where the root secret comes from at this start. Must never keep it, print it or pass it on.

use std::io::{BufRead, Write};
use std::process::{Command, Stdio};

use como_keys::keyring::passphrase_params;
use como_keys::root::{PassphraseParams, RootSecret};
use zeroize::Zeroizing;

use super::AdminError;
use crate::config::{Config, Root};

/// The root secret that the configuration names; a passphrase is asked for on the terminal.
pub fn root_secret(config: &Config) -> Result<RootSecret, AdminError> {
    Ok(match &config.keys.root {
        Root::File(path) => RootSecret::from_key_file(path)?,
        Root::Credential(name) => RootSecret::from_systemd_credential(name)?,
        Root::Passphrase => {
            let Some(params) = passphrase_params(&config.layout().keyring())? else {
                return Err(AdminError::refused(
                    "the key file is not sealed by a passphrase",
                    "name in [keys] what it was sealed with: a file or a credential",
                ));
            };
            RootSecret::from_passphrase(&ask("Passphrase of the node: ")?, &params)?
        }
    })
}

/// A new root secret from a passphrase that is typed twice.
pub(super) fn new_passphrase() -> Result<RootSecret, AdminError> {
    let first = ask("New passphrase of the node: ")?;
    if first.chars().count() < MIN_PASSPHRASE_CHARS {
        return Err(AdminError::refused(
            "the passphrase is too short",
            format!("use at least {MIN_PASSPHRASE_CHARS} characters, several words"),
        ));
    }
    if *ask("Once more: ")? != *first {
        return Err(AdminError::refused(
            "the two differ",
            "type the same passphrase twice",
        ));
    }
    Ok(RootSecret::from_passphrase(
        &first,
        &PassphraseParams::generate(),
    )?)
}

/// Shortest passphrase, characters: it protects every key of the node offline.
const MIN_PASSPHRASE_CHARS: usize = 12;

fn ask(prompt: &str) -> Result<Zeroizing<String>, AdminError> {
    let unavailable = |_| {
        AdminError::refused(
            "a passphrase is needed, and there is no terminal to ask on",
            "start from a terminal, or use a key file or a systemd credential in [keys]",
        )
    };
    let open = || {
        std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/tty")
    };
    let mut tty = open().map_err(unavailable)?;
    tty.write_all(prompt.as_bytes()).map_err(unavailable)?;
    let echo = |on: &str| {
        let tty = open()?;
        Command::new("stty").arg(on).stdin(Stdio::from(tty)).status()
    };
    echo("-echo").map_err(unavailable)?;
    let mut line = Zeroizing::new(String::new());
    let read = std::io::BufReader::new(&tty).read_line(&mut line);
    // Whatever happened, the terminal echoes again.
    let _ = echo("echo");
    let _ = tty.write_all(b"\n");
    read.map_err(unavailable)?;
    Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}
