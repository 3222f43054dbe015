//! The question put to the policy (who, what, on what, in which circumstances) and its answer.
//! Must never hold data: only facts about it.

use crate::{AccessLevel, PolicyError, Window};
use std::fmt;
use std::str::FromStr;

/// The paper's three kinds of system; each is a complete policy set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SystemMode {
    /// Anyone with a certificate under a pinned CA may query and plug in, up to the ceiling.
    Public,
    /// Registered partners query installed modules; plugging in needs to be granted.
    Restricted,
    /// Only partners that the operator listed.
    Private,
}

impl SystemMode {
    /// All modes.
    pub const ALL: [SystemMode; 3] = [Self::Public, Self::Restricted, Self::Private];

    /// The name used in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Restricted => "restricted",
            Self::Private => "private",
        }
    }
}

impl fmt::Display for SystemMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for SystemMode {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.name() == text)
            .ok_or_else(|| PolicyError::UnknownMode {
                text: text.to_owned(),
            })
    }
}

/// Who asks. Ids are SPIFFE URIs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Principal {
    /// Runs the node.
    Operator {
        /// SPIFFE URI.
        id: String,
    },
    /// Signs modules.
    Developer {
        /// SPIFFE URI.
        id: String,
        /// The organisation.
        organisation: String,
        /// Highest level that the developer's modules may read.
        ceiling: AccessLevel,
        /// Highest level that the developer's modules may put out.
        output_ceiling: AccessLevel,
        /// Whether the signing key was revoked.
        key_revoked: bool,
    },
    /// Asks queries.
    Partner {
        /// SPIFFE URI.
        id: String,
        /// The organisation.
        organisation: String,
        /// The project, which is the default audience.
        project: String,
        /// Highest level that the partner may see.
        ceiling: AccessLevel,
        /// Whether the partner may bring modules.
        may_plug_in: bool,
        /// Whether the operator suspended the partner.
        suspended: bool,
        /// Whether the operator registered the partner by name (else only its certificate speaks for it).
        listed: bool,
    },
}

impl Principal {
    /// The SPIFFE URI.
    pub fn id(&self) -> &str {
        match self {
            Self::Operator { id } | Self::Developer { id, .. } | Self::Partner { id, .. } => id,
        }
    }
}

/// What the registry knows of a module's developer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeveloperFacts {
    /// SPIFFE URI.
    pub id: String,
    /// Highest level that the developer's modules may read.
    pub ceiling: AccessLevel,
    /// Highest level that the developer's modules may put out.
    pub output_ceiling: AccessLevel,
    /// Whether the signing key was revoked.
    pub key_revoked: bool,
}

/// What the registry knows of a module.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ModuleFacts {
    /// Its name.
    pub name: String,
    /// SHA-256 of the module, hex.
    pub hash_hex: String,
    /// Who signed it.
    pub developer: DeveloperFacts,
    /// The level of the view it reads.
    pub level: AccessLevel,
    /// The level its output is declared to be.
    pub output_level: AccessLevel,
    /// Whether it is installed on the node.
    pub installed: bool,
    /// Whether it is on the black list.
    pub blacklisted: bool,
    /// Whether the operator endorsed this hash (and argument ranges) to put out below its level.
    pub endorsed: bool,
}

/// What is asked of the trace.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TraceFacts {
    /// The level asked.
    pub level: AccessLevel,
    /// The window asked, snapped to the level's grain.
    pub window: Window,
    /// What the trace holds.
    pub trace_coverage: Window,
    /// Estimated bytes of the answer.
    pub bytes_estimated: u64,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Bring a module to the node.
    SubmitModule,
    /// Start a module on the live stream.
    StartModule,
    /// End a module's run on the live stream.
    StopModule,
    /// Interrupt it.
    PauseModule,
    /// Let it go on.
    ResumeModule,
    /// Have a module's results pushed as they are computed.
    QueryStatic,
    /// Run a module over a window.
    QueryOnDemand,
    /// Ask in SQL, without a module.
    QueryAdHoc,
    /// Download packets of the trace.
    DownloadTrace,
    /// Have datasets sent to a receiver.
    SendTo,
    /// Read stored records of a module.
    ReadRecords,
    /// Withdraw a module.
    Revoke,
    /// Run the node: keys, registry, endorsements.
    Administer,
    /// See status and catalog.
    Status,
}

impl Action {
    /// All actions.
    pub const ALL: [Action; 14] = [
        Self::SubmitModule,
        Self::StartModule,
        Self::StopModule,
        Self::PauseModule,
        Self::ResumeModule,
        Self::QueryStatic,
        Self::QueryOnDemand,
        Self::QueryAdHoc,
        Self::DownloadTrace,
        Self::SendTo,
        Self::ReadRecords,
        Self::Revoke,
        Self::Administer,
        Self::Status,
    ];

    /// The name in the Cedar schema.
    pub fn name(self) -> &'static str {
        match self {
            Self::SubmitModule => "submitModule",
            Self::StartModule => "startModule",
            Self::StopModule => "stopModule",
            Self::PauseModule => "pauseModule",
            Self::ResumeModule => "resumeModule",
            Self::QueryStatic => "queryStatic",
            Self::QueryOnDemand => "queryOnDemand",
            Self::QueryAdHoc => "queryAdHoc",
            Self::DownloadTrace => "downloadTrace",
            Self::SendTo => "sendTo",
            Self::ReadRecords => "readRecords",
            Self::Revoke => "revoke",
            Self::Administer => "administer",
            Self::Status => "status",
        }
    }
}

/// What it is done to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Resource {
    /// A module.
    Module(ModuleFacts),
    /// The trace.
    Trace(TraceFacts),
    /// The node itself.
    Node,
}

/// One question to the policy.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// To do what.
    pub action: Action,
    /// To what.
    pub resource: &'a Resource,
    /// At which level, where the action has one.
    pub level: Option<AccessLevel>,
    /// Over which window, where the action has one.
    pub window: Option<Window>,
    /// Estimated bytes to read.
    pub cost_bytes: u64,
    /// Wall time.
    pub now_ns: u64,
}

/// The answer, as it goes to the audit log.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "decision")]
pub enum Decision {
    /// Permitted.
    Allow {
        /// Ids of the policies that permitted it.
        policies: Vec<String>,
    },
    /// Refused.
    Deny {
        /// Ids of the policies that forbade it; empty when none permitted it.
        policies: Vec<String>,
        /// What the asker is told.
        rule: String,
        /// Evaluation errors, for the operator; any of them denies.
        errors: Vec<String>,
    },
}

impl Decision {
    /// Whether it is permitted.
    pub fn is_allow(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }
}
