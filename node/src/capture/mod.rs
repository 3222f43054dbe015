//! Capture: packets from a link or a file to sealed blocks. Must never write to a disk, open a network
//! connection or hold a key that opens what it sealed for longer than the segment is being written.

pub mod pipeline;
pub mod source;
