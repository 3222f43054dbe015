//! What askers are told: JSON bodies and RFC 9457 problem details. One type per refusal, stable.
//! Must never carry anything that the asker's level does not allow.

use serde::Serialize;
use serde_json::{Value, json};

/// An HTTP status and a JSON body.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status code.
    pub status: u16,
    /// JSON body.
    pub body: Value,
}

impl Reply {
    /// 200 with a body.
    pub fn ok(body: impl Serialize) -> Self {
        Self {
            status: 200,
            body: serde_json::to_value(body).unwrap_or(Value::Null),
        }
    }

    /// 202: taken, being worked on.
    pub fn accepted(body: impl Serialize) -> Self {
        Self {
            status: 202,
            ..Self::ok(body)
        }
    }
}

/// Why a request is not carried out. Each has its own problem type and HTTP status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The message is not a request.
    Malformed(String),
    /// Not signed by the asker's registered key, meant for another node, replayed or expired.
    NotAuthentic(String),
    /// The asker is not registered here.
    Unknown(String),
    /// The policy says no.
    Denied {
        /// The rule's text.
        rule: String,
        /// Ids of the deciding policies.
        policies: Vec<String>,
    },
    /// The module was refused at admission.
    BadModule(String),
    /// No such module.
    NoSuchModule(String),
    /// No such query, or not the asker's.
    NoSuchQuery(String),
    /// The filter does not parse, or names what its level does not show.
    BadFilter(String),
    /// Inverted or empty window.
    BadWindow(String),
    /// The window lies outside of what the trace holds.
    OutsideTrace(String),
    /// The arguments do not fit the module's.
    BadArguments(String),
    /// Too many queries run or wait.
    Busy(String),
    /// The level exists but this node does not serve it for this kind of request.
    LevelNotServed(String),
    /// Keys of the window were destroyed.
    Destroyed(String),
    /// Something of ours failed.
    Internal(String),
}

impl Refusal {
    fn parts(&self) -> (u16, &'static str, &'static str, &'static str) {
        match self {
            Self::Malformed(_) => (
                400,
                "malformed",
                "The request cannot be read",
                "Use a current `como`, or check the Cap'n Proto message.",
            ),
            Self::NotAuthentic(_) => (
                401,
                "not-authentic",
                "The request is not authentic",
                "Sign it with the registered request key, for this node, and send it at once.",
            ),
            Self::Unknown(_) => (
                403,
                "unknown-asker",
                "The asker is not registered",
                "Send your card.toml to the node's operator.",
            ),
            Self::Denied { .. } => (
                403,
                "denied",
                "The policy refuses this",
                "Ask for a lower level, or ask the operator to raise your ceiling.",
            ),
            Self::BadModule(_) => (
                422,
                "bad-module",
                "The module is refused",
                "Mend what the detail names, then sign and submit it again.",
            ),
            Self::NoSuchModule(_) => (
                404,
                "no-such-module",
                "No such module",
                "`como module list` shows what the node has.",
            ),
            Self::NoSuchQuery(_) => (
                404,
                "no-such-query",
                "No such query",
                "Results are deleted after their time; ask again.",
            ),
            Self::BadFilter(_) => (
                400,
                "bad-filter",
                "The filter is refused",
                "The mark shows the word; docs/filters.md lists the language.",
            ),
            Self::BadWindow(_) => (
                400,
                "bad-window",
                "The window is not a span of time",
                "Give --from before --to.",
            ),
            Self::OutsideTrace(_) => (
                404,
                "outside-trace",
                "The trace does not reach there",
                "`como catalog` shows what the node has.",
            ),
            Self::BadArguments(_) => (
                400,
                "bad-arguments",
                "The arguments do not fit the module",
                "`como module list` shows names and ranges.",
            ),
            Self::Busy(_) => (429, "busy", "The node has enough to do", "Try again later."),
            Self::LevelNotServed(_) => (
                403,
                "level-not-served",
                "This level is not served here",
                "`como catalog` shows the levels.",
            ),
            Self::Destroyed(_) => (
                410,
                "destroyed",
                "The keys of this time were destroyed",
                "Nobody can read it again; choose another window.",
            ),
            Self::Internal(_) => (
                500,
                "internal",
                "The node failed",
                "Tell the operator; the audit log has the details.",
            ),
        }
    }

    /// The problem details (RFC 9457).
    pub fn reply(&self) -> Reply {
        let (status, kind, title, fix) = self.parts();
        // A module's error brings its own second line, which says more than the general one.
        let (detail, fix) = match self {
            Self::BadModule(text) => text.split_once('\n').unwrap_or((text, fix)),
            Self::Denied { rule, policies } if policies.iter().any(|id| id == "guard-blacklisted") => (
                rule.as_str(),
                "It failed too often here. Mend it, and submit the mended code as a new release.",
            ),
            _ => (self.detail(), fix),
        };
        let mut body = json!({
            "type": format!("tag:como,2026:problem/{kind}"),
            "title": title,
            "status": status,
            "detail": detail,
            "fix": fix,
        });
        if let Self::Denied { rule, policies } = self {
            body["rule"] = json!(rule);
            body["policies"] = json!(policies);
        }
        Reply { status, body }
    }

    /// What exactly is wrong.
    pub fn detail(&self) -> &str {
        match self {
            Self::Denied { rule, .. } => rule,
            Self::Malformed(text)
            | Self::NotAuthentic(text)
            | Self::Unknown(text)
            | Self::BadModule(text)
            | Self::NoSuchModule(text)
            | Self::NoSuchQuery(text)
            | Self::BadFilter(text)
            | Self::BadWindow(text)
            | Self::OutsideTrace(text)
            | Self::BadArguments(text)
            | Self::Busy(text)
            | Self::LevelNotServed(text)
            | Self::Destroyed(text)
            | Self::Internal(text) => text,
        }
    }

    /// The stable short name.
    pub fn kind(&self) -> &'static str {
        self.parts().1
    }
}

impl From<capnp::Error> for Refusal {
    fn from(error: capnp::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}
