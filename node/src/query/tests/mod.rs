//! The network side under test: a real server on loopback, a supervisor played by a thread at the other
//! end of a real control link, and clients with certificates of every kind.

mod admits;
mod authority;
mod bounds;
mod paths;
mod results;
mod rig;
mod role;
