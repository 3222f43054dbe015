//! `dns`: statistics of DNS messages over UDP port 53 (RFC 1035): how many queries and responses there are of each opcode,
//! response code and type of question. Owns an exact table; reads payload, and lets no name, address or id out, which is
//! why an operator can endorse its output for level `anonymized`.
//!
//! Left out: DNS over TCP, TLS, HTTPS and QUIC, other ports, and what a tunnel carries. 768 kinds of messages are told
//! apart in an interval; the rest counts as type 65535 of its kind.
#![cfg_attr(target_arch = "wasm32", no_std)]

mod message;

use como_kit::hash::Zeroed;
use como_kit::prelude::*;
use como_kit::table::HashTable;

use message::Message;

/// Three quarters of them are kinds of messages.
const SLOTS: usize = 1 << 10;
type Kinds = HashTable<u64, Counter, SLOTS>;
const QUERY: u8 = 0;
const RESPONSE: u8 = 1;
const UNREADABLE: u8 = 2;
/// Type of what found no place: reserved (RFC 6895).
pub const OTHER_TYPES: u16 = 65_535;
/// UDP header, bytes.
const UDP_BYTES: usize = 8;

#[derive(Clone, Copy)]
struct Counter {
    messages: u64,
    bytes: u64,
    answers: u64,
}

impl Zeroed for Counter {
    const ZERO: Self = Self {
        messages: 0,
        bytes: 0,
        answers: 0,
    };
}

/// The table of one interval, and what found no place in it: by kind.
pub struct Dns {
    kinds: Kinds,
    others: [Counter; 3],
}

impl Dns {
    fn count(&mut self, weight: u64, bytes: usize, payload: &[u8]) {
        let message = Message::parse(payload);
        let (kind, key, answers) = match &message {
            Some(m) => {
                let kind = if m.is_response { RESPONSE } else { QUERY };
                let rcode = if m.is_response { m.rcode } else { 0 };
                let key = u64::from(m.opcode) << 24 | u64::from(rcode) << 16 | u64::from(m.qtype);
                (kind, key, m.answers)
            }
            None => (UNREADABLE, 0, 0),
        };
        let counter = match self.kinds.entry(u64::from(kind) << 32 | key) {
            Some(counter) => counter,
            None => &mut self.others[usize::from(kind)],
        };
        counter.messages += weight;
        counter.bytes += weight * bytes as u64;
        counter.answers += weight * u64::from(answers);
    }
}

impl Module for Dns {
    const COLUMNS: &'static [ColumnId] = &[WEIGHT.id(), PAYLOAD_OFFSET.id(), TUNNEL.id()];
    const WANTS_FRAMES: bool = true;
    const SCHEMA: &'static [Kind] = &[
        Kind::U8,
        Kind::U8,
        Kind::U8,
        Kind::U16,
        Kind::U64,
        Kind::U64,
        Kind::U64,
    ];
    const MAX_ROWS: usize = Kinds::CAPACITY + 3;
    const INITIAL: Self = Self {
        kinds: Kinds::EMPTY,
        others: [Counter::ZERO; 3],
    };

    fn update(&mut self, batch: &Batch<'_>) {
        let columns = batch
            .column(WEIGHT)
            .zip(batch.column(PAYLOAD_OFFSET))
            .zip(batch.column(TUNNEL));
        for (packet, ((weight, offset), tunnel)) in columns.enumerate() {
            if tunnel != 0 {
                continue;
            }
            let frame = batch.frame(packet);
            let offset = usize::from(offset).min(frame.len());
            let (headers, payload) = frame.split_at(offset);
            // The length in the UDP header: behind it there may be padding of the link.
            let udp = headers.last_chunk::<UDP_BYTES>();
            let bytes = udp.map_or(0, |udp| usize::from(u16::from_be_bytes([udp[4], udp[5]])));
            let bytes = bytes.saturating_sub(UDP_BYTES);
            self.count(u64::from(weight), bytes, &payload[..bytes.min(payload.len())]);
        }
    }

    fn store(&mut self, rows: &mut Rows<'_>) {
        let mut push = |key: u64, counter: &Counter| {
            rows.push(&[
                ((key >> 32) as u8).into(),
                ((key >> 24) as u8).into(),
                ((key >> 16) as u8).into(),
                (key as u16).into(),
                counter.messages.into(),
                counter.bytes.into(),
                counter.answers.into(),
            ]);
        };
        for entry in self.kinds.iter() {
            push(entry.key, &entry.value);
        }
        for (kind, counter) in (0u64..).zip(&self.others) {
            if counter.messages > 0 {
                push(kind << 32 | u64::from(OTHER_TYPES), counter);
            }
        }
        self.kinds.clear();
        self.others = [Counter::ZERO; 3];
    }
}
como_kit::export!(Dns);

