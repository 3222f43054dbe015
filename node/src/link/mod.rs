//! Links between the node's processes: Cap'n Proto messages over Unix stream sockets, with
//! descriptor passing.
//!
//! A frame is `u32` message bytes, `u32` descriptor count, `u32` bytes of its body, the message, the body.
//! Descriptors ride on the frame's first byte (`SCM_RIGHTS`). A body is what is too large to be copied into
//! a message and out of it again. This file moves bytes; it must never look into them.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

/// Largest message on a link, and largest body, in bytes. A block of the trace or a view batch is far below it.
pub const MAX_LINK_MESSAGE_BYTES: usize = como_capnp::MAX_MESSAGE_BYTES;
/// Most descriptors that one frame may carry.
pub const MAX_LINK_DESCRIPTORS: usize = 4;
/// Bytes before the message.
const HEAD_BYTES: usize = 12;

/// What went wrong on a link. A peer that closed between frames is not an error.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The socket failed, or the peer went away within a frame.
    #[error("link to {0} broke: {1}\nThe supervisor restarts the peer and hands out a new link.")]
    Broken(&'static str, std::io::Error),
    /// The peer breaks the protocol; nothing it says can be trusted any more.
    #[error(
        "peer {0} sent a frame that is not allowed: {1}\nThis is a defect or an attack; the link is closed."
    )]
    PeerMisbehaved(&'static str, String),
}

/// One received frame.
pub struct Frame {
    /// The message, unread.
    pub bytes: Vec<u8>,
    /// What came behind it; mostly nothing.
    pub body: Vec<u8>,
    /// Descriptors that came with it.
    pub descriptors: Vec<OwnedFd>,
}

/// Sending half of a link.
pub struct LinkSender {
    peer: &'static str,
    stream: UnixStream,
}

/// Receiving half of a link.
pub struct LinkReceiver {
    peer: &'static str,
    stream: UnixStream,
    /// Memory for the next frame.
    spare: Vec<u8>,
}

/// A pair of connected sockets, close-on-exec: both ends are handed out by the supervisor.
pub fn pair() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (a, b) = UnixStream::pair()?;
    Ok((a.into(), b.into()))
}

/// Makes both halves of a link from one end of a [`pair`]. `peer` names it in errors.
pub fn split(peer: &'static str, end: OwnedFd) -> std::io::Result<(LinkSender, LinkReceiver)> {
    let stream = UnixStream::from(end);
    Ok((
        LinkSender {
            peer,
            stream: stream.try_clone()?,
        },
        LinkReceiver {
            peer,
            stream,
            spare: Vec::new(),
        },
    ))
}

/// The control link that a role inherits as its standard input.
pub fn control() -> std::io::Result<(LinkSender, LinkReceiver)> {
    split("supervisor", std::io::stdin().as_fd().try_clone_to_owned()?)
}

impl LinkSender {
    /// Sends one message; blocks while the peer is slow.
    pub fn send<A: capnp::message::Allocator>(
        &mut self,
        message: &capnp::message::Builder<A>,
    ) -> Result<(), LinkError> {
        self.send_bytes(&como_capnp::write_message(message), &[])
    }

    /// Sends one message with descriptors; blocks while the peer is slow.
    pub fn send_with<A: capnp::message::Allocator>(
        &mut self,
        message: &capnp::message::Builder<A>,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), LinkError> {
        self.send_bytes(&como_capnp::write_message(message), descriptors)
    }

    /// Sends one serialised message.
    pub fn send_bytes(&mut self, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        self.send_frame(message, &[], descriptors)
    }

    /// Sends one serialised message and a body, which is copied nowhere on the way.
    pub fn send_with_body(&mut self, message: &[u8], body: &[u8]) -> Result<(), LinkError> {
        self.send_frame(message, body, &[])
    }

