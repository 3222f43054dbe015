//! The errors of this crate: malformed questions and policy files. A denial is not an error.

use std::path::PathBuf;

/// What can go wrong before a decision can be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// No such access level.
    #[error(
        "there is no access level \"{text}\"\nuse one of aggregate, coarse, anonymized, headers, payload"
    )]
    UnknownLevel {
        /// What was given.
        text: String,
    },
    /// No such system mode.
    #[error("there is no system mode \"{text}\"\nuse one of public, restricted, private")]
    UnknownMode {
        /// What was given.
        text: String,
    },
    /// The window ends before it begins.
    #[error(
        "the window is inverted: it ends at {to_ns} ns, before it begins at {from_ns} ns\nswap its two ends"
    )]
    InvertedWindow {
        /// Its beginning.
        from_ns: u64,
        /// Its end.
        to_ns: u64,
    },
    /// The window holds no time.
    #[error("the window is empty: it begins and ends at {at_ns} ns\ngive it an end after its beginning")]
    EmptyWindow {
        /// Both its ends.
        at_ns: u64,
    },
    /// The policy file could not be read.
    #[error("{} could not be read: {source}\ncheck the path in the configuration", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The policy set does not parse or does not fit the schema.
    #[error("{diagnostic}\ncorrect the policy file; `como-node check` shows all that is wrong with it")]
    Policy {
        /// file:line:column, the message, the line and a caret under it.
        diagnostic: String,
    },
}