#[cfg(test)]
mod tests {
    use super::*;
    use como_kit::native::{Guest, Packets, Table};

    /// UDP header and message behind `before` bytes of other headers.
    fn frame(message: &[u8], padding: usize) -> Vec<u8> {
        let mut frame = vec![0; 34];
        frame.extend([0, 53, 0, 53]);
        frame.extend((message.len() as u16 + 8).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(message);
        frame.resize(frame.len() + padding, 0xee);
        frame
    }

    /// A message with one question for `name`, of labels with their lengths.
    fn message(flags: u16, name: &[u8], qtype: u16, answers: u16) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34];
        for word in [flags, 1, answers, 0, 0] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(name);
        bytes.extend(qtype.to_be_bytes());
        bytes.extend([0, 1]);
        bytes
    }

    fn run(frames: &[Vec<u8>], tunnels: &[u8]) -> Table {
        let mut guest = Guest::<Dns>::new(&[]);
        let slices: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        guest.update(
            Packets::new(frames.len())
                .set(PAYLOAD_OFFSET, &vec![42; frames.len()])
                .set(TUNNEL, tunnels)
                .frames(&slices),
        );
        let table = guest.store();
        assert_eq!(guest.store().rows(), 0, "the next interval starts empty");
        table
    }

    fn row(key: (u8, u8, u8, u16), sums: [u64; 3]) -> Vec<Value> {
        let mut row = vec![key.0.into(), key.1.into(), key.2.into(), key.3.into()];
        row.extend(sums.map(Value::U64));
        row
    }

    #[test]
    fn messages_count_by_what_they_are() {
        let name = b"\x03www\x07example\x03org\0";
        let query = message(0x0100, name, 1, 0);
        let response = message(0x8180, name, 28, 3);
        let refused = message(0x8183, name, 28, 0);
        let len = query.len() as u64;
        let frames = [
            frame(&query, 0),
            frame(&query, 7),
            frame(&response, 0),
            frame(&refused, 0),
            frame(&query[..20], 30),
            frame(&query, 0),
        ];
        let table = run(&frames, &[0, 0, 0, 0, 0, 7]);
        let mut rows: Vec<_> = (0..table.rows()).map(|i| table.row(i)).collect();
        rows.sort_by_key(|row| format!("{row:?}"));
        assert_eq!(
            rows,
            [
                row((QUERY, 0, 0, 1), [2, 2 * len, 0]),
                row((RESPONSE, 0, 0, 28), [1, len, 3]),
                row((RESPONSE, 0, 3, 28), [1, len, 0]),
                row((UNREADABLE, 0, 0, 0), [1, 20, 0]),
            ]
        );
    }

    #[test]
    fn a_flood_of_types_ends_in_one_row_and_loses_no_message() {
        let frames: Vec<_> = (1..=1000)
            .map(|qtype| frame(&message(0, b"\0", qtype, 0), 0))
            .collect();
        let table = run(&frames, &vec![0; 1000]);
        assert_eq!(table.rows(), Kinds::CAPACITY + 1);
        let last = table.row(Kinds::CAPACITY);
        assert_eq!(last, row((QUERY, 0, 0, OTHER_TYPES), [232, 232 * 17, 0]));
    }
}
