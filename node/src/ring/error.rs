//! What can go wrong with the ring, named by who must act.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::trace::{SegmentId, TraceError};

/// An error of the ring.
#[derive(Debug, Error)]
pub enum RingError {
    /// The disk is full. Nothing accepted is lost; the same item may be sent again.
    #[error("{path}: the disk is full\nfree space or lower `trace.ring_bytes`; capture goes on by itself")]
    DiskFull {
        /// File being written.
        path: PathBuf,
    },
    /// The disk or file system refused.
    #[error("{path}: {error}\ncheck the disk and the permissions of the trace directory")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// Another process has the ring.
    #[error(
        "{dir} is in use by another process\nstop the other node, or give this one a directory of its own"
    )]
    InUse {
        /// The ring's directory.
        dir: PathBuf,
    },
    /// The manifest is there but does not read.
    #[error("{path} does not parse: {what}\nmove it away: it will be made anew from the segments")]
    Manifest {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// No such segment.
    #[error("segment {segment} is not in the ring\nit may have expired: ask for a later window")]
    UnknownSegment {
        /// The id asked for.
        segment: SegmentId,
    },
    /// The segment was ended without its footer, because its capture seemed gone or its file was damaged.
    #[error("segment {segment} was cut\nrestart capture: it continues from what is stored")]
    SegmentCut {
        /// The segment's id.
        segment: SegmentId,
    },
    /// Capture sent something that does not fit.
    #[error("{what}\nthis is a defect of the program: please report it")]
    Protocol {
        /// What did not fit.
        what: &'static str,
    },
    /// A segment does not read.
    #[error(transparent)]
    Trace(Box<TraceError>),
}

impl RingError {
    /// An input or output error on a path; a full disk is told apart because the caller can wait it out.
    pub(crate) fn io(path: &Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull {
                path: path.to_owned(),
            },
            _ => Self::Io {
                path: path.to_owned(),
                error,
            },
        }
    }

    /// Whether the same call may succeed later without anybody losing data.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::DiskFull { .. } | Self::Io { .. })
    }
}