    fn send_frame(
        &mut self,
        message: &[u8],
        body: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), LinkError> {
        let longest = message.len().max(body.len());
        if longest > MAX_LINK_MESSAGE_BYTES || descriptors.len() > MAX_LINK_DESCRIPTORS {
            let what = format!("{longest} bytes, {} descriptors", descriptors.len());
            return Err(LinkError::PeerMisbehaved("(own message)", what));
        }
        let mut head = [0u8; HEAD_BYTES];
        let fields = [message.len(), descriptors.len(), body.len()];
        for (to, field) in head.as_chunks_mut().0.iter_mut().zip(fields) {
            *to = (field as u32).to_le_bytes();
        }
        let mut sent = self.send_first(&[&head, message, body].map(IoSlice::new), descriptors)?;
        for part in [&head[..], message, body] {
            let rest = part.get(sent..).unwrap_or_default();
            sent = sent.saturating_sub(part.len());
            self.stream.write_all(rest).map_err(|e| self.broken(e))?;
        }
        Ok(())
    }

    /// First write of a frame, which carries the descriptors; returns the bytes written.
    fn send_first(&mut self, parts: &[IoSlice<'_>], fds: &[BorrowedFd<'_>]) -> Result<usize, LinkError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_LINK_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(fds));
        }
        loop {
            match rustix::net::sendmsg(&self.stream, parts, &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(sent) => return Ok(sent),
                Err(rustix::io::Errno::INTR) => continue,
                Err(e) => return Err(self.broken(e.into())),
            }
        }
    }

    /// Another sender on the same socket. Frames are written whole only while one of them is used at a time.
    pub fn try_clone(&self) -> std::io::Result<Self> {
        Ok(Self {
            peer: self.peer,
            stream: self.stream.try_clone()?,
        })
    }

    /// Bounds how long a send may block; `None` waits for ever.
    pub fn set_timeout(&self, timeout: Option<Duration>) -> std::io::Result<()> {
        self.stream.set_write_timeout(timeout)
    }

    /// Whether a send would find room at once, waiting at most `timeout` for it.
    pub fn writable_within(&self, timeout: Duration) -> bool {
        let mut fds = [rustix::event::PollFd::new(
            &self.stream,
            rustix::event::PollFlags::OUT,
        )];
        let limit = rustix::event::Timespec {
            tv_sec: timeout.as_secs() as _,
            tv_nsec: timeout.subsec_nanos() as _,
        };
        matches!(rustix::event::poll(&mut fds, Some(&limit)), Ok(n) if n > 0)
    }

    /// Ends the link in both directions: the peer reads an end of stream.
    pub fn shutdown(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    fn broken(&self, e: std::io::Error) -> LinkError {
        LinkError::Broken(self.peer, e)
    }
}

impl LinkReceiver {
    /// Takes the memory of a frame that was read, for the next one: of many large ones, each would be zeroed before it is
    /// received.
    pub fn reuse(&mut self, frame: Frame) {
        self.spare = frame.bytes;
    }

    /// Waits for the next frame; `None` when the peer closed between frames.
    pub fn recv(&mut self) -> Result<Option<Frame>, LinkError> {
        self.recv_into(Vec::new)
    }

    /// The same; a body goes into the memory of an earlier one, whatever that still holds.
    pub fn recv_into(&mut self, spare: impl FnOnce() -> Vec<u8>) -> Result<Option<Frame>, LinkError> {
        let mut head = [0u8; HEAD_BYTES];
        let mut descriptors = Vec::new();
        let mut got = 0;
        while got < head.len() {
            let n = self.recv_head(&mut head[got..], &mut descriptors)?;
            if n == 0 && got == 0 {
                return Ok(None);
            }
            if n == 0 {
                return Err(self.broken(std::io::ErrorKind::UnexpectedEof.into()));
            }
            got += n;
        }
        let field = |at: usize| u32::from_le_bytes(head.as_chunks().0[at]) as usize;
        let (length, count, body_length) = (field(0), field(1), field(2));
        let longest = length.max(body_length);
        if longest > MAX_LINK_MESSAGE_BYTES || count != descriptors.len() {
            let what = format!(
                "{longest} bytes, {count} descriptors announced, {} came",
                descriptors.len()
            );
            return Err(LinkError::PeerMisbehaved(self.peer, what));
        }
        let mut bytes = std::mem::take(&mut self.spare);
        bytes.resize(length, 0);
        self.stream.read_exact(&mut bytes).map_err(|e| self.broken(e))?;
        let mut body = if body_length > 0 { spare() } else { Vec::new() };
        body.resize(body_length, 0);
        self.stream.read_exact(&mut body).map_err(|e| self.broken(e))?;
        Ok(Some(Frame {
            bytes,
            body,
            descriptors,
        }))
    }

