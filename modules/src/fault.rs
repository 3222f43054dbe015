//! What a guest did wrong while it ran. Owns the verdicts that a node records against a module's hash;
//! must never hold anything that the guest could have copied from a packet.

use thiserror::Error;

/// A guest's fault: its instance is stopped, the others go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("module {module}, {callback}: {kind}")]
pub struct Fault {
    /// SHA-256 of the code, in hexadecimal.
    pub module: String,
    /// Where it happened.
    pub callback: Callback,
    /// What happened.
    pub kind: FaultKind,
}

/// An entry point of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callback {
    /// Setting up memory, reading the addresses of arena and output.
    Instantiate,
    /// `init`.
    Init,
    /// `update`.
    Update,
    /// `store`.
    Store,
    /// `merge`.
    Merge,
    /// `load`.
    Load,
}

impl std::fmt::Display for Callback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Callback::Instantiate => "instantiation",
            Callback::Init => "init",
            Callback::Update => "update",
            Callback::Store => "store",
            Callback::Merge => "merge",
            Callback::Load => "load",
        })
    }
}

/// The kinds of fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FaultKind {
    /// It used up its budget.
    #[error(
        "out of fuel ({budget} units)\nmake the callback shorter: an endless loop, or too much work per batch"
    )]
    OutOfFuel {
        /// What it had.
        budget: u64,
    },
    /// WebAssembly trapped.
    #[error("trap: {0}\nrun it with `como module test` to find the input that does it")]
    Trap(String),
    /// The callback returned an error of its own.
    #[error("it gave up with code {0}\nits developer knows what the code means")]
    GaveUp(i32),
    /// An address or a length that is not inside the guest's memory.
    #[error(
        "it gave an address outside its memory: {0}\nreserve arena and output as docs/module-abi.md says"
    )]
    BadPointer(String),
    /// The output does not follow the layout of the ABI, or breaks a limit.
    #[error("bad output: {0}\nwrite rows as docs/module-abi.md says, in the manifest's schema")]
    BadOutput(String),
}
