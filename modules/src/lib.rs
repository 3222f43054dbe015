//! Modules: what researchers send to the data. Manifest, signature, admission, and the sandbox that runs them.
//!
//! A module passes through four types, each of which can only be made from the one before:
//! [`SignedModule`] (bytes of anyone) → [`VerifiedModule`] (origin, freshness and integrity hold) →
//! [`AdmittedModule`] (code checked and compiled) → [`Instance`] (running). [`IntervalRunner`] drives an
//! instance over packets, live and past alike.
//!
//! Owns the guest ABI (docs/module-abi.md); must never decide who may run what (that is the policies' part),
//! and only `runtime.rs` knows the WebAssembly engine.

mod admit;
mod answer;
mod arena;
mod envelope;
mod error;
mod fault;
mod interval;
pub mod limits;
mod manifest;
pub mod merge;
mod module_toml;
mod output;
mod revocation;
mod runtime;
mod table_area;
pub mod tables;

pub use admit::{AdmittedModule, StartError};
pub use answer::Answer;
pub use envelope::{
    KnownRelease, MAGIC, MANIFEST_TYPE, SignedModule, Trust, TrustedDeveloper, VerifiedModule,
};
pub use error::ModuleError;
pub use fault::{Callback, Fault, FaultKind};
pub use interval::{IntervalRows, IntervalRunner};
pub use manifest::{ABI_VERSION, ArgSpec, Manifest, Merge, OutputColumn};
pub use output::Rows;
pub use revocation::{REVOCATIONS_TYPE, RevocationList};
pub use runtime::{Instance, Usage};
