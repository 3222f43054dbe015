//! pcapng: one section, one interface with nanoseconds, an enhanced packet block per packet.
//!
//! Owns the lengths of a packet (captured: what the level released; original: what was on the wire);
//! must never write a name, an address or a secret beside the packets: only the dataset's own comment.

use std::{borrow::Cow, io::Write, time::Duration};

use como_dataset::{Batch, Completeness, Header, PacketBatch, Schema};
use pcap_file::{
    DataLink, PcapError,
    pcapng::{
        PcapNgWriter,
        blocks::{
            enhanced_packet::EnhancedPacketBlock,
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
            section_header::{SectionHeaderBlock, SectionHeaderOption},
        },
    },
};

use super::{ConvertError, Sink, text};

/// if_tsresol: ten to the minus ninth.
const NANOSECONDS: u8 = 9;
/// Snap length of the interface: none.
const NO_SNAP_LENGTH: u32 = 0;

pub(super) struct Pcapng<W: Write> {
    out: PcapNgWriter<W>,
}

impl<W: Write> Pcapng<W> {
    pub(super) fn new(out: W, header: &Header, end: Option<&Completeness>) -> Result<Self, ConvertError> {
        let Schema::Packets { link_type } = header.schema else {
            return Err(ConvertError::NotPackets);
        };
        if link_type > u16::MAX.into() {
            return Err(ConvertError::LinkType { link_type });
        }
        let options = vec![
            SectionHeaderOption::Comment(Cow::Owned(text::comment(header, end))),
            SectionHeaderOption::UserApplication(Cow::Borrowed(concat!("como ", env!("CARGO_PKG_VERSION")))),
        ];
        let section = SectionHeaderBlock {
            options,
            ..Default::default()
        };
        let mut out = PcapNgWriter::with_section_header(out, section).map_err(output)?;
        let interface = InterfaceDescriptionBlock {
            linktype: DataLink::from(link_type),
            snaplen: NO_SNAP_LENGTH,
            options: vec![InterfaceDescriptionOption::IfTsResol(NANOSECONDS)],
        };
        out.write_pcapng_block(interface).map_err(output)?;
        Ok(Self { out })
    }
}

impl<W: Write> Sink for Pcapng<W> {
    fn table(&mut self, _: &Batch) -> Result<(), ConvertError> {
        Err(ConvertError::NotPackets)
    }

    fn packets(&mut self, batch: &PacketBatch) -> Result<(), ConvertError> {
        for packet in 0..batch.len() {
            let frame = batch.frames.get(packet);
            let block = EnhancedPacketBlock {
                interface_id: 0,
                timestamp: Duration::from_nanos(batch.ts_ns[packet]),
                // A synthetic frame can be longer than the packet was; readers refuse such lengths.
                original_len: batch.wire_len[packet].max(frame.len() as u32),
                data: Cow::Borrowed(frame),
                options: Vec::new(),
            };
            self.out.write_pcapng_block(block).map_err(output)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ConvertError> {
        Ok(self.out.get_mut().flush()?)
    }
}

fn output(error: PcapError) -> ConvertError {
    ConvertError::Output(match error {
        PcapError::IoError(error) => error,
        other => std::io::Error::other(other),
    })
}
