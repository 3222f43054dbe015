//! The errors of this crate, named by who must act. Each text has two lines: what is wrong, what to do.
//! Must never carry key material or plaintext.

use std::path::PathBuf;

/// What can go wrong with a key, a seal, a signature or a key file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A sealed block, key or file did not open: wrong key, wrong position, or altered bytes.
    #[error(
        "{what} does not open: wrong key, wrong place or altered bytes\ncheck that the key belongs to it; if it does, restore it from a copy"
    )]
    DoesNotOpen {
        /// What was to be opened.
        what: &'static str,
    },
    /// The signature is not the key's over these bytes.
    #[error("the signature of {what} is not valid\ncheck which key signed it, and that it arrived unaltered")]
    BadSignature {
        /// What was signed.
        what: String,
    },
    /// A key is of a kind that must not be used (small order, wrong length, not on the curve).
    #[error("{what} is not a usable key: {why}\ngenerate a new one with `como keygen`")]
    BadKey {
        /// Which key.
        what: &'static str,
        /// The reason.
        why: &'static str,
    },
    /// A certificate is outside its time.
    #[error(
        "the certificate for {role} is valid from {from_ns} to {until_ns} ns, not at {at_ns} ns\nrestart the node to have a new one issued"
    )]
    CertificateTime {
        /// The role it was issued for.
        role: String,
        /// First nanosecond of validity.
        from_ns: u64,
        /// First nanosecond after validity.
        until_ns: u64,
        /// The time it was checked for.
        at_ns: u64,
    },
    /// The keys of this epoch were destroyed on purpose.
    #[error(
        "the {what} keys of epoch {epoch} were destroyed\nnothing opens them again; ask for another window"
    )]
    Destroyed {
        /// Which keys.
        what: &'static str,
        /// The epoch number.
        epoch: u32,
    },
    /// The identity of section P is kept elsewhere.
    #[error(
        "the payload identity is kept off this node\nopen payload where that identity is; the node serves headers and below"
    )]
    OffNode,
    /// A secret file can be read by others.
    #[error(
        "{} is readable by others (mode {mode:04o})\nrun: chmod 600 {}",
        path.display(),
        path.display()
    )]
    FileMode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file could not be read or written.
    #[error("{} could not be {doing}: {source}\n{fix}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// "read", "written", ...
        doing: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
        /// What to do.
        fix: &'static str,
    },
    /// A file or message is not of the form it must have.
    #[error("{what} is malformed: {why}\n{fix}")]
    Malformed {
        /// What was read.
        what: String,
        /// Where and why it is wrong.
        why: String,
        /// What to do.
        fix: &'static str,
    },
    /// The audit log's hash chain is broken.
    #[error(
        "{} line {line}: {why}\nthe log was altered or cut; keep it as evidence and restore the copy that your witness holds",
        path.display()
    )]
    AuditChain {
        /// The log file.
        path: PathBuf,
        /// First bad line, counted from 1.
        line: u64,
        /// What does not fit.
        why: String,
    },
    /// A certificate could not be made.
    #[error("the certificate could not be made: {why}\n{fix}")]
    Pki {
        /// The reason.
        why: String,
        /// What to do.
        fix: &'static str,
    },
}
