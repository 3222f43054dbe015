//! What can go wrong with a dataset, named by who must act.
//!
//! Owns the texts: what is wrong, and on a second line what to do. Must never quote content.

use std::io;

/// Why a dataset could not be written, verified or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// The file is something else.
    #[error("this is not a CoMo dataset: it does not begin with \"CDS1\"\ngive the path of a .como file")]
    NotADataset,
    /// Made by newer software.
    #[error(
        "the dataset has format version {found}, and this program knows version {known}\n\
         update this program, or ask the node for an older format"
    )]
    UnknownVersion {
        /// The file's.
        found: u16,
        /// Ours.
        known: u16,
    },
    /// Made by newer software.
    #[error(
        "the dataset uses cipher suite {found}, and this program knows suite {known}\n\
         update this program; never trust a file that asks for an unknown suite"
    )]
    UnknownSuite {
        /// The file's.
        found: u16,
        /// Ours.
        known: u16,
    },
    /// The header was altered.
    #[error(
        "the dataset's header was altered or damaged: {what}\nfetch the file again; if it stays so, tell the node's operator"
    )]
    HeaderTampered {
        /// What does not fit.
        what: String,
    },
    /// The identity opens nothing here.
    #[error(
        "this identity is not among the dataset's {recipients} recipient(s)\n\
         use the identity whose public half you registered at the node, or ask for the dataset anew"
    )]
    NotARecipient {
        /// How many there are.
        recipients: usize,
    },
    /// A chunk was altered.
    #[error(
        "chunk {chunk} (at byte {offset}) is corrupt: {what}\n\
         fetch the file again; chunks before it are good, none after it was read"
    )]
    ChunkCorrupt {
        /// Its number, from 0.
        chunk: u64,
        /// Where its length stands in the file.
        offset: u64,
        /// What does not fit.
        what: String,
    },
    /// A chunk stands where another belongs.
    #[error(
        "chunk {chunk} (at byte {offset}) was moved: its place is {belongs}\n\
         somebody rearranged the file: fetch it again from the node"
    )]
    Reordered {
        /// Where it stands.
        chunk: u64,
        /// Byte of its length in the file.
        offset: u64,
        /// Where it belongs.
        belongs: u64,
    },
    /// The file ends too early.
    #[error(
        "the dataset is not complete: it ends at byte {bytes} without its trailer\n\
         resume the download, or read what is there as provisional, without proof of origin"
    )]
    Truncated {
        /// Its length.
        bytes: u64,
    },
    /// Trailer and file disagree.
    #[error(
        "the dataset's trailer does not fit the file: {what}\nfetch the file again; if it stays so, tell the node's operator"
    )]
    TrailerTampered {
        /// What does not fit.
        what: String,
    },
    /// The signature is not the node's.
    #[error(
        "the signature is not good for this header and content: one of the three was altered\n\
         do not use the data; fetch the file again from the node"
    )]
    BadSignature,
    /// Another node's dataset.
    #[error(
        "the dataset says it is signed by key {named}, and you gave key {given}\n\
         give the public key of the node that made it, from a source you trust"
    )]
    WrongSigner {
        /// Key id in the header, hex.
        named: String,
        /// Key id given, hex.
        given: String,
    },
    /// A claim or an input above a limit. Nothing was allocated for it.
    #[error("{what} of {claimed} is above the limit of {limit}\n{}", if *.by_file { "the file is damaged or hostile: fetch it again from the node" } else { "split it: ask for a shorter window, or write smaller rows" })]
    TooLarge {
        /// What is too large, with its unit.
        what: &'static str,
        /// What was claimed.
        claimed: u64,
        /// The limit.
        limit: u64,
        /// Claimed by a file (else by the caller).
        by_file: bool,
    },
    /// The caller's rows or header do not fit.
    #[error(
        "the content does not fit the dataset's schema: {what}\ncorrect the caller: it is a defect of the node or the module"
    )]
    SchemaMismatch {
        /// What does not fit.
        what: String,
    },
    /// A chunk that does not exist was asked for.
    #[error("there is no chunk {chunk}: the dataset has {chunks}\nask for a number below that")]
    NoSuchChunk {
        /// Asked.
        chunk: u64,
        /// How many there are.
        chunks: u64,
    },
    /// Reading or writing failed.
    #[error(
        "reading or writing the dataset failed: {0}\ncheck the path, the disk's free space and the permissions"
    )]
    Io(#[from] io::Error),
}

impl DatasetError {
    pub(crate) fn header(what: impl Into<String>) -> Self {
        Self::HeaderTampered { what: what.into() }
    }

    pub(crate) fn trailer(what: impl Into<String>) -> Self {
        Self::TrailerTampered { what: what.into() }
    }

    pub(crate) fn schema(what: impl Into<String>) -> Self {
        Self::SchemaMismatch { what: what.into() }
    }
}
