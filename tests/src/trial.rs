//! A node of the benchmark with its users: asked through the client library, measured by the table of processes.
//! Must never reach into a running node in another way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use como_client::blocking::Client;
use como_client::keys::Bundle;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::site::processes;
pub use crate::site::{Result, program, run};
use crate::site::{Site, free_port, keygen};

/// The trust domain of all trials.
pub const DOMAIN: &str = "trial.example";
/// How long a node may take to serve its first answer.
const START: Duration = Duration::from_secs(20);
/// How long a node may take to drain and seal.
const STOP: Duration = Duration::from_secs(30);
/// How often a node is asked whether it is as far as we wait for.
const POLL: Duration = Duration::from_millis(20);

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
        keygen(&id, &keys)?;
        Ok(Self { keys, name: id })
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
    site: Site,
    supervisor: Option<Child>,
}

impl Node {
    /// `como-node init`, restricted mode, on a free port of loopback.
    pub fn init(folder: &Path, capture: &Path) -> Result<Self> {
        Self::init_as(folder, capture, "restricted")
    }

    /// The same in another mode: `public`, `restricted` or `private`.
    pub fn init_as(folder: &Path, capture: &Path, mode: &str) -> Result<Self> {
        Self::init_with(folder, &format!("file:{}", capture.display()), mode)
    }

    /// A node that captures on an interface, restricted mode.
    pub fn init_live(folder: &Path, interface: &str) -> Result<Self> {
        Self::init_with(folder, &format!("live:{interface}"), "restricted")
    }

    fn init_with(folder: &Path, source: &str, mode: &str) -> Result<Self> {
        let site = Site::new(folder);
        let name = format!("spiffe://{DOMAIN}/observatory/node");
        site.init(&name, mode, source, free_port()?)?;
        Ok(Self {
            folder: folder.to_owned(),
            site,
            supervisor: None,
        })
    }

    /// Registers a partner who may bring and start modules, up to a level, and takes the welcome back to it.
    pub fn add_partner(&self, person: &Person, project: &str, ceiling: &str) -> Result<()> {
        let grant = ["--project", project, "--may-plug-in", "--ceiling", ceiling];
        self.site.enrol("partner", person.entry(), &person.keys, &grant)
    }

    /// Registers a developer up to a level, and takes the welcome back to it. Who is a developer at a node
    /// is no partner there: somebody else starts and queries the modules.
    pub fn add_developer(&self, person: &Person, ceiling: &str) -> Result<()> {
        let grant = ["--ceiling", ceiling];
        self.site.enrol("developer", person.entry(), &person.keys, &grant)
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

    /// Has every section kept, so that packets come back byte for byte; the node must not have run.
    pub fn retain_payload(&self) -> Result<()> {
        let file = self.folder.join(como_node::config::FILE_NAME);
        let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let others = text.lines().filter(|line| !line.starts_with("retain = "));
        let mut lines: Vec<&str> = others.collect();
        let section = lines
            .iter()
            .position(|line| *line == "[trace]")
            .unwrap_or_else(|| {
                lines.push("[trace]");
                lines.len() - 1
            });
        lines.insert(section + 1, "retain = \"payload\"");
        fs::write(&file, lines.join("\n") + "\n").map_err(|e| format!("{}: {e}", file.display()))
    }

    /// `como-node trace export`: every packet of the trace, byte for byte, into a pcap file.
    pub fn export(&self, out: &Path) -> Result<Command> {
        let mut command = self.site.admin(&["trace", "export"])?;
        command
            .args(["--level", "payload", "--format", "pcap", "--force", "-o"])
            .arg(out);
        Ok(command)
    }

    /// The same into a pipe.
    pub fn export_to_stdout(&self) -> Result<Command> {
        let mut command = self.site.admin(&["trace", "export"])?;
        command.args(["--level", "payload", "--format", "pcap", "-o", "-"]);
        Ok(command)
    }

    /// `como-node import` of one file; the node must not run.
    pub fn import(&self, capture: &Path) -> Result<Command> {
        let mut command = self.site.admin(&["import"])?;
        command.arg(capture);
        Ok(command)
    }

    /// `como-node run`; its log goes to `node.log` beside its folder.
    pub fn start(&mut self) -> Result<()> {
        self.supervisor = Some(self.site.launch(&self.log())?);
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
        let own = processes::one(supervisor).into_iter();
        let ours = own.chain(processes::below(supervisor));
        Ok(ours.map(|p| p.own_s + p.ended_children_s).sum())
    }

    /// Processor time of each living process by its role, as a status names them, seconds.
    pub fn cpu_by_role(&self, status: &Value) -> Result<Vec<(String, f64)>> {
        let own_s = |pid: u64| processes::one(u32::try_from(pid).ok()?).map(|process| process.own_s);
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

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.stop();
        if let Some(child) = &mut self.supervisor {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
