//! What a node answers in JSON: states of queries, estimates, problems (RFC 9457).
//!
//! Lenient: unknown members are kept out of the way, missing ones default, so that an older client
//! understands a newer node. Must never trust a text from the node as more than text.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest text of a node that is shown, in characters: a hostile node must not flood the terminal.
const MAX_SHOWN_CHARS: usize = 2000;
/// Most lines of a detail that are shown: a filter, its mark and a sentence.
const MAX_DETAIL_LINES: usize = 5;
/// Widest indent that is kept in them, in characters: that of a mark below the longest filter.
const MAX_INDENT: usize = 1100;

/// Where a query stands at its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its window has not passed yet.
    Waiting,
    /// Admitted, waits for its turn.
    Queued,
    /// Runs.
    Running,
    /// The dataset can be fetched.
    Done,
    /// The node failed at it.
    Failed,
    /// Policy, or a fault of the module, ended it.
    Refused,
    /// Somebody cancelled it.
    Cancelled,
    /// A state that this client does not know yet: it goes on waiting.
    #[serde(other)]
    Other,
}

impl State {
    /// Whether it stays so.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Refused | Self::Cancelled)
    }
}

/// How far a query is; the unit is the node's (bytes of trace read, nanoseconds of window).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Done so far.
    pub done: u64,
    /// The whole; 0: not known yet.
    pub total: u64,
}

/// What a query is expected to cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Estimate {
    /// Segments of the trace that are read.
    pub segments: u64,
    /// Bytes that are read.
    pub bytes: u64,
    /// Packets that are read, before any filter.
    pub packets: u64,
    /// Answered from stored records: no packet is read.
    pub from_records: bool,
    /// Packet time of the window that stored records answer for, ns.
    pub recorded_ns: u64,
    /// Seconds that it takes.
    pub seconds: f64,
}

/// What `explain` answers: allowed (a refusal is an error), at this cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// What the policy says.
    #[serde(default)]
    pub decision: String,
    /// What it would cost.
    #[serde(default)]
    pub estimate: Estimate,
}

/// A query, as its node tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueryState {
    /// Id at the node.
    pub id: String,
    /// Where it stands.
    pub state: State,
    /// How far it is.
    #[serde(default)]
    pub progress: Progress,
    /// What it is expected to cost.
    #[serde(default)]
    pub estimate: Option<Estimate>,
    /// Answered from stored records: no packet was read.
    #[serde(default)]
    pub reused: bool,
    /// Bytes of the dataset.
    #[serde(default)]
    pub bytes: u64,
    /// Packets that were looked at (query) or are in the dataset (trace).
    #[serde(default)]
    pub packets: u64,
    /// Rows of the dataset's table.
    #[serde(default)]
    pub rows: u64,
    /// What happened, for a person.
    #[serde(default)]
    pub detail: Option<String>,
    /// What to do about it.
    #[serde(default)]
    pub fix: Option<String>,
    /// The policy rule that refused it.
    #[serde(default)]
    pub refused_by: Option<String>,
}

impl QueryState {
    /// The state as a problem, for a query that did not end well.
    pub fn problem(&self) -> Problem {
        Problem {
            kind: String::new(),
            title: format!("query {} {}", self.id, self.word()),
            status: 0,
            detail: self.detail.clone(),
            rule: self.refused_by.clone(),
            fix: self.fix.clone(),
        }
    }

    fn word(&self) -> &'static str {
        match self.state {
            State::Waiting => "waits for its window",
            State::Queued => "is queued",
            State::Running | State::Other => "is running",
            State::Done => "is done",
            State::Failed => "failed at the node",
            State::Refused => "was refused",
            State::Cancelled => "was cancelled",
        }
    }
}

