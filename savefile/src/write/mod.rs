//! Writing: pcap with micro- or nanoseconds, pcapng with nanoseconds and one bare interface per link type. Must
//! never write a name, an address or a secret beside the packets.

mod encode;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use thiserror::Error;

pub use encode::{Encoder, Resolution, Section};

use crate::{Format, Packet};

/// Why a packet cannot be written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// A second link type in a pcap file.
    #[error(
        "a pcap file has one link type: this one has {first}, and a packet of type {second} came\nwrite pcapng, which has an interface for each"
    )]
    SecondLinkType {
        /// Of the file.
        first: u32,
        /// Of the packet.
        second: u32,
    },
    /// pcapng has 16 bits for it.
    #[error("link type {link} does not fit pcapng, whose link types have 16 bits\nwrite pcap")]
    LinkType {
        /// LINKTYPE_ number.
        link: u32,
    },
    /// pcap has 32 bits for seconds.
    #[error("pcap holds no times after 2106-02-07, and a packet has one\nwrite pcapng")]
    Time,
    /// The output.
    #[error("the capture cannot be written: {0}\ncheck the path and the disk's free space")]
    Output(#[from] io::Error),
}

/// The number of a link type's interface in the file, and whether it must be declared before its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Index in the section; 0 in pcap.
    pub index: u32,
    /// Seen for the first time.
    pub is_new: bool,
}

/// Which interface each link type has: one in pcap, as many as there are types in pcapng.
#[derive(Clone, Debug)]
pub struct Interfaces {
    format: Format,
    links: Vec<u32>,
}

impl Interfaces {
    /// None yet.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            links: Vec::new(),
        }
    }

    /// The interface of a link type.
    pub fn of(&mut self, link: u32) -> Result<Interface, WriteError> {
        if let Some(index) = self.links.iter().position(|&known| known == link) {
            let index = index as u32;
            return Ok(Interface { index, is_new: false });
        }
        match (self.format, self.links.first()) {
            (Format::Pcap, Some(&first)) => return Err(WriteError::SecondLinkType { first, second: link }),
            (Format::Pcapng, _) if link > u16::MAX.into() => return Err(WriteError::LinkType { link }),
            _ => {}
        }
        self.links.push(link);
        let index = self.links.len() as u32 - 1;
        Ok(Interface { index, is_new: true })
    }
}

/// A capture being written. Buffer the output: a packet is one small write.
pub struct Writer<W> {
    out: W,
    encoder: Encoder,
    interfaces: Interfaces,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// A pcap file of one link type.
    pub fn pcap(out: W, link: u32, resolution: Resolution) -> Result<Self, WriteError> {
        let mut writer = Self::new(out, Encoder::Pcap(resolution));
        writer.interface(link)?;
        Ok(writer)
    }

    /// A pcapng file of one section.
    pub fn pcapng(out: W, section: &Section<'_>) -> Result<Self, WriteError> {
        let mut writer = Self::new(out, Encoder::Pcapng);
        Encoder::section(&mut writer.buffer, section);
        writer.flush_buffer()?;
        Ok(writer)
    }

    fn new(out: W, encoder: Encoder) -> Self {
        Self {
            out,
            encoder,
            interfaces: Interfaces::new(encoder.format()),
            buffer: Vec::new(),
        }
    }

    /// Declares the interface of a link type, where that was not done yet, and gives its index.
    pub fn interface(&mut self, link: u32) -> Result<u32, WriteError> {
        let interface = self.interfaces.of(link)?;
        if interface.is_new {
            self.encoder.interface(&mut self.buffer, link);
            self.flush_buffer()?;
        }
        Ok(interface.index)
    }

    /// Writes a packet.
    pub fn packet(&mut self, packet: &Packet<'_>) -> Result<(), WriteError> {
        let index = self.interface(packet.link)?;
        self.encoder.packet(&mut self.buffer, index, packet)?;
        self.flush_buffer()
    }

    /// Writes records of one link type that an [`Encoder`] of this format made elsewhere, with interface 0.
    pub fn records(&mut self, link: u32, records: &mut [u8]) -> Result<(), WriteError> {
        let index = self.interface(link)?;
        if index != 0 {
            self.encoder.set_interface(records, index);
        }
        Ok(self.out.write_all(records)?)
    }

    /// Flushes the output.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        Ok(self.out.flush()?)
    }

    /// Flushes the output and gives it back.
    pub fn finish(mut self) -> Result<W, WriteError> {
        self.flush()?;
        Ok(self.out)
    }

    fn flush_buffer(&mut self) -> Result<(), WriteError> {
        let written = self.out.write_all(&self.buffer);
        self.buffer.clear();
        Ok(written?)
    }
}
