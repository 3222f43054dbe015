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

impl Fault {
    /// The fault as it may be told and logged where the guest has seen packets: without the numbers that it gave, which
    /// it could have copied from them.
    pub fn without_numbers(&self) -> String {
        let kind = match &self.kind {
            FaultKind::OutOfFuel { .. } | FaultKind::Trap(_) => self.kind.to_string(),
            FaultKind::GaveUp(_) => "it gave up\n`como module test` shows its code, where it does so there too".into(),
            FaultKind::BadPointer(_) => {
                "it gave an address outside its memory\nreserve arena and output as docs/module-abi.md says".into()
            }
            FaultKind::BadOutput(_) => {
                "bad output\nwrite rows as docs/module-abi.md says; `como module test` shows what is wrong with them".into()
            }
        };
        format!("module {}, {}: {kind}", self.module, self.callback)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_gave_is_not_in_what_is_told() {
        let kinds = [
            FaultKind::GaveUp(424_242),
            FaultKind::BadPointer("424242 bytes at 424242".into()),
            FaultKind::BadOutput("424242 rows".into()),
        ];
        for kind in kinds {
            let fault = Fault {
                module: "ab".repeat(32),
                callback: Callback::Store,
                kind,
            };
            let told = fault.without_numbers();
            assert!(
                fault.to_string().contains("424242") && !told.contains("424242"),
                "{told}"
            );
            assert!(
                told.starts_with("module abab") && told.lines().count() == 2,
                "{told}"
            );
        }
    }
}
