//! A node on loopback with its users, for the benchmark and for end-to-end tests: made, registered, run and
//! stopped through the programs that people use. Must never reach into a running node in another way.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use como_client::blocking::Client;
use como_client::keys::Bundle;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// What goes wrong, for a person: what, and where to look.
pub type Result<T> = std::result::Result<T, String>;

/// The trust domain of all trials.
pub const DOMAIN: &str = "trial.example";
/// How long a node may take to serve its first answer.
const START: Duration = Duration::from_secs(20);
/// How long a node may take to drain and seal.
const STOP: Duration = Duration::from_secs(30);
/// How often a node is asked whether it is as far as we wait for.
const POLL: Duration = Duration::from_millis(20);

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

/// A developer or partner: a folder of keys.
pub struct Person {
    /// The folder, as `como --keys` takes it.
    pub keys: PathBuf,
    /// SPIFFE id.
    pub name: String,
}

impl Person {
    /// Makes the keys of `organisation/name` under a folder.
    pub fn create(folder: &Path, organisation: &str, name: &str) -> Result<Self> {
        let keys = folder.join(name);
        let id = format!("spiffe://{DOMAIN}/{organisation}/{name}");
        run(Command::new(program("como")?)
            .args(["keygen", "--name", &id, "--out"])
            .arg(&keys))?;
        Ok(Self { keys, name: id })
    }

    /// The card that an operator registers.
    pub fn card(&self) -> PathBuf {
        self.keys.join("card.toml")
    }

    /// Name of the entry in a node's registry: the last part of the id.
    fn entry(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    /// A command of `como`, as this person.
    pub fn como(&self) -> Result<Command> {
        let mut command = Command::new(program("como")?);
        command.arg("--keys").arg(&self.keys);
        Ok(command)
    }

    /// The client library, as this person.
    pub fn client(&self) -> Result<Client> {
        let bundle = Bundle::open(&self.keys).map_err(|e| e.to_string())?;
        let profile = como_client::profile::find(&self.keys, None).map_err(|e| e.to_string())?;
        Client::new(&bundle, &profile).map_err(|e| e.to_string())
    }
}

/// A node's folder, and the node's processes while it runs.
pub struct Node {
    /// Its folder.
    pub folder: PathBuf,
    supervisor: Option<Child>,
}

impl Node {
    /// `como-node init`, restricted mode, on a free port of loopback.
    pub fn init(folder: &Path, capture: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .map_err(|e| format!("no free port on loopback: {e}"))?
            .port();
        let mut command = Command::new(program("como-node")?);
        command.arg("init").arg(folder);
        command.args(["--name", &format!("spiffe://{DOMAIN}/observatory/node")]);
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--source", &format!("file:{}", capture.display())]);
        run(&mut command)?;
        Ok(Self {
            folder: folder.to_owned(),
            supervisor: None,
        })
    }

    /// A command of `como-node` on this node's folder: `verbs`, then `--node FOLDER`.
    pub fn admin(&self, verbs: &[&str]) -> Result<Command> {
        let mut command = Command::new(program("como-node")?);
        command.args(verbs).arg("--node").arg(&self.folder);
        Ok(command)
    }

    /// Registers a partner who may bring and start modules, up to a level, and takes the welcome back to it.
    pub fn add_partner(&self, person: &Person, project: &str, ceiling: &str) -> Result<()> {
        let mut command = self.admin(&["partner", "add", person.entry()])?;
        command.args(["--project", project, "--may-plug-in"]);
        enrol(&mut command, person, ceiling)
    }

    /// Registers a developer up to a level, and takes the welcome back to it. Who is a developer at a node
    /// is no partner there: somebody else starts and queries the modules.
    pub fn add_developer(&self, person: &Person, ceiling: &str) -> Result<()> {
        enrol(
            &mut self.admin(&["developer", "add", person.entry()])?,
            person,
            ceiling,
        )
    }

    /// Names another capture in the configuration; the node must not run.
    pub fn set_capture(&self, capture: &Path) -> Result<()> {
        let file = self.folder.join(como_node::config::FILE_NAME);
        let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let replaced: Vec<String> = text
            .lines()
            .map(|line| match line.trim_start().starts_with("path = ") {
                true => format!("path = {:?}", capture.display().to_string()),
                false => line.to_owned(),
            })
            .collect();
        fs::write(&file, replaced.join("\n") + "\n").map_err(|e| format!("{}: {e}", file.display()))
    }

