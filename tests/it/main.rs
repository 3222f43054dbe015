//! The integration tests of the whole: one binary, a file per subject.

mod dependency_rule;
mod exactly_once;
mod harness;
mod repository;
mod sandbox;
mod stories;
mod supervision;
