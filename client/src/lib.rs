//! `como`: the tool and library of partners, developers and operators.
//!
//! Owns the asker's side: keys and profiles, signed requests, the connection to a node, datasets on
//! disk. Must never depend on the node's code: what both share are the formats and the API schema.

pub mod cli;
pub mod exit;
pub mod time;
