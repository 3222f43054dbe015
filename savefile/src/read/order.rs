//! Integers of a file in its own byte order. Must never read beyond what it is given.

/// The byte order that a file, or a section of it, is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    /// A field of two bytes; 0 beyond the end.
    pub fn u16(self, bytes: &[u8], at: usize) -> u16 {
        self.field(bytes, at, u16::from_le_bytes, u16::from_be_bytes)
    }

    /// A field of four bytes; 0 beyond the end.
    pub fn u32(self, bytes: &[u8], at: usize) -> u32 {
        self.field(bytes, at, u32::from_le_bytes, u32::from_be_bytes)
    }

    /// A field of eight bytes; 0 beyond the end.
    pub fn u64(self, bytes: &[u8], at: usize) -> u64 {
        self.field(bytes, at, u64::from_le_bytes, u64::from_be_bytes)
    }

    /// Four fields of four bytes.
    #[inline]
    pub fn words(self, bytes: &[u8; 16]) -> [u32; 4] {
        let (words, _) = bytes.as_chunks();
        let words = [words[0], words[1], words[2], words[3]];
        match self {
            Self::Little => words.map(u32::from_le_bytes),
            Self::Big => words.map(u32::from_be_bytes),
        }
    }

    fn field<const N: usize, T>(
        self,
        bytes: &[u8],
        at: usize,
        little: fn([u8; N]) -> T,
        big: fn([u8; N]) -> T,
    ) -> T {
        let field = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
        let field = field.copied().unwrap_or([0; N]);
        if self == Self::Little {
            little(field)
        } else {
            big(field)
        }
    }
}
