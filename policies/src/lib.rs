//! Access levels, windows, and who may do what: the three complete Cedar policy sets and decisions.
//!
//! **Any evaluation error is a denial.** This crate must never see packets, keys or datasets.

mod ask;
mod engine;
mod error;
mod level;
mod window;

pub use ask::{
    Action, Ask, Decision, DeveloperFacts, ModuleFacts, Principal, Resource, SystemMode, TraceFacts,
};
pub use engine::PolicyEngine;
pub use error::PolicyError;
pub use level::AccessLevel;
pub use window::Window;
