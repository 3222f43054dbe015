//! Who is known to this node: partners, developers, endorsed modules, other authorities, revocation lists. One small
//! file each under `registry/`, written by the administration commands, read by the supervisor at start
//! and on SIGHUP.
//!
//! Holds public halves of keys only. Must never decide: policy does, on these facts.

mod entries;
mod load;
mod revocations;
mod write;

pub use entries::{Authority, Developer, Endorsement, Partner, RegistryName};
pub(crate) use load::read_bounded;
pub use load::{Registry, RegistryError};
pub use revocations::{MAX_LIST_BYTES, Revocations, list_path, read_list};
pub(crate) use write::replace;
pub use write::{remove_endorsement, save_authority, save_developer, save_endorsement, save_partner};

/// The folders of a registry.
pub const FOLDERS: [&str; 5] = ["partners", "developers", "modules", "authorities", "revocations"];
