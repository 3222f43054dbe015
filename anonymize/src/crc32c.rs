//! CRC32c (RFC 9260 appendix A), SCTP's checksum. Owns the one thing that libraries do slowly: going on over zeros
//! whose number a header states, in constant time, because that number is the sender's to choose.

/// The polynomial 0x1edc6f41, bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// Lengths below 2^17 bytes: what an IP header can state.
const LENGTH_BITS: usize = 17;
const BYTE: [u32; 256] = byte_table();
/// `ZEROS[k]` is the effect of 2^k zero bytes on each bit of the register.
const ZEROS: [[u32; 32]; LENGTH_BITS] = zero_tables();

/// A running sum.
#[derive(Clone, Copy)]
pub(crate) struct Crc32c(u32);

impl Crc32c {
    pub(crate) fn new() -> Self {
        Crc32c(u32::MAX)
    }

    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        Crc32c(
            bytes
                .iter()
                .fold(self.0, |crc, byte| BYTE[usize::from(crc as u8 ^ byte)] ^ crc >> 8),
        )
    }

    /// `count` zero bytes; of more than an IP packet can have the high bits are ignored.
    pub(crate) fn zeros(self, count: usize) -> Self {
        let tables = ZEROS.iter().enumerate();
        Crc32c(
            tables
                .filter(|(bit, _)| count >> bit & 1 == 1)
                .fold(self.0, |crc, (_, table)| apply(table, crc)),
        )
    }

    /// The four bytes of the field.
    pub(crate) fn field(self) -> [u8; 4] {
        (!self.0).to_le_bytes()
    }
}

const fn apply(table: &[u32; 32], register: u32) -> u32 {
    let (mut out, mut bit) = (0, 0);
    while bit < 32 {
        if register >> bit & 1 == 1 {
            out ^= table[bit];
        }
        bit += 1;
    }
    out
}

const fn byte_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let (mut crc, mut bit) = (at as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
}

const fn zero_tables() -> [[u32; 32]; LENGTH_BITS] {
    let mut tables = [[0; 32]; LENGTH_BITS];
    let mut bit = 0;
    while bit < 32 {
        let register = 1u32 << bit;
        tables[0][bit] = byte_table()[(register & 0xff) as usize] ^ register >> 8;
        bit += 1;
    }
    let mut power = 1;
    while power < LENGTH_BITS {
        let mut bit = 0;
        while bit < 32 {
            tables[power][bit] = apply(&tables[power - 1], tables[power - 1][bit]);
            bit += 1;
        }
        power += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_published_check_value() {
        let field = Crc32c::new().bytes(b"123456789").field();
        assert_eq!(u32::from_le_bytes(field), 0xe306_9283);
    }

    #[test]
    fn zeros_by_number_are_zeros_one_by_one() {
        let start = Crc32c::new().bytes(b"header");
        for count in [0, 1, 2, 7, 64, 1000, 65_535] {
            assert_eq!(
                start.zeros(count).field(),
                start.bytes(&vec![0; count]).field(),
                "{count}"
            );
        }
    }
}
