//! Storage: the only process that writes to the disk. It takes sealed items and sealed records, makes them
//! durable, acknowledges them, and lets the oldest go. Must never hold a key: what it stores it cannot read.

mod records;
mod role;
mod syncer;

pub use role::{StorageError, run};