    /// `como-node run`; its log goes to `node.log` beside its folder.
    pub fn start(&mut self) -> Result<()> {
        let log = self.log();
        let to = File::create(&log).and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) = to.map_err(|e| format!("{}: {e}", log.display()))?;
        let child = Command::new(program("como-node")?)
            .arg("run")
            .arg(&self.folder)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|e| format!("como-node does not start: {e}"))?;
        self.supervisor = Some(child);
        Ok(())
    }

    /// Where the log of [`Node::start`] goes.
    pub fn log(&self) -> PathBuf {
        self.folder.with_extension("log")
    }

    /// Waits until the status satisfies a condition, and gives it.
    pub fn wait_until(
        &mut self,
        client: &Client,
        patience: Duration,
        what: &str,
        condition: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let start = Instant::now();
        let mut last = String::new();
        while start.elapsed() < patience {
            match client.status() {
                Ok(status) if condition(&status) => return Ok(status),
                Ok(status) => last = status.to_string(),
                Err(error) => last = error.to_string(),
            }
            if let Some(status) = self.ended()? {
                return Err(format!(
                    "the node ended with {status}; its last words:\n{}",
                    self.last_words()
                ));
            }
            std::thread::sleep(POLL);
        }
        Err(format!(
            "{what} did not come true in {patience:?}; last: {last}\n{}",
            self.last_words()
        ))
    }

    /// Waits until the node serves.
    pub fn wait_until_up(&mut self, client: &Client) -> Result<Value> {
        self.wait_until(client, START, "serving", |_| true)
    }

    /// Waits until the capture file is in the trace, acknowledged to its last packet.
    pub fn wait_until_ingested(&mut self, client: &Client, patience: Duration) -> Result<Value> {
        self.wait_until(client, patience, "the end of the capture file", |status| {
            status["capture"]["source_done"] == Value::Bool(true)
        })
    }

    /// The supervisor's process id.
    pub fn pid(&self) -> Result<u32> {
        self.supervisor
            .as_ref()
            .map(Child::id)
            .ok_or_else(|| "the node does not run".into())
    }

    /// Processor time that the node used so far, its living processes and those that ended, seconds.
    pub fn cpu_s(&self) -> Result<f64> {
        let supervisor = self.pid()?;
        let processes = process_times().map_err(|e| format!("/proc: {e}"))?;
        let ours = processes
            .iter()
            .filter(|p| p.pid == supervisor || p.parent == supervisor);
        Ok(ours.map(|p| p.own_s + p.ended_children_s).sum())
    }

    /// Processor time of each living process by its role, as a status names them, seconds.
    pub fn cpu_by_role(&self, status: &Value) -> Result<Vec<(String, f64)>> {
        let times = process_times().map_err(|e| format!("/proc: {e}"))?;
        let own_s = |pid: u64| {
            times
                .iter()
                .find(|times| u64::from(times.pid) == pid)
                .map(|times| times.own_s)
        };
        let mut found = vec![(
            "supervisor".to_owned(),
            own_s(self.pid()?.into()).unwrap_or_default(),
        )];
        for process in status["processes"].as_array().into_iter().flatten() {
            let role = process["role"].as_str().unwrap_or("?").to_owned();
            found.extend(
                process["pid"]
                    .as_u64()
                    .and_then(own_s)
                    .map(|seconds| (role, seconds)),
            );
        }
        Ok(found)
    }

    /// SIGTERM: the node drains and seals, and must then be gone with status 0.
    pub fn stop(&mut self) -> Result<()> {
        let Some(supervisor) = &mut self.supervisor else {
            return Ok(());
        };
        let pid = Pid::from_raw(supervisor.id() as i32);
        kill(pid, Signal::SIGTERM).map_err(|e| format!("the node cannot be told to stop: {e}"))?;
        let start = Instant::now();
        while start.elapsed() < STOP {
            if let Some(status) = self.ended()? {
                self.supervisor = None;
                return match status.success() {
                    true => Ok(()),
                    false => Err(format!(
                        "the node stopped with {status}; its last words:\n{}",
                        self.last_words()
                    )),
                };
            }
            std::thread::sleep(POLL);
        }
        Err(format!(
            "the node did not stop in {STOP:?}; its last words:\n{}",
            self.last_words()
        ))
    }

    fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        match &mut self.supervisor {
            Some(child) => child
                .try_wait()
                .map_err(|e| format!("the node cannot be waited for: {e}")),
            None => Ok(None),
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

fn enrol(add: &mut Command, person: &Person, ceiling: &str) -> Result<()> {
    let welcome = person.keys.join("welcome.toml");
    add.arg("--card")
        .arg(person.card())
        .args(["--ceiling", ceiling, "--output"])
        .arg(&welcome);
    run(add)?;
    run(person.como()?.arg("join").arg(&welcome))?;
    Ok(())
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.stop();
        if let Some(child) = &mut self.supervisor {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Times of one process, from `/proc/PID/stat` (proc(5)).
struct ProcessTimes {
    pid: u32,
    parent: u32,
    own_s: f64,
    ended_children_s: f64,
}

/// Unit of the times in `/proc`: a hundredth of a second on every Linux that we know.
const TICKS_PER_S: f64 = 100.0;

fn process_times() -> io::Result<Vec<ProcessTimes>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process that ends meanwhile has no times any more.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        found.extend(parse_stat(pid, &stat));
    }
    Ok(found)
}

fn parse_stat(pid: u32, stat: &str) -> Option<ProcessTimes> {
    // The name in parentheses may hold anything: fields are counted from its end. The state is field 3.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let seconds = |a: u64, b: u64| (a + b) as f64 / TICKS_PER_S;
    Some(ProcessTimes {
        pid,
        parent: u32::try_from(field(4)?).ok()?,
        own_s: seconds(field(14)?, field(15)?),
        ended_children_s: seconds(field(16)?, field(17)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_times_are_found_behind_any_name() {
        let stat = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 100 50 30 20 20 0 1 0 99";
        let times = parse_stat(42, stat).unwrap();
        assert_eq!((times.pid, times.parent), (42, 7));
        assert_eq!((times.own_s, times.ended_children_s), (1.5, 0.5));
        assert!(parse_stat(42, "42 (cut) S 7").is_none());
    }

    #[test]
    fn this_process_is_among_them() {
        let own = std::process::id();
        assert!(process_times().unwrap().iter().any(|times| times.pid == own));
    }

    #[test]
    fn a_failing_command_tells_what_and_why() {
        let error = run(Command::new("sh").args(["-c", "echo because >&2; exit 4"])).unwrap_err();
        assert!(error.contains("because") && error.contains("sh"), "{error}");
    }
}
