//! Raw packet in, view out: dissection, the treatment of every field, filters on views. Everything a level
//! shows is built from allow-listed fields; nothing here reads a file, a clock or the network, and nothing
//! depends on what was seen before.

pub mod aggregate;
pub mod bitmap;
pub mod checksum;
pub mod class;
pub mod coarse;
pub mod columns;
mod crc32c;
pub mod crypto;
pub mod deny;
pub mod dissect;
pub mod fields;
pub mod filter;
pub mod networks;
pub mod packet;
pub mod rekeying;
pub mod row;
#[cfg(test)]
mod sample;
pub mod strip;
pub mod treat;
pub mod tunnel;
pub mod view;

pub use bitmap::Bitmap;
pub use class::AddressClass;
pub use columns::{Column, Columns, NO_VLAN, PacketRow, RowBuffer};
pub use crypto::cryptopan::{CryptoPan4, CryptoPan6};
pub use deny::DenyReason;
pub use dissect::{Dissection, Layer, LayerKind, dissect};
pub use fields::FieldRule;
pub use filter::{Filter, FilterError};
pub use networks::{AsTable, AsTableError};
pub use packet::{LinkType, RawPacket};
pub use rekeying::Rekeying;
pub use row::{RowMeta, describe, describe_dissected};
pub use strip::{restore, strip};
pub use treat::{Anonymizer, Outcome};
pub use tunnel::TunnelKind;
pub use view::{Frames, View, build, rekey, rekey_addresses_and_ports};
