//! The command tree of `como`: every name, option and help text that a person sees.
//!
//! Owns words only; must never do anything. Completions and man pages are generated from it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::exit;
use crate::time::{Moment, Span};

/// Ask CoMo nodes for network measurements, and open what they answer.
#[derive(Debug, Parser)]
#[command(name = "como", version, after_help = exit::TABLE, max_term_width = 100)]
#[command(propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Folder of your keys and of the nodes that you joined [default: ~/.config/como]
    #[arg(
        long,
        global = true,
        env = "COMO_KEYS",
        value_name = "DIR",
        hide_env_values = true
    )]
    #[arg(value_hint = ValueHint::DirPath, help_heading = "Common options")]
    pub keys: Option<PathBuf>,
    /// Node to ask [default: the only one that you joined]
    #[arg(
        long,
        global = true,
        env = "COMO_NODE",
        value_name = "NAME",
        hide_env_values = true
    )]
    #[arg(help_heading = "Common options")]
    pub node: Option<String>,
    /// Print JSON on stdout (and errors as JSON on stderr), for scripts
    #[arg(long, global = true, help_heading = "Common options")]
    pub json: bool,
}

/// What `como` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make your keys, and the public card that a node's operator registers
    Keygen(Keygen),
    /// Install what a node's operator sent you back for your card
    Join(Join),
    /// Write, try out, sign, submit and manage modules
    #[command(subcommand)]
    Module(ModuleCommand),
    /// Run a module on a window of a node's traffic, and fetch its table
    Query(Query),
    /// Download the packets of a window and filter, at an access level
    Trace(Trace),
    /// Fetch the dataset of an earlier query or trace download, resuming a broken download
    Fetch(Fetch),
    /// Stop a query that is queued or running
    Cancel(QueryId),
    /// What the node is doing
    Status,
    /// What the node has: time coverage, levels, modules
    Catalog,
    /// Look into, verify, open and plot datasets
    #[command(subcommand)]
    Dataset(DatasetCommand),
    /// Write what an access level shows of a capture's packets: no node is needed
    Anonymize(Anonymize),
    /// Check a node's audit log
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Print shell completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages
    Man {
        /// Folder to write them to
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
}

/// `como keygen`
#[derive(Debug, Args)]
pub struct Keygen {
    /// Who you are, e.g. spiffe://consortium/university/alice
    #[arg(long, value_name = "SPIFFE-ID", required_unless_present = "anonymization")]
    pub name: Option<String>,
    /// Folder to make for the keys [default: that of --keys]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
    /// Make one key file for `como anonymize` instead
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["name", "out"])]
    pub anonymization: Option<PathBuf>,
}

/// `como join`
#[derive(Debug, Args)]
pub struct Join {
    /// The welcome file that the operator sent
    #[arg(value_hint = ValueHint::FilePath)]
    pub welcome: PathBuf,
    /// Name for the node on this machine [default: last part of its id]
    #[arg(long = "as", value_name = "NAME")]
    pub name: Option<String>,
}

