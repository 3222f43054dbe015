//! pcapng: one section, one interface with nanoseconds, an enhanced packet block per packet.
//!
//! Owns the lengths of a packet (captured: what the level released; original: what was on the wire);
//! must never write a name, an address or a secret beside the packets: only the dataset's own comment.

use std::io::Write;

use como_dataset::{Batch, Completeness, Header, PacketBatch, Schema};
use como_savefile::{Packet, Section, WriteError, Writer};

use super::{ConvertError, Sink, text};

pub(super) struct Pcapng<W> {
    out: Writer<W>,
    link: u32,
}

impl<W: Write> Pcapng<W> {
    pub(super) fn new(out: W, header: &Header, end: Option<&Completeness>) -> Result<Self, ConvertError> {
        let Schema::Packets { link_type: link } = header.schema else {
            return Err(ConvertError::NotPackets);
        };
        let section = Section {
            application: concat!("como ", env!("CARGO_PKG_VERSION")),
            comment: &text::comment(header, end),
        };
        let mut out = Writer::pcapng(out, &section).map_err(output)?;
        // Also where no packet follows: a file without an interface tells no link type.
        out.interface(link).map_err(output)?;
        Ok(Self { out, link })
    }
}

impl<W: Write> Sink for Pcapng<W> {
    fn table(&mut self, _: &Batch) -> Result<(), ConvertError> {
        Err(ConvertError::NotPackets)
    }

    fn packets(&mut self, batch: &PacketBatch) -> Result<(), ConvertError> {
        for packet in 0..batch.len() {
            let packet = Packet {
                ts_ns: batch.ts_ns[packet],
                wire_len: batch.wire_len[packet],
                link: self.link,
                data: batch.frames.get(packet),
            };
            self.out.packet(&packet).map_err(output)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ConvertError> {
        self.out.flush().map_err(output)
    }
}

fn output(error: WriteError) -> ConvertError {
    match error {
        WriteError::Output(error) => ConvertError::Output(error),
        WriteError::LinkType { link } => ConvertError::LinkType { link_type: link },
        other => ConvertError::Output(std::io::Error::other(other)),
    }
}
