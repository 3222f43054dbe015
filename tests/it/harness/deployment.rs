//! What is made before a node runs: captures, configuration, people. Must never start a process that stays.

use std::fs::{self, File};
use std::io::BufWriter;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output as Ended, Stdio};

use como_tests::generate::Traffic;
use como_tests::site::{self, Site, free_port};
use tempfile::TempDir;
use toml::{Table, Value};

use super::{CONSORTIUM, Node, Person};

/// Seconds of packet time that a generated capture spans.
const CAPTURE_SECONDS: f64 = 60.0;

/// A node that is being set up, in a folder of its own that vanishes with it.
pub struct Deployment {
    folder: TempDir,
    port: u16,
    mode: String,
    source: Option<String>,
    traffic: Traffic,
    extra: Table,
    observer: Option<Person>,
    site: Site,
}

impl Default for Deployment {
    fn default() -> Self {
        Self::new()
    }
}

impl Deployment {
    /// A restricted node, with a generated capture of 4000 packets in one minute.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("como-it-")
            .tempdir()
            .expect("a temporary folder");
        // Roles with users of their own pass through it.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).expect("chmod");
        let traffic = Traffic {
            packets: 4_000,
            duration_s: CAPTURE_SECONDS,
            ..Traffic::default()
        };
        let site = Site::new(&folder.path().join("node"));
        Self {
            folder,
            port: done(free_port()),
            mode: "restricted".to_owned(),
            source: None,
            traffic,
            extra: Table::new(),
            observer: None,
            site,
        }
    }

    /// Another generated capture as the source: so many packets, from this seed.
    pub fn capture(mut self, packets: usize, seed: u64) -> Self {
        self.traffic.packets = packets;
        self.traffic.seed = seed;
        self
    }

    /// A capture generated as given.
    pub fn traffic(mut self, traffic: Traffic) -> Self {
        self.traffic = traffic;
        self
    }

    /// Another source: `file:PATH` or `live:INTERFACE`.
    pub fn source(mut self, source: &str) -> Self {
        self.source = Some(source.to_owned());
        self
    }

    /// The highest level that the trace keeps.
    pub fn retain(self, level: &str) -> Self {
        let level = format!("[trace]\nretain = \"{level}\"");
        self.config_extra(&level)
    }

    /// `public`, `restricted` or `private`.
    pub fn mode(mut self, mode: &str) -> Self {
        self.mode = mode.to_owned();
        self
    }

    /// TOML that is put over what `como-node init` wrote.
    pub fn config_extra(mut self, toml: &str) -> Self {
        merge(&mut self.extra, toml.parse().expect("the test's TOML is sound"));
        self
    }

    /// Everything of the node is done by this user; needs root.
    pub fn run_by(mut self, uid: u32) -> Self {
        std::os::unix::fs::chown(self.folder.path(), Some(uid), Some(uid)).expect("root gives it away");
        self.site.user = Some(uid);
        self
    }

    /// What the generated capture holds.
    pub fn generated(&self) -> &Traffic {
        &self.traffic
    }

    /// The folder of everything.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The node's folder; the node is made where it is not yet.
    pub fn node_folder(&mut self) -> PathBuf {
        if self.observer.is_none() {
            self.init();
        }
        self.site.folder.clone()
    }

    /// The port that the node listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A developer whose modules see up to `ceiling`, of an organisation of its own.
    pub fn developer(&mut self, name: &str, ceiling: &str) -> Person {
        let person = self.person(&format!("{name}-org"), name);
        self.enrol("developer", &person, &["--ceiling", ceiling]);
        person
    }

    /// A partner of an organisation of its own, with a project of its own.
    pub fn partner(&mut self, name: &str, ceiling: &str, may_plug_in: bool) -> Person {
        self.partner_of(name, &format!("{name}-org"), name, ceiling, may_plug_in)
    }

    /// A partner of an organisation, in a project: those of one project see the same pseudonyms.
    pub fn partner_of(
        &mut self,
        name: &str,
        organisation: &str,
        project: &str,
        ceiling: &str,
        may_plug_in: bool,
    ) -> Person {
        let person = self.person(organisation, name);
        let mut grant = vec!["--ceiling", ceiling, "--project", project];
        if may_plug_in {
            grant.push("--may-plug-in");
        }
        self.enrol("partner", &person, &grant);
        person
    }

    /// Keys of somebody whom the node does not know.
    pub fn person(&self, organisation: &str, name: &str) -> Person {
        Person::create(self.folder.path(), organisation, name)
    }

    /// The same somebody with new keys, whom the node does not know by them yet.
    pub fn renewed(&self, person: &Person, round: u32) -> Person {
        Person::renew(self.folder.path(), person, round)
    }

    /// Registers somebody as `partner` or `developer`, and installs the welcome.
    pub fn enrol(&mut self, kind: &str, person: &Person, grant: &[&str]) {
        self.node_folder();
        done(self.site.enrol(kind, &person.name, &person.keys_dir, grant));
    }

    /// A command of `como-node`, as given.
    pub fn admin(&self, args: &[&str]) -> Ended {
        self.admin_command(args).output().expect("como-node starts")
    }

    /// The same, to be started.
    pub fn admin_command(&self, args: &[&str]) -> Command {
        let mut command = done(self.site.command());
        command
            .args(args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// A command of `como-node` on this node, which must succeed; a running node is told.
    #[track_caller]
    pub fn operator(&mut self, verbs: &[&str]) -> String {
        let folder = self.node_folder().display().to_string();
        let ended = self.admin(&[verbs, &["--node", &folder]].concat());
        let [said, complained] = [&ended.stdout, &ended.stderr].map(|text| String::from_utf8_lossy(text));
        assert!(
            ended.status.success(),
            "como-node {}: {complained}",
            verbs.join(" ")
        );
        said.into_owned()
    }

    /// The same, started and not waited for; what it says goes to the node's log.
    pub fn start_admin(&self, args: &[&str]) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("node.log"))
            .expect("a log");
        done(self.site.command())
            .args(args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log)
            .spawn()
            .expect("como-node starts")
    }

    /// Puts more TOML over the configuration of a node that is made already.
    pub fn reconfigure(&mut self, toml: &str) {
        let file = self.node_folder().join("como.toml");
        merge_toml(&file, toml.parse().expect("the test's TOML is sound"));
    }

    /// Writes a capture file under the folder, where the node's users may read it.
    pub fn write_capture(&self, name: &str, traffic: &Traffic) -> PathBuf {
        let path = self.path(name);
        let file = File::create(&path).expect("a capture file");
        traffic
            .write_pcap(BufWriter::new(file))
            .expect("the capture is written");
        path
    }

    /// Starts the node and waits until it answers.
    pub fn start(&mut self) -> Node {
        let node = self.launch();
        node.answers();
        node
    }

    /// Starts the node and waits for nothing.
    pub fn launch(&mut self) -> Node {
        self.node_folder();
        let observer = self.observer.clone().expect("made with the node");
        Node::launch(&self.site, self.path("node.log"), observer)
    }

    fn init(&mut self) {
        let source = self.source.clone().unwrap_or_else(|| {
            let file = self.write_capture("capture.pcap", &self.traffic);
            format!("file:{}", file.display())
        });
        let name = format!("spiffe://{CONSORTIUM}/observatory/node");
        done(self.site.init(&name, &self.mode, &source, self.port));
        merge_toml(&self.site.folder.join("como.toml"), self.extra.clone());
        let observer = self.person("observatory", "observer");
        self.observer = Some(observer.clone());
        self.enrol(
            "partner",
            &observer,
            &["--ceiling", "aggregate", "--project", "observer"],
        );
    }
}

fn done<T>(result: site::Result<T>) -> T {
    result.unwrap_or_else(|why| panic!("{why}"))
}

/// Puts TOML over a file: tables are merged, anything else is replaced.
pub fn merge_toml(file: &Path, extra: Table) {
    let text = fs::read_to_string(file).expect("a configuration");
    let mut config: Table = text.parse().expect("the configuration is sound");
    merge(&mut config, extra);
    fs::write(file, config.to_string()).expect("the configuration is written");
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}
