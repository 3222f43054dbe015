//! What nobody may learn from a view, and what everybody may rely on: one binary, one subject to a file.

mod captures;
mod dissector;
mod filters;
mod frames;
mod fuzz;
mod golden;
mod laws;
mod narrow;
mod oracle;
mod treatment;
mod vectors;
