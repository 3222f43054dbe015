//! Every secret and every signature of CoMo: signing, sealing, block encryption, pseudonym keys, key
//! files, the trial PKI and the audit log's hash chain.
//!
//! One key has one purpose; sub-keys come from HKDF with the labels of [`labels`]. Secrets wipe
//! themselves on drop, print as `[redacted]` and are mode 0600 on disk. This crate must never know
//! what it protects: no packets, no policy, no processes, no network.

pub mod aead;
pub mod audit;
pub mod digest;
mod error;
pub mod files;
pub mod keyring;
pub mod labels;
pub mod mapping;
pub mod pki;
pub mod root;
pub mod sealing;
pub mod signing;

pub use error::KeyError;

/// `N` bytes from the operating system's generator.
///
/// # Panics
/// When the operating system has no randomness to give: no key made after that could be trusted.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
