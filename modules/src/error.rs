//! What can be wrong with a module before it runs, named by who must act. Owns the texts that developers
//! and operators read (what is wrong, then what to do); must never carry packet data or key material.

use thiserror::Error;

/// Why a module is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ModuleError {
    // The developer acts: the file.
    /// The file is larger than a node reads.
    #[error(
        "the module is {bytes} bytes, the limit is {limit}\nmake it smaller: build it optimised for size, strip names, drop tables that can be computed"
    )]
    TooLarge {
        /// Size found.
        bytes: usize,
        /// Largest size accepted.
        limit: usize,
    },
    /// The bytes are not a module file, or damaged.
    #[error("not a module file: {0}\nmake one with `como module sign`")]
    Malformed(String),
    /// There is no signature on the manifest.
    #[error(
        "the module is not signed\nsign it with `como module sign` and a key that the node's operator registered"
    )]
    Unsigned,
    /// The manifest breaks a rule.
    #[error("manifest, {field}: {problem}\ncorrect it in module.toml and sign again")]
    Manifest {
        /// Field of the manifest.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// `module.toml` does not parse; the message has line and caret.
    #[error("module.toml: {0}\ndocs/module-abi.md lists its fields")]
    Toml(String),

    // The developer acts: trust.
    /// No registered key made any of the signatures.
    #[error(
        "no registered developer's key signed this module (signed by {key_ids})\nsend your public key to the node's operator, who registers it with `como-node developer add`"
    )]
    UnknownKey {
        /// The key ids named by the signatures.
        key_ids: String,
    },
    /// The signature does not fit the manifest.
    #[error(
        "the signature of key {key_id} does not fit the manifest: it was changed after signing\nfetch the module again from its developer, or sign it again"
    )]
    BadSignature {
        /// Key named by the signature.
        key_id: String,
    },
    /// The code is not the code that was signed.
    #[error(
        "the code does not fit the manifest (signed SHA-256 {signed}, found {found}): it was changed after signing\nfetch the module again from its developer, or sign it again"
    )]
    WrongHash {
        /// Hash or length that the manifest binds.
        signed: String,
        /// Hash or length of the code that came with it.
        found: String,
    },
    /// The manifest names another developer or key than the registry has for the signing key.
    #[error(
        "the manifest says developer {claimed}, the signing key belongs to {registered}\nsign with the key of the developer whom the manifest names"
    )]
    WrongDeveloper {
        /// As the manifest says.
        claimed: String,
        /// As the registry says.
        registered: String,
    },
    /// The manifest's time is over.
    #[error(
        "the module expired at {not_after_ns} ns since the epoch\nsign a new release with a later expiry"
    )]
    Expired {
        /// End of validity, wall time.
        not_after_ns: u64,
    },
    /// A newer release, or another module of the same number, is already known.
    #[error(
        "release {offered} of {name} is not newer than release {known}, which this node knows\nraise `release` in module.toml and sign again"
    )]
    Downgraded {
        /// Module name.
        name: String,
        /// Release offered.
        offered: u64,
        /// Release already known.
        known: u64,
    },
    /// Key or code stands on the revocation list.
    #[error(
        "{what} is revoked (list number {number})\nask the operator why; a new key or a new release is needed"
    )]
    Revoked {
        /// The key or code.
        what: String,
        /// Number of the list that says so.
        number: u64,
    },

    // The operator acts.
    /// The revocation list is too old to rely on.
    #[error(
        "the revocation list number {number} expired at {expires_ns} ns since the epoch\nfetch or sign a newer list: until then no module is accepted"
    )]
    StaleRevocations {
        /// Its number.
        number: u64,
        /// Its expiry.
        expires_ns: u64,
    },
    /// A revocation list that is older than the one in force.
    #[error(
        "revocation list number {offered} is older than number {known}, which is in force\ninstall a list with a larger number"
    )]
    OldRevocations {
        /// Number offered.
        offered: u64,
        /// Number in force.
        known: u64,
    },

    // The developer acts: the code.
    /// Not WebAssembly, or a part of it that guests may not use.
    #[error(
        "wasm, byte {offset}: {problem}\nguests use WebAssembly MVP with bulk memory, sign extension, non-trapping conversions, multi-value and SIMD only: see docs/module-abi.md"
    )]
    Wasm {
        /// Where in the code.
        offset: usize,
        /// What is wrong, naming the item.
        problem: String,
    },
    /// The code imports something.
    #[error(
        "wasm imports `{item}`\na guest has no imports: remove what needs it (printing, time, randomness, allocation through the host)"
    )]
    Import {
        /// `module.name` of the import.
        item: String,
    },
    /// The code has a start function.
    #[error(
        "wasm has a start function (number {function})\nmove its work into `init`, which runs with a budget"
    )]
    StartFunction {
        /// Its index.
        function: u32,
    },
    /// The memory is not fixed, or not what the manifest says.
    #[error("wasm memory: {0}\nlink with --initial-memory and --max-memory equal to `memory` in module.toml")]
    Memory(String),
    /// More of something than is allowed.
    #[error("wasm has {found} {what}, the limit is {limit}\nmake the module smaller")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How many.
        found: u64,
        /// How many are allowed.
        limit: u64,
    },
    /// An export of the ABI is missing or of another type.
    #[error("wasm export `{name}`: {problem}\nsee the list of exports in docs/module-abi.md")]
    Export {
        /// Name in the ABI.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// An argument that the manifest does not have or that is out of its range.
    #[error("argument {name}: {problem}\n`como module show` lists a module's arguments and their ranges")]
    Argument {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl ModuleError {
    pub(crate) fn manifest(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Manifest {
            field: field.into(),
            problem: problem.into(),
        }
    }
}
