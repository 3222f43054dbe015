//! Storage: sealed bytes to disk and back. Must never hold a key: all it keeps is ciphertext.

pub mod ring;