/// `como module ...`
#[derive(Debug, Subcommand)]
pub enum ModuleCommand {
    /// Make the folder of a new module: a working template
    New(ModuleNew),
    /// Compile a module's folder, and check the code as a node does
    Build(ModuleBuild),
    /// Run a module on a capture file, in the sandbox of a node: no node is needed
    Test(ModuleTest),
    /// Measure what a module costs a packet, beside a module that does nothing
    Bench(ModuleRun),
    /// Print what a signed module, or one at the node, says of itself
    Show {
        /// A .cmod file, or a module at the node: NAME, or the 64 hex digits of its wasm's SHA-256
        #[arg(value_hint = ValueHint::FilePath)]
        module: String,
    },
    /// Sign a module's manifest and code into one .cmod file
    Sign(ModuleSign),
    /// Submit a signed module to a node
    Submit {
        /// The signed module (.cmod)
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// List the modules that the node offers you
    List,
    /// Run a module live from now on, in your project's audience
    Start(ModuleStart),
    /// Stop a module that runs live
    Stop(ModuleName),
    /// Interrupt a module that runs live; what it misses can be computed from the past trace
    Pause(ModuleName),
    /// Let a paused module go on
    Resume(ModuleName),
    /// Withdraw one of your modules for good
    Revoke(ModuleName),
}

/// `como module new`
#[derive(Debug, Args)]
pub struct ModuleNew {
    /// Name: lower-case letters, digits and dashes
    pub name: String,
    /// Folder to make [default: ./NAME]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
    /// Folder of como-kit (modules/kit) in a clone of CoMo [default: the clone that built this program]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub kit: Option<PathBuf>,
}

/// `como module build`
#[derive(Debug, Args)]
pub struct ModuleBuild {
    /// The module's folder
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
}

/// `como module test`
#[derive(Debug, Args)]
pub struct ModuleTest {
    /// What to run, and on what.
    #[command(flatten)]
    pub run: ModuleRun,
    /// Draw a column instead: by key, and over time
    #[arg(long, value_name = "COLUMN")]
    pub plot: Option<String>,
    /// Combine the module's intervals into longer ones, e.g. 1m: a multiple of its own
    #[arg(long, value_name = "SPAN")]
    pub every: Option<Span>,
    /// Rows of the table to show [default: 20; with --json 100000]
    #[arg(long, value_name = "N")]
    pub rows: Option<usize>,
}

/// `como module bench`, and what `test` has in common with it
#[derive(Debug, Args)]
pub struct ModuleRun {
    /// The module: its folder (which is built), its .wasm file, or a .cmod file
    #[arg(value_hint = ValueHint::AnyPath)]
    pub module: PathBuf,
    /// Capture to run it on (pcap or pcapng), or `-` for stdin
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub pcap: PathBuf,
    /// Access level to read at [default: that of the manifest]
    #[arg(long, value_enum)]
    pub level: Option<Level>,
    /// Routing table for AS numbers: an MRT RIB dump or a pfx2as table, unpacked
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub as_table: Option<PathBuf>,
    /// Addresses that a system announces at least, to be named
    #[arg(long, value_name = "N", default_value_t = como_anonymize::networks::MIN_ADDRESSES)]
    pub as_min_addresses: u64,
    /// Argument of the module; may be repeated
    #[arg(long = "arg", value_name = "NAME=NUMBER")]
    pub arguments: Vec<Argument>,
    /// The manifest [default: module.toml in the folder, or beside or above the .wasm file]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub manifest: Option<PathBuf>,
    /// Key of the pseudonyms, made by `como keygen --anonymization FILE` [default: one that is thrown away]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key_file: Option<PathBuf>,
}

/// `como module sign`
#[derive(Debug, Args)]
pub struct ModuleSign {
    /// The module's folder, or its module.toml
    #[arg(value_hint = ValueHint::AnyPath)]
    pub manifest: PathBuf,
    /// The compiled code [default: the folder is built, as `como module build` does]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub wasm: Option<PathBuf>,
    /// Where to write the signed module (.cmod)
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: PathBuf,
    /// Days until the signature expires
    #[arg(long, value_name = "N", default_value_t = 365)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
}

/// A module, by name or hash.
#[derive(Debug, Args)]
pub struct ModuleName {
    /// Module: NAME (newest release), or the 64 hex digits of its wasm's SHA-256
    pub module: String,
}

/// `como module start`
#[derive(Debug, Args)]
pub struct ModuleStart {
    /// Which module.
    #[command(flatten)]
    pub module: ModuleName,
    /// Argument of the module; may be repeated
    #[arg(long = "arg", value_name = "NAME=NUMBER")]
    pub arguments: Vec<Argument>,
}

/// A window of packet time.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = true)]
pub struct WindowArgs {
    /// Start: RFC 3339, `now-5m`, or seconds since 1970 [default: where the trace begins]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub from: Option<Moment>,
    /// End (exclusive), in the same forms [default: where the trace ends]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub to: Option<Moment>,
    /// The last stretch that the node's trace holds, e.g. 5m, 90s, 1h30m
    #[arg(long, value_name = "SPAN", conflicts_with_all = ["from", "to"])]
    pub last: Option<Span>,
    /// Everything that the node's trace holds
    #[arg(long, conflicts_with_all = ["from", "to", "last"])]
    pub all: bool,
}

/// `como query`
#[derive(Debug, Args)]
pub struct Query {
    /// Module: NAME (newest release), hash of its wasm, or a .cmod file to send along
    pub module: String,
    /// Packets to look at, in pcap-filter words, e.g. "tcp and port 443"
    #[arg(long, value_name = "FILTER", default_value = "")]
    pub filter: String,
    /// Which stretch of packet time.
    #[command(flatten)]
    pub window: WindowArgs,
    /// Access level that your filter is evaluated at
    #[arg(long, value_enum, default_value = "anonymized")]
    pub level: Level,
    /// Argument of the module; may be repeated
    #[arg(long = "arg", value_name = "NAME=NUMBER")]
    pub arguments: Vec<Argument>,
    /// Combine the module's intervals into longer ones, e.g. 1m: a multiple of its own
    #[arg(long, value_name = "SPAN")]
    pub every: Option<Span>,
    /// Compute again: do not reuse stored records
    #[arg(long)]
    pub fresh: bool,
    /// Only say what it would cost, and whether it is allowed
    #[arg(long)]
    pub explain: bool,
    /// Where to put the dataset (.como)
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(required_unless_present = "explain")]
    pub out: Option<PathBuf>,
}