/// An error answer: `application/problem+json` (RFC 9457) with two members of our own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// Stable URI of the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// What is wrong, in general.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What is wrong, in this case.
    pub detail: Option<String>,
    /// Text of the policy rule that refused it.
    pub rule: Option<String>,
    /// What to do.
    pub fix: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = if self.title.is_empty() {
            "the node answers with an error"
        } else {
            &self.title
        };
        f.write_str(&one_line(title))?;
        if self.status != 0 && self.title.is_empty() {
            write!(f, " (HTTP status {})", self.status)?;
        }
        if let Some(detail) = self.detail.as_deref().filter(|detail| !detail.is_empty()) {
            write!(f, ": {}", few_lines(detail))?;
        }
        // A denial's detail may be the rule's text itself.
        let rule = self
            .rule
            .as_deref()
            .filter(|rule| !rule.is_empty() && self.detail.as_deref() != Some(rule));
        if let Some(rule) = rule {
            write!(f, " [rule: {}]", one_line(rule))?;
        }
        let fix = match (self.fix.as_deref(), self.rule.is_some()) {
            (Some(fix), _) if !fix.is_empty() => one_line(fix),
            (_, true) => "ask for less, or talk to the node's operator about what you may see".into(),
            _ => "look at `como status`; if it lasts, talk to the node's operator".into(),
        };
        write!(f, "\n{fix}")
    }
}

/// A text of the node made safe for a terminal: one line, no control characters, bounded.
pub fn one_line(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_SHOWN_CHARS)
        .collect();
    if text.chars().nth(MAX_SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown.trim().to_owned()
}

/// The same for a text whose lines matter, such as a filter with a mark below its bad word.
fn few_lines(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .take(MAX_DETAIL_LINES)
        .map(|line| {
            let indent = line.len() - line.trim_start_matches(' ').len();
            " ".repeat(indent.min(MAX_INDENT)) + &one_line(line)
        })
        .collect();
    lines.join("\n")
}

/// What the node has. Members that this client does not use stay in `rest`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// Packet time that the trace covers; absent while it is empty.
    #[serde(default)]
    pub coverage: Option<Coverage>,
    /// Everything else, as the node tells it.
    #[serde(flatten)]
    pub rest: serde_json::Map<String, serde_json::Value>,
}

/// A stretch of packet time, `[from_ns, to_ns)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// First nanosecond.
    pub from_ns: u64,
    /// First nanosecond after it.
    pub to_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparse_state_is_understood() {
        let state: QueryState = serde_json::from_str(r#"{"id":"q1","state":"running","news":[1]}"#).unwrap();
        assert_eq!(state.state, State::Running);
        assert!(!state.state.is_final());
        assert_eq!(state.progress, Progress::default());
        let newer: QueryState = serde_json::from_str(r#"{"id":"q1","state":"melted"}"#).unwrap();
        assert!(!newer.state.is_final());
    }

    #[test]
    fn a_mark_stays_below_its_word_and_a_rule_is_said_once() {
        let filter = Problem {
            title: "The filter is refused".into(),
            detail: Some(
                "line 1
  tpc port 80
  ^^^"
                .into(),
            ),
            fix: Some("f".into()),
            ..Problem::default()
        };
        assert_eq!(
            filter.to_string(),
            "The filter is refused: line 1
  tpc port 80
  ^^^
f"
        );
        let rule = Some("at most anonymized".to_owned());
        let denied = Problem {
            title: "No".into(),
            detail: rule.clone(),
            rule,
            ..Problem::default()
        };
        assert_eq!(denied.to_string().matches("at most anonymized").count(), 1);
    }

    #[test]
    fn problems_are_bounded_and_end_with_what_to_do() {
        let hostile = Problem {
            title: "a\x1b[2Jb\nc".into(),
            detail: Some("x".repeat(10_000)),
            rule: Some("r\r\n".into()),
            fix: Some("do\nthis".into()),
            ..Problem::default()
        };
        let text = hostile.to_string();
        assert_eq!(text.lines().count(), 2);
        assert!(!text.contains('\x1b') && text.chars().count() < 2 * MAX_SHOWN_CHARS);
        assert!(text.ends_with("do this"));
        assert_eq!(Problem::default().to_string().lines().count(), 2);
    }
}
