//! A node's folder and the people around it, made, registered and started through the programs that people use:
//! what the end-to-end tests and the benchmark share. Must never reach into a node in another way.

pub mod processes;

use std::fs::{self, OpenOptions};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

/// What goes wrong, for a person: what, and where to look.
pub type Result<T> = std::result::Result<T, String>;

/// A program of this build: it lies beside the running one (a test runs one folder further down).
pub fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(|e| format!("this program does not find itself: {e}"))?;
    let found = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    found.ok_or_else(|| {
        format!("{name} is not built\n  fix: cargo build --workspace --bins, in the same profile")
    })
}

/// Runs a command of a program to its end and gives what it printed; the error carries its last words.
pub fn run(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{shown} does not start: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{shown} ended with {}:\n{}",
        output.status,
        words.trim_end()
    ))
}

/// A port of loopback that nobody listens on. Below the range that the kernel gives to outgoing
/// connections, and each process of tests begins elsewhere, so that tests side by side do not meet.
pub fn free_port() -> Result<u16> {
    const FIRST: u16 = 15_000;
    const COUNT: u16 = 17_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id().wrapping_mul(97) % u32::from(COUNT)) as u16;
    (0..COUNT)
        .map(|_| FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .ok_or_else(|| "no port of loopback is free".to_owned())
}

/// `como keygen`: the keys of a SPIFFE id, in a new folder.
pub fn keygen(id: &str, keys: &Path) -> Result<()> {
    let mut command = Command::new(program("como")?);
    run(command.args(["keygen", "--name", id, "--out"]).arg(keys)).map(drop)
}

/// A node's folder, and whose it is.
#[derive(Clone, Debug)]
pub struct Site {
    /// The folder.
    pub folder: PathBuf,
    /// The user who does everything of the node; `None`: whoever runs this program.
    pub user: Option<u32>,
}

impl Site {
    /// A node of this program's own user.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            user: None,
        }
    }

    /// `como-node init` on loopback. `source`: `file:PATH` or `live:INTERFACE`.
    pub fn init(&self, name: &str, mode: &str, source: &str, port: u16) -> Result<()> {
        let mut command = self.command()?;
        command.arg("init").arg(&self.folder);
        command.args(["--name", name, "--mode", mode, "--source", source]);
        run(command.args(["--listen", &format!("127.0.0.1:{port}")])).map(drop)
    }

    /// `como-node`, as the node's user.
    pub fn command(&self) -> Result<Command> {
        let mut command = Command::new(program("como-node")?);
        if let Some(uid) = self.user {
            command.uid(uid).gid(uid);
        }
        Ok(command)
    }

    /// A command of `como-node` on this folder: `verbs`, then `--node FOLDER`.
    pub fn admin(&self, verbs: &[&str]) -> Result<Command> {
        let mut command = self.command()?;
        command.args(verbs).arg("--node").arg(&self.folder);
        Ok(command)
    }

    /// Registers the owner of `keys` as `partner` or `developer` under the name `entry`, and takes the welcome
    /// back. Card and welcome go through files beside the node's folder: keys are their owner's alone.
    pub fn enrol(&self, kind: &str, entry: &str, keys: &Path, grant: &[&str]) -> Result<()> {
        let file = |what: &str| self.folder.with_file_name(format!("{entry}.{what}.toml"));
        let (card, welcome) = (file("card"), file("welcome"));
        fs::copy(keys.join("card.toml"), &card).map_err(|e| format!("{}: {e}", card.display()))?;
        let mut add = self.admin(&[kind, "add", entry])?;
        add.args(grant).arg("--card").arg(&card);
        run(add.arg("--output").arg(&welcome))?;
        let mut join = Command::new(program("como")?);
        run(join.arg("--keys").arg(keys).arg("join").arg(&welcome)).map(drop)
    }

    /// `como-node run`; its log goes to the end of a file.
    pub fn launch(&self, log: &Path) -> Result<Child> {
        let to = OpenOptions::new().create(true).append(true).open(log);
        let to = to.and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) = to.map_err(|e| format!("{}: {e}", log.display()))?;
        self.command()?
            .arg("run")
            .arg(&self.folder)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|e| format!("como-node does not start: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_tells_what_and_why() {
        let error = run(Command::new("sh").args(["-c", "echo because >&2; exit 4"])).unwrap_err();
        assert!(error.contains("because") && error.contains("sh"), "{error}");
    }
}
