//! The integration tests of the whole: one binary, a file per subject.

mod dependency_rule;
mod harness;
mod repository;
mod stories;
