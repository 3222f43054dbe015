//! A DNS message as far as statistics need it (RFC 1035, section 4.1): its header and the type of its first question.
//! Takes bytes from outside: whatever they are, it ends, and must never panic.

/// Header, bytes.
const HEADER_BYTES: usize = 12;
/// Longest name, bytes (RFC 1035, section 2.3.4).
const NAME_MAX_BYTES: usize = 255;
/// Longest label, bytes; two high bits set instead are a pointer (section 4.1.4), and other lengths do not exist.
const LABEL_MAX_BYTES: u8 = 63;
const POINTER: u8 = 0xc0;

/// What a message says of itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// Response, else query.
    pub is_response: bool,
    /// Operation.
    pub opcode: u8,
    /// Response code.
    pub rcode: u8,
    /// Type of the first question; 0 where there is none.
    pub qtype: u16,
    /// Answer records that the header announces.
    pub answers: u16,
}

impl Message {
    /// Reads a message; `None` where it ends too early or its question is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| bytes.get(at..)?.first_chunk().map(|b| u16::from_be_bytes(*b));
        let flags = word(2)?;
        let answers = word(6)?;
        word(HEADER_BYTES - 2)?;
        let qtype = if word(4)? == 0 {
            0
        } else {
            let end = name_end(bytes)?;
            word(end + 2)?;
            word(end)?
        };
        Some(Self {
            is_response: flags & 0x8000 != 0,
            opcode: (flags >> 11 & 0xf) as u8,
            rcode: (flags & 0xf) as u8,
            qtype,
            answers,
        })
    }
}

/// Where the name behind the header ends.
fn name_end(bytes: &[u8]) -> Option<usize> {
    let mut at = HEADER_BYTES;
    while at < HEADER_BYTES + NAME_MAX_BYTES {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length if length <= LABEL_MAX_BYTES => at += 1 + usize::from(length),
            length if length & POINTER == POINTER => return Some(at + 2),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_name(name: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0x28, 5, 0, 1, 0, 9, 0, 0, 0, 0];
        bytes.extend(name);
        bytes.extend([0, 16, 0, 1]);
        bytes
    }

    #[test]
    fn names_end_where_the_rfc_says() {
        let longest = [
            &[&[63; 64][..], &[63; 64], &[63; 64], &[61; 62]].concat()[..],
            &[0],
        ]
        .concat();
        for name in [&b"\0"[..], b"\x01a\0", b"\xc0\x0c", b"\x02ab\xc0\x0c", &longest] {
            let message = Message::parse(&with_name(name)).expect("readable");
            assert_eq!(
                (message.opcode, message.rcode, message.qtype, message.answers),
                (5, 5, 16, 9)
            );
        }
        let long = [&[63; 64][..], &[63; 64], &[63; 64], &[63; 64], &[0]].concat();
        for name in [&b"\x40"[..], b"\x80\0", b"\x05ab", &long] {
            assert_eq!(Message::parse(&with_name(name)), None);
        }
        assert_eq!(Message::parse(&[0; 12]).map(|m| m.qtype), Some(0), "no question");
    }

    #[test]
    fn any_cut_and_any_byte_is_an_answer() {
        let whole = with_name(b"\x03www\x07example\0");
        for len in 0..whole.len() {
            assert_eq!(Message::parse(&whole[..len]), None);
        }
        for at in 0..whole.len() {
            for byte in 0..=255 {
                let mut changed = whole.clone();
                changed[at] = byte;
                let _ = Message::parse(&changed);
            }
        }
    }
}
