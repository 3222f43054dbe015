//! Tries, inside a role's sandbox, what must be denied: `como-node role probe ROLE`. It is how the tests
//! and a doubtful operator see that the sandbox of this very machine holds.
//!
//! Must never be given input to handle: it takes a role's name and makes its own folder.

use std::collections::BTreeMap;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::process::ExitCode;

use super::{Needs, Role, RoleArguments, SandboxError, enter, plan_for};

/// What was tried and how it ended, and what the kernel says of the process.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ProbeReport {
    /// The role whose sandbox it is.
    pub role: String,
    /// What is in force, as the role would log it.
    pub sandbox: String,
    /// What must be denied: `denied: REASON` or `ALLOWED`.
    pub must_fail: BTreeMap<String, String>,
    /// What the role needs: `works`, or why it does not.
    pub must_work: BTreeMap<String, String>,
    /// From `/proc/self/status`: Uid, Gid, Groups, CapEff, CapPrm, NoNewPrivs, Seccomp.
    pub status: BTreeMap<String, String>,
    /// Whether the process may dump core or be looked into.
    pub dumpable: bool,
}

impl ProbeReport {
    /// Whether all that must be denied was, and all that is needed works.
    pub fn holds(&self) -> bool {
        let kernel = |key: &str, value: &str| self.status.get(key).is_some_and(|held| held == value);
        self.must_fail
            .values()
            .all(|outcome| outcome.starts_with("denied"))
            && self.must_work.values().all(|outcome| outcome == "works")
            && kernel("NoNewPrivs", "1")
            && kernel("Seccomp", "2")
            && kernel("CapEff", "0000000000000000")
            && !self.dumpable
    }
}

/// Lines of the kernel's account of a process that the report repeats.
const STATUS_KEYS: [&str; 7] = [
    "Uid",
    "Gid",
    "Groups",
    "CapEff",
    "CapPrm",
    "NoNewPrivs",
    "Seccomp",
];

/// Enters the sandbox of `arguments.role` in this process, for good, and tries the forbidden things.
/// `folder` is given to the role as far as its row of the table allows; a file named `file` must lie in it.
pub fn probe(arguments: &RoleArguments, folder: &Path) -> Result<ProbeReport, SandboxError> {
    let row = arguments.role.row();
    let own = |given: bool| if given { vec![folder.to_owned()] } else { vec![] };
    let needs = Needs {
        read: own(row.reads.is_some()),
        write: own(row.writes.is_some()),
        bind_port: row.listens.map(|_| 0),
    };
    let plan = plan_for(arguments, needs)?;
    let unopened = |why| SandboxError::Path {
        path: "/proc/self/status".into(),
        why,
    };
    // Opened before: afterwards nothing is. The kernel writes it anew at each reading.
    let mut status = std::fs::File::open("/proc/self/status").map_err(unopened)?;
    let parent = std::os::unix::process::parent_id();
    let sandbox = enter(&plan)?.to_string();
    let mut text = String::new();
    status
        .rewind()
        .and_then(|()| status.read_to_string(&mut text))
        .map_err(unopened)?;
    Ok(ProbeReport {
        role: arguments.role.name().to_owned(),
        sandbox,
        must_fail: forbidden(arguments.role, folder, parent),
        must_work: needed(arguments.role, folder),
        status: text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .filter(|(key, _)| STATUS_KEYS.contains(key))
            .map(|(key, value)| {
                let words: Vec<&str> = value.split_whitespace().collect();
                (key.to_owned(), words.join(" "))
            })
            .collect(),
        dumpable: nix::sys::prctl::get_dumpable().unwrap_or(true),
    })
}

fn forbidden(role: Role, folder: &Path, parent: u32) -> BTreeMap<String, String> {
    use rustix::net::{AddressFamily, SocketType, socket};
    use std::net::{TcpStream, UdpSocket};
    use std::os::unix::net::{UnixListener, UnixStream};
    let row = role.row();
    let mut tries = BTreeMap::new();
    let mut denied = |name: &str, result: Result<(), String>| {
        let outcome = result.map_or_else(|why| format!("denied: {why}"), |()| "ALLOWED".to_owned());
        tries.insert(name.to_owned(), outcome);
    };
    denied("open /etc/passwd", of(std::fs::File::open("/etc/passwd")));
    denied("list /", of(std::fs::read_dir("/")));
    denied(
        "write /tmp",
        of(std::fs::File::create("/tmp/como-probe-must-not-exist")),
    );
    denied("chmod own folder", of(chmod(folder)));
    if row.reads.is_none() {
        denied(
            "read the data folder",
            of(std::fs::File::open(folder.join("file"))),
        );
    }
    if row.writes.is_none() {
        denied(
            "write the data folder",
            of(std::fs::File::create(folder.join("new"))),
        );
    }
    // Were it allowed, this process would be gone, and its report with it.
    let become_program =
        std::os::unix::process::CommandExt::exec(&mut std::process::Command::new("/bin/true"));
    denied("become a program", Err(become_program.to_string()));
    denied(
        "run a program",
        of(std::process::Command::new("/bin/true").spawn()),
    );
    denied("signal the parent", of(signal(parent)));
    denied(
        "look at the parent's memory",
        of(std::fs::File::open(format!("/proc/{parent}/mem"))),
    );
    denied("become root", of(nix::unistd::setuid(0.into())));
    denied("raise limits", of(raise_limits()));
    denied("connect to TCP", of(TcpStream::connect("127.0.0.1:9")));
    denied("UDP socket", of(UdpSocket::bind("127.0.0.1:0")));
    denied("Unix socket", of(UnixListener::bind(folder.join("socket"))));
    denied(
        "raw socket",
        of(socket(AddressFamily::INET, SocketType::RAW, None)),
    );
    denied(
        "packet socket",
        of(socket(AddressFamily::PACKET, SocketType::RAW, None)),
    );
    denied(
        "netlink socket",
        of(socket(AddressFamily::NETLINK, SocketType::DGRAM, None)),
    );
    if role != Role::Query {
        denied("TCP socket", of(std::net::TcpListener::bind("127.0.0.1:0")));
        denied("socket pair", of(UnixStream::pair()));
    }
    tries
}

