//! What can go wrong with a segment, named by who must act. Must never carry packet contents.

use std::io;

use thiserror::Error;

/// An error of the trace: the first line of its text says what is wrong, the second what to do.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The bytes are not a segment, or were changed or cut after capture wrote them.
    #[error(
        "segment damaged at byte {position}: {what}\nrestore the file from a copy, or let `trace repair` keep what still reads"
    )]
    Damaged {
        /// Offset in the segment file.
        position: u64,
        /// What did not fit.
        what: &'static str,
    },
    /// Written by another version of this program.
    #[error(
        "segment format version {found} is not known (this program reads version {known})\nread it with the release that wrote it"
    )]
    Version {
        /// Version in the file.
        found: u16,
        /// Version that this program reads.
        known: u16,
    },
    /// A signature or certificate does not hold.
    #[error(
        "{what} is not signed by the key that it should be\ncheck the node's key; if it is right, treat the file as forged"
    )]
    Signature {
        /// What was being verified.
        what: &'static str,
    },
    /// The keys at hand do not open the section.
    #[error(
        "no key opens section {section} of segment {segment}\nits epoch may be destroyed, or the level does not include this section"
    )]
    NoKey {
        /// Section or column group.
        section: &'static str,
        /// Segment id in hex.
        segment: String,
    },
    /// Level `headers` was asked for without the audience's key.
    #[error(
        "no pseudonyms for the MACs of segment {segment}\nlevel headers needs the key of an audience; please report this defect"
    )]
    NoAudience {
        /// Segment id in hex.
        segment: String,
    },
    /// The section was not retained when the segment was captured.
    #[error(
        "section {section} of segment {segment} was not retained\nset `retain` in the capture configuration to keep it from now on"
    )]
    NotRetained {
        /// Section.
        section: &'static str,
        /// Segment id in hex.
        segment: String,
    },
    /// This program broke one of its own limits.
    #[error("{what} is above its limit of {limit}\nthis is a defect of the program: please report it")]
    Limit {
        /// What was too large.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A key could not be made or used.
    #[error(transparent)]
    Keys(#[from] como_keys::KeyError),
    /// The disk or file system refused.
    #[error("trace file: {0}\ncheck the disk and the permissions of the trace directory")]
    Io(#[from] io::Error),
}

impl TraceError {
    /// Damage found at a file position.
    pub fn damaged(position: u64, what: &'static str) -> Self {
        Self::Damaged { position, what }
    }
}
