//! The reference of all keys, in one table: the file that `init` writes and docs/configuration.md are
//! both made of it. Must list every key that the sections take; a test compares.

/// One key.
pub(super) struct Key {
    /// Section, as in the header.
    pub section: &'static str,
    /// Name.
    pub name: &'static str,
    /// Default or example as it is written in TOML; see `required`.
    pub value: &'static str,
    /// Must be written; then `value` is an example.
    pub required: bool,
    /// What it means, one sentence or two.
    pub text: &'static str,
}

/// What a key means, for a hint.
pub(super) fn describe(_section: &str, _key: &str) -> Option<String> {
    todo!()
}

/// The file that `como-node init` writes.
pub fn template(_values: &[(&str, &str, String)]) -> String {
    todo!()
}

/// docs/configuration.md.
pub fn documentation() -> String {
    todo!()
}