/// `como trace`
#[derive(Debug, Args)]
pub struct Trace {
    /// Packets to take, in pcap-filter words, evaluated on what you may see
    #[arg(long, value_name = "FILTER", default_value = "")]
    pub filter: String,
    /// Which stretch of packet time.
    #[command(flatten)]
    pub window: WindowArgs,
    /// Access level of the packets
    #[arg(long, value_enum, default_value = "anonymized")]
    pub level: Level,
    /// Only say what it would cost, and whether it is allowed
    #[arg(long)]
    pub explain: bool,
    /// Where to put the dataset (.como)
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(required_unless_present = "explain")]
    pub out: Option<PathBuf>,
}

/// The number of a query at its node.
#[derive(Debug, Args)]
pub struct QueryId {
    /// Id that the node gave the query
    pub id: String,
}

/// `como fetch`
#[derive(Debug, Args)]
pub struct Fetch {
    /// Which query.
    #[command(flatten)]
    pub query: QueryId,
    /// Where to put the dataset (.como)
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: PathBuf,
}

/// `como dataset ...`
#[derive(Debug, Subcommand)]
pub enum DatasetCommand {
    /// Print what a dataset says about itself
    Info(DatasetFile),
    /// Check that a dataset is whole and comes from the node (needs no key of yours)
    Verify(DatasetVerify),
    /// Open a dataset into a file, or into a pipe with `-o -`
    Open(DatasetOpen),
    /// Make one table of several: of other windows, or of other nodes
    Merge(DatasetMerge),
    /// Draw a table dataset in the terminal
    Plot(DatasetPlot),
}

/// A dataset file.
#[derive(Debug, Args)]
pub struct DatasetFile {
    /// The dataset (.como)
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
}

/// `como dataset verify`
#[derive(Debug, Args)]
pub struct DatasetVerify {
    /// Which dataset.
    #[command(flatten)]
    pub dataset: DatasetFile,
    /// The node's public signing key in hex [default: that of the node in your profile]
    #[arg(long, value_name = "HEX")]
    pub node_key: Option<String>,
}

/// `como dataset open`
#[derive(Debug, Args)]
pub struct DatasetOpen {
    /// Which dataset.
    #[command(flatten)]
    pub dataset: DatasetFile,
    /// Format to write
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub to: Format,
    /// File to write, or `-` for stdout
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: PathBuf,
}

/// `como dataset merge`
#[derive(Debug, Args)]
pub struct DatasetMerge {
    /// The datasets (.como): tables of one module, with the same arguments
    #[arg(required = true, value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
    /// Combine their intervals into longer ones, e.g. 1m: a multiple of theirs
    #[arg(long, value_name = "SPAN")]
    pub every: Option<Span>,
    /// The module that made them, where its own `merge` merges: its folder, .wasm file or .cmod file
    #[arg(long, value_name = "MODULE", value_hint = ValueHint::AnyPath)]
    pub module: Option<PathBuf>,
    /// Format to write: csv, jsonl or parquet
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub to: Format,
    /// File to write, or `-` for stdout
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: PathBuf,
}

/// `como dataset plot`
#[derive(Debug, Args)]
pub struct DatasetPlot {
    /// Which dataset.
    #[command(flatten)]
    pub dataset: DatasetFile,
    /// Column to draw [default: the first that is a number to be summed]
    #[arg(long, value_name = "NAME")]
    pub column: Option<String>,
    /// Rows of the table to show
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub rows: usize,
}

