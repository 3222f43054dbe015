//! `como-node`: see `como_node::cli`.
fn main() {}
