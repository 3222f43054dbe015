//! `como`: the tool and library of partners, developers and operators.
//!
//! Owns the asker's side: keys and profiles, signed requests, the connection to a node, datasets on
//! disk. Must never depend on the node's code: what both share are the formats and the API schema.

pub mod anonymize;
pub mod answer;
pub mod blocking;
pub mod cli;
pub mod client;
pub mod commands;
pub mod connection;
pub mod convert;
pub mod download;
pub mod error;
pub mod exit;
pub mod head;
pub mod keys;
pub mod local;
pub mod merged;
pub mod output;
pub mod plot;
pub mod profile;
pub mod render;
pub mod request;
pub mod spiffe;
pub mod template;
pub mod time;

pub use client::{Client, Event};
pub use error::{ClientError, Result};
