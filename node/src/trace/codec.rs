//! Little-endian primitives and the integer column of the format. Must never panic on stored bytes.
//!
//! An integer column is one width byte and its values: 0 = one value for all rows (8 bytes), else the
//! bytes per value. LZ4 and the sealing come after.

use super::error::TraceError;

/// The bytes end before the value does.
const SHORT: TraceError = TraceError::Damaged {
    position: 0,
    what: "a section ends too early",
};

pub(super) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends an integer column.
pub(super) fn put_column(out: &mut Vec<u8>, values: impl Iterator<Item = u64> + Clone) {
    let (mut low, mut high) = (u64::MAX, 0);
    for value in values.clone() {
        low = low.min(value);
        high = high.max(value);
    }
    if low >= high {
        out.push(0);
        put_u64(out, high);
        return;
    }
    let width = match high {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    };
    out.push(width as u8);
    match width {
        1 => out.extend(values.map(|v| v as u8)),
        2 => values.for_each(|v| put_u16(out, v as u16)),
        4 => values.for_each(|v| put_u32(out, v as u32)),
        _ => values.for_each(|v| put_u64(out, v)),
    }
}

/// Signed to unsigned, small magnitudes to small values.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Undoes [`zigzag`].
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Reads stored bytes front to back.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], TraceError> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], TraceError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, TraceError> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u32(&mut self) -> Result<u32, TraceError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, TraceError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Reads an integer column of `rows` values; a value outside `T` is damage.
    pub(super) fn column<T: TryFrom<u64> + Clone>(&mut self, rows: usize) -> Result<Vec<T>, TraceError> {
        const WIDE: TraceError = TraceError::Damaged {
            position: 0,
            what: "a column value is out of range",
        };
        let narrow = |value: u64| T::try_from(value).map_err(|_| WIDE);
        match self.u8()? {
            0 => Ok(vec![narrow(self.u64()?)?; rows]),
            1 => self.bytes(rows)?.iter().map(|&v| narrow(v.into())).collect(),
            2 => self
                .wide::<2>(rows)?
                .map(|v| narrow(u16::from_le_bytes(v).into()))
                .collect(),
            4 => self
                .wide::<4>(rows)?
                .map(|v| narrow(u32::from_le_bytes(v).into()))
                .collect(),
            8 => self
                .wide::<8>(rows)?
                .map(|v| narrow(u64::from_le_bytes(v)))
                .collect(),
            _ => Err(TraceError::damaged(0, "a column has no known width")),
        }
    }

    fn wide<const N: usize>(
        &mut self,
        rows: usize,
    ) -> Result<impl Iterator<Item = [u8; N]> + use<'a, N>, TraceError> {
        let bytes = self.bytes(rows.checked_mul(N).ok_or(SHORT)?)?;
        Ok(bytes.as_chunks::<N>().0.iter().copied())
    }

    /// The bytes must end here.
    pub(super) fn end(&self) -> Result<(), TraceError> {
        match self.0 {
            [] => Ok(()),
            _ => Err(TraceError::damaged(0, "bytes follow the end of a section")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_column_comes_back(values in prop::collection::vec(any::<u64>().prop_flat_map(|v| (0..64u32).prop_map(move |s| v >> s)), 0..200)) {
            let mut out = Vec::new();
            put_column(&mut out, values.iter().copied());
            let mut reader = Reader(&out);
            prop_assert_eq!(reader.column::<u64>(values.len()).unwrap(), values);
            prop_assert!(reader.end().is_ok());
        }

        #[test]
        fn zigzag_comes_back(value: i64) {
            prop_assert_eq!(unzigzag(zigzag(value)), value);
        }

        #[test]
        fn hostile_columns_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), rows in 0usize..100) {
            let _ = Reader(&bytes).column::<u16>(rows);
        }
    }
}
