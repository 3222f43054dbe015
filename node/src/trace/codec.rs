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

pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// An integer that a column can hold.
pub(super) trait Integer: Copy + Ord + Default {
    /// Bytes of one.
    const BYTES: usize;
    fn widen(self) -> u64;
    /// The low bytes of a value.
    fn cut(value: u64) -> Self;
}

macro_rules! integers {
    ($($ty:ty),*) => {$(
        impl Integer for $ty {
            const BYTES: usize = size_of::<$ty>();
            fn widen(self) -> u64 {
                self.into()
            }
            fn cut(value: u64) -> Self {
                value as $ty
            }
        }
    )*};
}
integers!(u8, u16, u32, u64);

/// Appends an integer column.
pub(super) fn put_column<T: Integer>(out: &mut Vec<u8>, values: &[T]) {
    let low = values.iter().copied().fold(T::cut(u64::MAX), T::min);
    let high = values.iter().copied().fold(T::default(), T::max);
    if low >= high {
        out.push(0);
        put_u64(out, high.widen());
        return;
    }
    let width = match high.widen() {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    };
    out.push(width);
    let values = values.iter().map(|v| v.widen());
    match width {
        1 => out.extend(values.map(|v| v as u8)),
        2 => put_all(out, values.map(|v| (v as u16).to_le_bytes())),
        4 => put_all(out, values.map(|v| (v as u32).to_le_bytes())),
        _ => put_all(out, values.map(|v| v.to_le_bytes())),
    }
}

/// One pass over prepared places: appending value by value would look at the capacity each time.
fn put_all<const N: usize>(out: &mut Vec<u8>, values: impl ExactSizeIterator<Item = [u8; N]>) {
    let start = out.len();
    out.resize(start + N * values.len(), 0);
    let places = out[start..].as_chunks_mut::<N>().0;
    places.iter_mut().zip(values).for_each(|(to, from)| *to = from);
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
    pub(super) fn column<T: Integer>(&mut self, rows: usize) -> Result<Vec<T>, TraceError> {
        const WIDE: TraceError = TraceError::Damaged {
            position: 0,
            what: "a column value is out of range",
        };
        let width = self.u8()?;
        if width == 0 {
            let value = self.u64()?;
            let cut = T::cut(value);
            return if cut.widen() == value {
                Ok(vec![cut; rows])
            } else {
                Err(WIDE)
            };
        }
        let bytes = self.bytes(rows.checked_mul(width.into()).ok_or(SHORT)?)?;
        match width {
            1 => narrowed(bytes.iter().map(|&v| v.into()), 1),
            2 => narrowed(wide::<2>(bytes).map(|v| u16::from_le_bytes(v).into()), 2),
            4 => narrowed(wide::<4>(bytes).map(|v| u32::from_le_bytes(v).into()), 4),
            8 => narrowed(wide::<8>(bytes).map(u64::from_le_bytes), 8),
            _ => return Err(TraceError::damaged(0, "a column has no known width")),
        }
        .ok_or(WIDE)
    }

    /// The bytes must end here.
    pub(super) fn end(&self) -> Result<(), TraceError> {
        match self.0 {
            [] => Ok(()),
            _ => Err(TraceError::damaged(0, "bytes follow the end of a section")),
        }
    }
}

/// The values as `T`; `None` where one does not fit, which only a column wider than `T` can have.
fn narrowed<T: Integer>(values: impl Iterator<Item = u64> + Clone, width: usize) -> Option<Vec<T>> {
    let fits = width <= T::BYTES || values.clone().all(|value| T::cut(value).widen() == value);
    fits.then(|| values.map(T::cut).collect())
}

fn wide<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + Clone + '_ {
    bytes.as_chunks::<N>().0.iter().copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_column_comes_back(values in prop::collection::vec(any::<u64>().prop_flat_map(|v| (0..64u32).prop_map(move |s| v >> s)), 0..200)) {
            let mut out = Vec::new();
            put_column(&mut out, &values);
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
