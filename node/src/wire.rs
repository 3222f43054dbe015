//! Building and reading the messages of `wire.capnp`. Owns conversions only; must never decide.

use capnp::message::{Builder, HeapAllocator};
use como_capnp::wire_capnp as wire;

pub use como_capnp::Message;

macro_rules! builders {
    ($($(#[$doc:meta])* $name:ident => $module:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name(fill: impl FnOnce(wire::$module::Builder<'_>)) -> Vec<u8> {
            let mut message: Builder<HeapAllocator> = Builder::new_default();
            fill(message.init_root());
            como_capnp::write_message(&message)
        }
    )*};
}

/// A message of a feed that holds about so many bytes: its memory is taken at once.
pub fn large_feed(bytes: usize, fill: impl FnOnce(wire::feed::Builder<'_>)) -> Vec<u8> {
    let words = u32::try_from(bytes / 8 + SMALL_FIELDS_WORDS).unwrap_or(u32::MAX);
    let mut message = Builder::new(HeapAllocator::new().first_segment_words(words));
    fill(message.init_root());
    como_capnp::write_message(&message)
}

/// Room for what a large message holds beside its lists of bytes, words.
const SMALL_FIELDS_WORDS: usize = 1024;

builders! {
    /// A message from the supervisor to a role.
    down => down;
    /// A message from a role to the supervisor.
    up => up;
    /// What capture and export send to storage.
    store_item => store_item;
    /// What storage answers.
    store_ack => store_ack;
    /// What capture sends to export and a reader to its runner.
    feed => feed;
}

/// What a message from the supervisor says.
pub fn read_down(message: &Message) -> capnp::Result<wire::down::WhichReader<'_>> {
    Ok(message.get_root::<wire::down::Reader<'_>>()?.which()?)
}

/// `Down.peer`: announces the descriptor that rides on the same frame.
pub fn peer(role: &str, id: u64) -> Vec<u8> {
    down(|message| {
        let mut peer = message.init_peer();
        peer.set_role(role);
        peer.set_id(id);
    })
}

/// `Down.stop`: drain, seal, exit.
pub fn stop() -> Vec<u8> {
    down(|mut message| message.set_stop(()))
}

/// `Up.ready`, sent once the sandbox is in force.
pub fn ready(sandbox: &str) -> Vec<u8> {
    up(|message| {
        let mut ready = message.init_ready();
        ready.set_pid(std::process::id());
        ready.set_sandbox(sandbox);
    })
}

/// `Up.failed`: what went wrong and what to do. An error's text has two lines; the second is the fix.
/// `lasting`: starting again mends nothing.
pub fn failed(error: &str, lasting: bool) -> Vec<u8> {
    let (what, fix) = error.split_once('\n').unwrap_or((error, ""));
    up(|message| {
        let mut failed = message.init_failed();
        failed.set_what(what);
        failed.set_fix(fix);
        failed.set_lasting(lasting);
    })
}

/// A fixed-size byte field of a message.
pub fn array<const N: usize>(bytes: &[u8]) -> capnp::Result<[u8; N]> {
    bytes
        .try_into()
        .map_err(|_| capnp::Error::failed(format!("{} bytes where {N} belong", bytes.len())))
}

/// A text field as an owned string.
pub fn text(field: capnp::Result<capnp::text::Reader<'_>>) -> capnp::Result<String> {
    Ok(field?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_two_lines_becomes_what_and_fix() {
        let bytes = failed("disk is full\nfree some space", false);
        let message = como_capnp::read_message(&bytes).unwrap();
        let up: wire::up::Reader<'_> = message.get_root().unwrap();
        let wire::up::Which::Failed(failed) = up.which().unwrap() else {
            panic!("not failed")
        };
        let failed = failed.unwrap();
        assert_eq!(text(failed.get_what()).unwrap(), "disk is full");
        assert_eq!(text(failed.get_fix()).unwrap(), "free some space");
    }
}
