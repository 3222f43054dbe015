//! The integration tests of the whole: one binary, a file per subject.

mod bad_input;
mod dependency_rule;
mod exactly_once;
mod harness;
mod isolation;
mod live;
mod privacy_sweep;
mod repository;
mod sandbox;
mod soak;
mod stories;
mod supervision;
mod tutorial;
