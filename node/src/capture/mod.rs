//! Capture: packets from a link or a file to sealed blocks. Must never write to a disk, open a network
//! connection or hold a key that opens what it sealed for longer than the segment is being written.

mod consumers;
mod hours;
mod patience;
pub mod pipeline;
mod role;
mod sampling;
pub mod source;
mod uplink;

pub use role::{CaptureError, OpenSource, Opened, open, run};
