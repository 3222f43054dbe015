//! What a CoMo module is written with: packets come in as columns, rows go out, and nothing else exists.
//!
//! A module is one struct of fixed size that implements [`Module`], and one line that exports it:
//!
//! ```
//! use como_kit::prelude::*;
//!
//! /// Counts packets and bytes.
//! pub struct Traffic {
//!     packets: u64,
//!     bytes: u64,
//! }
//!
//! impl Module for Traffic {
//!     const COLUMNS: &'static [ColumnId] = &[WIRE_LEN.id()];
//!     const SCHEMA: &'static [Kind] = &[Kind::U64, Kind::U64];
//!     const MAX_ROWS: usize = 1;
//!     const INITIAL: Self = Self { packets: 0, bytes: 0 };
//!
//!     fn update(&mut self, batch: &Batch<'_>) {
//!         self.packets += batch.len() as u64;
//!         self.bytes += batch.column(WIRE_LEN).map(u64::from).sum::<u64>();
//!     }
//!
//!     fn store(&mut self, rows: &mut Rows<'_>) {
//!         rows.push(&[self.packets.into(), self.bytes.into()]);
//!         *self = Self::INITIAL;
//!     }
//! }
//! como_kit::export!(Traffic);
//! # fn main() {
//! let mut guest = como_kit::native::Guest::<Traffic>::new(&[]);
//! guest.update(como_kit::native::Packets::new(2).set(WIRE_LEN, &[60, 1500]));
//! assert_eq!(guest.store().row(0), [Value::U64(2), Value::U64(1560)]);
//! # }
//! ```
//!
//! The same code runs natively in tests, through [`native`], on bytes laid out as the node lays them out.
//! Owns the guest's side of the ABI (docs/module-abi.md); must never allocate, and holds no knowledge of
//! packets beyond their columns.
#![no_std]

#[cfg(not(target_arch = "wasm32"))]
extern crate std;

pub mod abi;
mod batch;
mod best;
mod column;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;
pub mod hash;
#[cfg(not(target_arch = "wasm32"))]
pub mod native;
mod rows;
pub mod sketch;
mod stored;
pub mod table;

pub use batch::{Args, Batch, address_number};
pub use best::Best;
pub use column::{Cell, Column, ColumnId, columns};
pub use rows::{Kind, Rows, Value};
pub use stored::Stored;

/// What most modules need.
pub mod prelude {
    pub use crate::columns::*;
    pub use crate::{
        Args, Batch, Best, ColumnId, Kind, Load, Merge, Module, Rows, Stored, Value, address_number,
    };
}

/// A module: its state, and what it does with it.
pub trait Module: Sized + 'static {
    /// Packet columns that it reads, ascending by id: those of `columns` in module.toml.
    const COLUMNS: &'static [ColumnId];
    /// Whether it reads the packets' visible bytes: `wants_frames` in module.toml.
    const WANTS_FRAMES: bool = false;
    /// Kinds of the columns of its rows: those of `schema` in module.toml.
    const SCHEMA: &'static [Kind];
    /// Most rows that one `store` pushes.
    const MAX_ROWS: usize;
    /// The state before the first packet. Of fixed size: there is no allocation.
    const INITIAL: Self;

    /// Takes the arguments, in the order of module.toml. An error code refuses to start.
    fn init(&mut self, args: &Args<'_>) -> Result<(), i32> {
        let _ = args;
        Ok(())
    }

    /// Takes one batch of packets.
    fn update(&mut self, batch: &Batch<'_>);

    /// Ends the measurement interval: pushes its rows and starts afresh.
    fn store(&mut self, rows: &mut Rows<'_>);
}

/// A module that makes one table of several of its own: of a longer interval, or of several nodes. Only needed where the
/// rules of its schema do not say how: then a column of it has the rule `guest` in module.toml.
pub trait Merge: Module {
    /// Takes a part of a table that was stored before. What they come to is what the next [`store`](Module::store) pushes:
    /// called without a packet in between, it gives the merged table and starts afresh.
    fn merge(&mut self, table: &Stored<'_>);
}

/// A module whose rows are worked on again for every answer, from the stored trace or from stored rows alike: to choose
/// among them, or to put into proportion.
pub trait Load: Module {
    /// Takes a part of a table of an answer and pushes the rows that the asker gets for it: now, or with the table's last
    /// part. `init` had the arguments of the query.
    fn load(&mut self, table: &Stored<'_>, rows: &mut Rows<'_>);
}

/// Exports a [`Module`] as a WebAssembly guest; with `merge`, `load` or both after its name also its [`Merge`] and its
/// [`Load`]. Does nothing when compiled natively.
#[macro_export]
macro_rules! export {
    ($module:ty $(, $callback:ident)*) => {
        // An export needs its fixed name, and Rust counts a fixed name as unsafe: two items of one name
        // would be undefined behaviour. This module has the only ones. See modules/kit/Cargo.toml.
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code)]
        mod como_guest_exports {
            use super::*;

            static GUEST: $crate::guest::Guest<
                $module,
                { $crate::abi::arena_bytes::<$module>() },
                { $crate::abi::output_bytes::<$module>() },
            > = $crate::guest::Guest::new();

            #[unsafe(no_mangle)]
            extern "C" fn como_abi() -> i32 {
                $crate::abi::VERSION
            }
            #[unsafe(no_mangle)]
            extern "C" fn como_arena() -> i32 {
                GUEST.arena_address()
            }
            #[unsafe(no_mangle)]
            extern "C" fn como_output() -> i32 {
                GUEST.output_address()
            }
            #[unsafe(no_mangle)]
            extern "C" fn init(args_bytes: i32) -> i32 {
                GUEST.init(args_bytes)
            }
            #[unsafe(no_mangle)]
            extern "C" fn update(packets: i32) -> i32 {
                GUEST.update(packets)
            }
            #[unsafe(no_mangle)]
            extern "C" fn store() -> i32 {
                GUEST.store()
            }
            $crate::export_tables!($module $(, $callback)*);
        }
    };
}

/// The rest of [`export`]: what rows of earlier tables need.
#[doc(hidden)]
#[macro_export]
macro_rules! export_tables {
    ($module:ty) => {};
    ($module:ty, merge, load) => {
        $crate::export_tables!($module, merge);
        $crate::export_tables!(@load $module);
    };
    ($module:ty, merge) => {
        $crate::export_tables!(@area $module);
        #[unsafe(no_mangle)]
        extern "C" fn merge(rows: i32) -> i32 {
            GUEST.merge(&TABLE, rows)
        }
    };
    ($module:ty, load) => {
        $crate::export_tables!(@area $module);
        $crate::export_tables!(@load $module);
    };
    (@load $module:ty) => {
        #[unsafe(no_mangle)]
        extern "C" fn load(rows: i32) -> i32 {
            GUEST.load(&TABLE, rows)
        }
    };
    (@area $module:ty) => {
        static TABLE: $crate::guest::Area<{ $crate::abi::table_bytes::<$module>() }> = $crate::guest::Area::new();
        #[unsafe(no_mangle)]
        extern "C" fn como_table() -> i32 {
            TABLE.address()
        }
    };
}
