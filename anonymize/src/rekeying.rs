//! How much of a view at `anonymized` must be made an audience's own: as little as what is looked at allows. One
//! rule for live views and for the past; must never let a column that is looked at keep the node's pseudonyms.

use como_policies::AccessLevel;

use crate::columns::Column;
use crate::treat::Anonymizer;
use crate::view::{View, rekey, rekey_addresses_and_ports, rekeyed_columns};

/// What re-keying a view takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rekeying {
    /// No pseudonymous column is looked at.
    Nothing,
    /// Of these only addresses and ports: column by column.
    AddressesAndPorts,
    /// Others or the frames: every packet is treated anew.
    Everything,
}

impl Rekeying {
    /// For somebody who looks at these columns, and at the frames or not.
    pub fn of(columns: &[Column], frames: bool) -> Self {
        let pseudonymous: Vec<Column> = rekeyed_columns().filter(|c| columns.contains(c)).collect();
        if frames {
            Rekeying::Everything
        } else if pseudonymous.is_empty() {
            Rekeying::Nothing
        } else if pseudonymous
            .iter()
            .all(|c| matches!(c, Column::Src | Column::Dst | Column::SrcPort | Column::DstPort))
        {
            Rekeying::AddressesAndPorts
        } else {
            Rekeying::Everything
        }
    }

    /// Columns that it needs beside those that are looked at: what kind of address a row holds. Everything needs
    /// every column, and the frames.
    pub fn needs(self) -> &'static [Column] {
        match self {
            Rekeying::Nothing => &[],
            Rekeying::AddressesAndPorts => &[Column::IpVersion, Column::Ethertype],
            Rekeying::Everything => Column::ALL,
        }
    }

    /// The view under the audience's pseudonyms, as far as it is looked at. The columns of [`Rekeying::needs`] are
    /// there.
    pub fn apply(self, mut view: View, audience: &Anonymizer) -> View {
        debug_assert_eq!(view.level, AccessLevel::Anonymized);
        match self {
            Rekeying::Nothing => view,
            Rekeying::AddressesAndPorts => {
                rekey_addresses_and_ports(&mut view.columns, audience);
                view
            }
            Rekeying::Everything => rekey(&view, audience),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_little_as_the_columns_allow() {
        use Column::*;
        for (columns, frames, expected) in [
            (&[TsNs, WireLen][..], false, Rekeying::Nothing),
            (&[TsNs, Src], false, Rekeying::AddressesAndPorts),
            (&[Src, Dst, Protocol], false, Rekeying::AddressesAndPorts),
            (&[SrcPort], false, Rekeying::AddressesAndPorts),
            (&[Src, DstPort], false, Rekeying::AddressesAndPorts),
            (&[Src, TcpSeq], false, Rekeying::Everything),
            (&[SrcMac], false, Rekeying::Everything),
            (&[TsNs], true, Rekeying::Everything),
        ] {
            assert_eq!(Rekeying::of(columns, frames), expected, "{columns:?} {frames}");
        }
    }
}
