//! Why the query role cannot start or go on, named by who must act. What a *client* did wrong is a
//! [`super::problem::Problem`], never an error of the process.

use crate::link::LinkError;

/// What ends the query role, or refuses a new trust list.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The address is malformed or not one of this machine.
    #[error(
        "cannot listen on {listen}: {why}\nset `[{section}] listen` to an address and port of this machine"
    )]
    Listen {
        /// The section of the configuration.
        section: &'static str,
        /// The configured address.
        listen: String,
        /// The reason.
        why: String,
    },
    /// Another process listens there already.
    #[error(
        "cannot listen on {listen}: the port is in use by another process\nstop that process (`ss -ltnp` names it) or set `[{section}] listen` to a free port"
    )]
    PortInUse {
        /// The section of the configuration.
        section: &'static str,
        /// The configured address.
        listen: String,
    },
    /// The node's own TLS certificate or key is unusable.
    #[error("the node's TLS certificate or key is unusable: {0}\ncheck the files named in `[query]`")]
    ServerCertificate(String),
    /// A pinned authority or its revocation list is unusable.
    #[error(
        "the authority for trust domain {domain} is unusable: {why}\ncheck its certificate and revocation list files in `[query]`"
    )]
    Authority {
        /// Its trust domain.
        domain: String,
        /// The reason.
        why: String,
    },
    /// No authority is pinned: nobody could connect.
    #[error(
        "no client authority is pinned, so nobody could connect\nname at least one trust domain and its CA certificate in `[query]`"
    )]
    NoAuthority,
    /// The control link broke.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A message of the supervisor could not be read.
    #[error(
        "a message of the supervisor cannot be read: {0}\nthis is a defect of the node; please report it"
    )]
    Message(#[from] capnp::Error),
    /// The system refused something that this role needs.
    #[error(
        "the system refused {what}: {source}\ncheck the limits of the service (open files, tasks, memory)"
    )]
    System {
        /// What was refused.
        what: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}
