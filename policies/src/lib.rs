//! Access levels, windows, and who may do what: the three complete Cedar policy sets and decisions.
//!
//! **Any evaluation error is a denial.** This crate must never see packets, keys or datasets.

mod ask;
mod diagnostics;
mod engine;
mod error;
mod level;
mod request;
mod window;

pub use ask::{
    Action, Ask, Decision, DeveloperFacts, ModuleFacts, Principal, Resource, SystemMode, TraceFacts,
};
pub use engine::{MAX_POLICY_FILE_BYTES, PolicyEngine};
pub use error::PolicyError;
pub use level::AccessLevel;
pub use window::Window;
