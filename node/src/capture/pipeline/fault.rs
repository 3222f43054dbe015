//! A packet that kills the process which looks at it, as a defect of dissection beyond a panic would (a stack that
//! overflows, an abort in a library). Exists in builds with debug assertions only, never in a release: the promise that
//! a poison packet cannot stop capture needs a death at one real packet, and a signal from outside hits none exactly.

/// A packet that ends with these bytes is deadly.
pub const DEADLY_END: &[u8; 32] = b"como debug build: capture dies!!";

/// Ends the process at a deadly packet, as no handler can prevent.
pub(super) fn strike(packet: &[u8]) {
    if packet.ends_with(DEADLY_END) {
        std::process::abort();
    }
}