    fn recv_head(&mut self, into: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> Result<usize, LinkError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_LINK_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(into)];
            match rustix::net::recvmsg(&self.stream, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => break received.bytes,
                Err(rustix::io::Errno::INTR) => continue,
                Err(e) => return Err(self.broken(e.into())),
            }
        };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                descriptors.extend(fds);
            }
        }
        Ok(received)
    }

    /// Bounds how long [`Self::recv`] waits; a passed bound is `LinkError::Broken` with `WouldBlock`.
    pub fn set_timeout(&self, timeout: Option<Duration>) -> std::io::Result<()> {
        self.stream.set_read_timeout(timeout)
    }

    fn broken(&self, e: std::io::Error) -> LinkError {
        LinkError::Broken(self.peer, e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek;

    fn linked() -> (LinkSender, LinkReceiver) {
        let (a, b) = pair().unwrap();
        let (sender, _) = split("a", a).unwrap();
        let (_, receiver) = split("b", b).unwrap();
        (sender, receiver)
    }

    #[test]
    fn messages_and_descriptors_arrive_in_order() {
        let (mut sender, mut receiver) = linked();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"sealed").unwrap();
        file.rewind().unwrap();
        let big = vec![7u8; 3 << 20];
        let writer = std::thread::spawn(move || {
            sender.send_bytes(b"one", &[]).unwrap();
            sender.send_bytes(&big, &[file.as_fd()]).unwrap();
            sender.send_bytes(b"", &[]).unwrap();
            sender.send_with_body(b"of", &vec![8; 1 << 20]).unwrap();
            sender.send_with_body(b"of", b"few").unwrap();
        });
        let one = receiver.recv().unwrap().unwrap();
        assert_eq!(
            (one.bytes.as_slice(), one.descriptors.len()),
            (b"one".as_slice(), 0)
        );
        let mut two = receiver.recv().unwrap().unwrap();
        assert_eq!((two.bytes.len(), two.descriptors.len()), (3 << 20, 1));
        let mut text = String::new();
        std::fs::File::from(two.descriptors.remove(0))
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "sealed");
        assert!(receiver.recv().unwrap().unwrap().bytes.is_empty());
        let with_body = receiver.recv().unwrap().unwrap();
        assert_eq!(
            (&with_body.bytes[..], with_body.body),
            (&b"of"[..], vec![8; 1 << 20])
        );
        let reused = receiver.recv_into(|| vec![9; 100]).unwrap().unwrap();
        assert_eq!(reused.body, b"few", "and nothing of what was there before");
        writer.join().unwrap();
        assert!(
            receiver.recv().unwrap().is_none(),
            "a closed peer is the end, not an error"
        );
    }

    #[test]
    fn a_frame_that_claims_too_much_is_refused_before_allocation() {
        for head in [[u32::MAX, 0, 0], [0, 0, u32::MAX], [8, 1, 0]] {
            let (a, b) = pair().unwrap();
            let mut raw = UnixStream::from(a);
            let (_, mut receiver) = split("b", b).unwrap();
            raw.write_all(&head.map(u32::to_le_bytes).concat()).unwrap();
            assert!(matches!(receiver.recv(), Err(LinkError::PeerMisbehaved(..))));
        }
    }

    #[test]
    fn a_frame_cut_short_is_an_error() {
        let (a, b) = pair().unwrap();
        let mut raw = UnixStream::from(a);
        let (_, mut receiver) = split("b", b).unwrap();
        raw.write_all(&[9u32, 0, 0].map(u32::to_le_bytes).concat())
            .unwrap();
        raw.write_all(b"four").unwrap();
        drop(raw);
        assert!(matches!(receiver.recv(), Err(LinkError::Broken(..))));
    }
}
