//! Bad input on a real node, over real mutual TLS, through the programs that people use: each is refused or contained,
//! and says what to do. A node per subject serves all cases of it.
//!
//! Of the same list, elsewhere: a typing error in the configuration and a broken key file (`stories/operator.rs`), a port
//! in use (`supervision.rs`), a full disk (`exactly_once.rs`), every single rule of admission and of the dataset format
//! (`modules/tests`, `dataset/tests`).

mod captures;
mod connections;
mod datasets;
mod modules;
mod requests;
mod wire;