fn needed(role: Role, folder: &Path) -> BTreeMap<String, String> {
    let row = role.row();
    let mut tries = BTreeMap::new();
    let mut works = |name: &str, result: Result<(), String>| {
        tries.insert(
            name.to_owned(),
            result.err().unwrap_or_else(|| "works".to_owned()),
        );
    };
    works(
        "start a thread",
        of(std::thread::Builder::new()
            .spawn(|| ())
            .map(|thread| thread.join().is_ok())),
    );
    works(
        "allocate 64 MiB",
        of(Vec::<u8>::new().try_reserve_exact(64 << 20)),
    );
    works("write the log", of(std::io::stderr().write(b"")));
    if row.reads.is_some() {
        works("read the data folder", of(std::fs::read(folder.join("file"))));
    }
    if row.writes.is_some() {
        works("write the data folder", of(write_and_remove(folder)));
    }
    if row.listens.is_some() {
        works("listen", of(std::net::TcpListener::bind("127.0.0.1:0")));
    }
    tries
}

fn of<T, E: ToString>(result: Result<T, E>) -> Result<(), String> {
    result.map(drop).map_err(|e| e.to_string())
}

fn chmod(folder: &Path) -> std::io::Result<()> {
    let permissions = folder.metadata()?.permissions();
    std::fs::set_permissions(folder, permissions)
}

fn signal(process: u32) -> rustix::io::Result<()> {
    let pid = rustix::process::Pid::from_raw(process as i32).ok_or(rustix::io::Errno::SRCH)?;
    // Signal 0 in effect: only asks whether one could.
    rustix::process::test_kill_process(pid)
}

fn raise_limits() -> rustix::io::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    setrlimit(Resource::Core, getrlimit(Resource::Core))
}

fn write_and_remove(folder: &Path) -> std::io::Result<()> {
    let path = folder.join("new");
    let mut file = std::fs::File::create(&path)?;
    file.write_all(b"sealed")?;
    file.sync_all()?;
    std::fs::rename(&path, folder.join("renamed"))?;
    std::fs::remove_file(folder.join("renamed"))
}

/// `como-node role probe ROLE [--sandbox MODE] [--drop-to UID:GID]`: prints the report as JSON. Status 0:
/// all that must be denied is; 1: something is not; 2: the sandbox could not be closed.
pub fn probe_main<S: AsRef<str>>(args: &[S]) -> ExitCode {
    // The folder is made and removed by this process; a child closes the sandbox over itself.
    let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    match args.as_slice() {
        [INSIDE, folder, args @ ..] => inside(Path::new(folder), args),
        _ => around(&args).unwrap_or_else(|why| {
            eprintln!("{why}");
            ExitCode::from(2)
        }),
    }
}

/// First argument of the child.
const INSIDE: &str = "--inside";

fn inside(folder: &Path, args: &[&str]) -> ExitCode {
    let report =
        RoleArguments::parse(args).and_then(|arguments| probe(&arguments, folder).map_err(|e| e.to_string()));
    match report {
        Ok(report) => {
            println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
            if report.holds() {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(1)
            }
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

fn around(args: &[&str]) -> Result<ExitCode, String> {
    let arguments = RoleArguments::parse(args)?;
    let folder = std::env::temp_dir().join(format!("como-probe-{}", std::process::id()));
    let ended = prepare(&folder, &arguments)
        .and_then(|()| {
            std::process::Command::new(super::spawn::OWN_BINARY)
                .args(["role", "probe", INSIDE])
                .arg(&folder)
                .args(args)
                .env_clear()
                .status()
        })
        .map_err(|e| format!("{}: {e}", folder.display()));
    // Best effort: a leftover holds nothing.
    let _ = std::fs::remove_dir_all(&folder);
    Ok(ExitCode::from(ended?.code().map_or(2, |code| code as u8)))
}

fn prepare(folder: &Path, arguments: &RoleArguments) -> std::io::Result<()> {
    std::fs::create_dir(folder)?;
    std::fs::write(folder.join("file"), b"sealed")?;
    if let Some(ids) = arguments.drop_to {
        std::os::unix::fs::chown(folder, Some(ids.uid), Some(ids.gid))?;
    }
    Ok(())
}
