//! What can go wrong on the asker's side, by who must act, and the exit code of each.
//!
//! Every text has two lines: what is wrong, what to do. Must never carry a secret.

use std::path::{Path, PathBuf};

use como_keys::KeyError;

use crate::answer::Problem;
use crate::exit::Exit;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The command line asks for something impossible. The person acts.
    #[error("{what}\n{fix}")]
    Usage {
        /// What is wrong.
        what: String,
        /// What to do.
        fix: String,
    },
    /// An input file is missing, malformed or of the wrong kind. The person acts.
    #[error("{what}\n{fix}")]
    Input {
        /// What is wrong.
        what: String,
        /// What to do.
        fix: String,
    },
    /// Keys or profiles are missing, malformed or open to others. The person acts.
    #[error("{what}\n{fix}")]
    Keys {
        /// What is wrong.
        what: String,
        /// What to do.
        fix: String,
    },
    /// A file of this machine could not be read or written.
    #[error("{} cannot be {doing}: {source}\n{fix}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// "read" or "written".
        doing: &'static str,
        /// What the operating system said.
        source: std::io::Error,
        /// What to do.
        fix: &'static str,
    },
    /// The node does not answer, or is not who it should be.
    #[error("{what}\n{fix}")]
    Unreachable {
        /// What is wrong.
        what: String,
        /// What to do.
        fix: String,
    },
    /// A signature, hash or seal does not hold.
    #[error("{what}\n{fix}")]
    Verification {
        /// What is wrong.
        what: String,
        /// What to do.
        fix: String,
    },
    /// The node's policy says no.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The node cannot do it as asked.
    #[error("{0}")]
    Rejected(Box<Problem>),
    /// The node failed or is overloaded.
    #[error("{0}")]
    NodeFailed(Box<Problem>),
    /// Ctrl-C.
    #[error("interrupted\n{fix}")]
    Interrupted {
        /// How to go on.
        fix: String,
    },
}

/// Shorthand of this crate.
pub type Result<T> = std::result::Result<T, ClientError>;

impl ClientError {
    /// The exit code of the process.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } => Exit::Usage,
            Self::Input { .. } => Exit::BadInput,
            Self::Keys { .. } => Exit::Keys,
            Self::File { doing: "read", .. } => Exit::BadInput,
            Self::File { .. } => Exit::Local,
            Self::Unreachable { .. } => Exit::Unreachable,
            Self::Verification { .. } => Exit::Verification,
            Self::Refused(_) => Exit::Refused,
            Self::Rejected(_) => Exit::Rejected,
            Self::NodeFailed(_) => Exit::NodeFailed,
            Self::Interrupted { .. } => Exit::Interrupted,
        }
    }

    /// What is wrong, and what to do.
    pub fn lines(&self) -> (String, String) {
        split(&self.to_string())
    }

    pub(crate) fn usage(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Usage {
            what: what.into(),
            fix: fix.into(),
        }
    }

    pub(crate) fn input(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Input {
            what: what.into(),
            fix: fix.into(),
        }
    }

    pub(crate) fn keys(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Keys {
            what: what.into(),
            fix: fix.into(),
        }
    }

    pub(crate) fn unreachable(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Unreachable {
            what: what.into(),
            fix: fix.into(),
        }
    }

    pub(crate) fn verification(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Verification {
            what: what.into(),
            fix: fix.into(),
        }
    }

    pub(crate) fn read(path: &Path, source: std::io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            doing: "read",
            source,
            fix: "check the path and who may read it",
        }
    }

    pub(crate) fn write(path: &Path, source: std::io::Error) -> Self {
        let fix = "check that the folder exists, is writable and has space left";
        Self::File {
            path: path.to_owned(),
            doing: "written",
            source,
            fix,
        }
    }

    /// A key error met while reading keys of one's own.
    pub(crate) fn of_keys(error: KeyError) -> Self {
        let (what, fix) = split(&error.to_string());
        Self::Keys { what, fix }
    }

    /// Somebody else's two-line error about an input file.
    pub(crate) fn of_input(error: impl std::fmt::Display) -> Self {
        let (what, fix) = split(&error.to_string());
        Self::Input { what, fix }
    }

    /// Somebody else's two-line error about a signature, hash or seal.
    pub(crate) fn of_verification(error: impl std::fmt::Display) -> Self {
        let (what, fix) = split(&error.to_string());
        Self::Verification { what, fix }
    }
}

/// Splits a text into what is wrong (which may quote lines of a file) and its last line, what to do.
pub(crate) fn split(text: &str) -> (String, String) {
    let (what, fix) = text.trim_end().rsplit_once('\n').unwrap_or((text, ""));
    (what.to_owned(), fix.to_owned())
}