/// `como anonymize`
#[derive(Debug, Args)]
pub struct Anonymize {
    /// Access level: payload, headers and anonymized write packets, coarse and aggregate CSV rows
    #[arg(long, value_enum, required_unless_present = "explain")]
    pub level: Option<Level>,
    /// Key of the pseudonyms, made by `como keygen --anonymization FILE`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key_file: Option<PathBuf>,
    /// Capture to read (pcap or pcapng), or `-` for stdin
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath, required_unless_present = "explain")]
    pub input: Option<PathBuf>,
    /// File to write, or `-` for stdout
    #[arg(value_name = "OUT", value_hint = ValueHint::FilePath, required_unless_present = "explain")]
    pub out: Option<PathBuf>,
    /// Format of packets [default: by OUT's extension, else that of IN]
    #[arg(long, value_enum)]
    pub format: Option<CaptureFormat>,
    /// Replace OUT and the report, where they exist
    #[arg(long)]
    pub force: bool,
    /// Write what was done, dropped and counted as JSON too
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub report: Option<PathBuf>,
    /// IPv4 addresses by exactly this Crypto-PAn key (64 hex digits), to agree with other tools
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Crypto-PAn")]
    pub cryptopan_key_file: Option<PathBuf>,
    /// IPv6 addresses likewise: all 128 bits keep common prefixes, the interface id too
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Crypto-PAn")]
    pub cryptopan_key_file_v6: Option<PathBuf>,
    /// Accept one Crypto-PAn key for both families
    #[arg(long, help_heading = "Crypto-PAn")]
    pub allow_shared_key: bool,
    /// Print what LEVEL shows of each field, and do nothing else
    #[arg(long, value_enum, value_name = "LEVEL", exclusive = true)]
    pub explain: Option<Level>,
}

/// What packets can be written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CaptureFormat {
    /// Classic pcap, in nanoseconds: one link type
    Pcap,
    /// pcapng: an interface for each link type
    Pcapng,
}

/// `como audit ...`
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Check that no line of an audit log was changed, cut out or put in
    Verify(AuditVerify),
}

/// `como audit verify`
#[derive(Debug, Args)]
pub struct AuditVerify {
    /// The log
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// The node's public signing key in hex [default: that of the node in your profile]
    #[arg(long, value_name = "HEX")]
    pub node_key: Option<String>,
    /// Hash of a line that must be there: what `como status` said of the log earlier
    #[arg(long, value_name = "HEX")]
    pub witness: Option<String>,
}

/// What a dataset can be opened into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Packets, for Wireshark and tcpdump
    Pcapng,
    /// Comma-separated values with a header line
    Csv,
    /// One JSON object a line
    Jsonl,
    /// Apache Parquet, for DuckDB, pandas and Spark
    Parquet,
}

impl Format {
    /// Whether a terminal would choke on it.
    pub fn is_binary(self) -> bool {
        matches!(self, Self::Pcapng | Self::Parquet)
    }
}

impl From<Format> for crate::convert::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Pcapng => Self::Pcapng,
            Format::Csv => Self::Csv,
            Format::Jsonl => Self::Jsonl,
            Format::Parquet => Self::Parquet,
        }
    }
}

/// Access levels, by the words and numbers of the design.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[repr(u8)]
pub enum Level {
    /// Aggregates that hide single users
    Aggregate = 0,
    /// Flow records with coarse time and sizes
    Coarse = 1,
    /// Packets with pseudonyms instead of addresses
    Anonymized = 2,
    /// Real headers up to layer 4
    Headers = 3,
    /// Everything that was captured
    Payload = 4,
}

/// One `name=number` argument of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Name, as in the module's manifest.
    pub name: String,
    /// Value.
    pub value: i64,
}

impl std::str::FromStr for Argument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("an argument looks like k=10")?;
        if name.is_empty() {
            return Err("the name before `=` is missing; an argument looks like k=10".into());
        }
        let value = value
            .parse()
            .map_err(|_| format!("`{value}` is not a whole number"))?;
        Ok(Self {
            name: name.into(),
            value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_are_a_name_and_a_number() {
        assert_eq!(
            "k=10".parse(),
            Ok(Argument {
                name: "k".into(),
                value: 10
            })
        );
        assert_eq!(
            "k=-1".parse(),
            Ok(Argument {
                name: "k".into(),
                value: -1
            })
        );
        for bad in ["k", "=1", "k=", "k=ten", "k=99999999999999999999"] {
            assert!(bad.parse::<Argument>().is_err(), "{bad}");
        }
    }
}
