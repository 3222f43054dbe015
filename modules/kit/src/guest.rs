//! The guest's statics: state, arena and output. Owns the kit's only `unsafe`; must never be compiled into
//! anything but a guest.
#![allow(unsafe_code)]

use core::cell::RefCell;

use crate::{Args, Batch, Load, Merge, Module, Rows, Stored};

/// A panic ends the guest with a trap, which the node records.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

/// Memory that the host reads and writes between calls, aligned as the ABI asks.
#[repr(C, align(16))]
struct Shared<const BYTES: usize>([u8; BYTES]);

/// Everything that a guest keeps.
pub struct Guest<M: Module, const ARENA: usize, const OUTPUT: usize> {
    state: RefCell<M>,
    arena: RefCell<Shared<ARENA>>,
    output: RefCell<Shared<OUTPUT>>,
}

// SAFETY: a guest is one thread: admission refuses threads and shared memory, and the node calls one
// function at a time. RefCell still checks at run time that no two borrows overlap.
unsafe impl<M: Module, const ARENA: usize, const OUTPUT: usize> Sync for Guest<M, ARENA, OUTPUT> {}

impl<M: Module, const ARENA: usize, const OUTPUT: usize> Guest<M, ARENA, OUTPUT> {
    /// Before `init`.
    #[allow(clippy::new_without_default)] // const
    pub const fn new() -> Self {
        Self {
            state: RefCell::new(M::INITIAL),
            arena: RefCell::new(Shared([0; ARENA])),
            output: RefCell::new(Shared([0; OUTPUT])),
        }
    }

    /// `como_arena`. Exposed: the host writes there, which the compiler has to expect.
    pub fn arena_address(&self) -> i32 {
        self.arena.as_ptr().expose_provenance() as i32
    }

    /// `como_output`.
    pub fn output_address(&self) -> i32 {
        self.output.as_ptr().expose_provenance() as i32
    }

    /// `init`.
    pub fn init(&self, args_bytes: i32) -> i32 {
        let arena = self.arena.borrow();
        let args = Args::new(&arena.0, args_bytes.max(0) as usize);
        self.state.borrow_mut().init(&args).err().unwrap_or(0)
    }

    /// `update`.
    pub fn update(&self, packets: i32) -> i32 {
        let arena = self.arena.borrow();
        let batch = Batch::new::<M>(&arena.0, packets.max(0) as usize);
        self.state.borrow_mut().update(&batch);
        0
    }

    /// `store`.
    pub fn store(&self) -> i32 {
        let mut output = self.output.borrow_mut();
        let mut rows = Rows::new(&mut output.0, M::SCHEMA, M::MAX_ROWS);
        self.state.borrow_mut().store(&mut rows);
        rows.finish() as i32
    }

    /// `merge`.
    pub fn merge<const TABLE: usize>(&self, table: &Area<TABLE>, rows: i32) -> i32
    where
        M: Merge,
    {
        let area = table.0.borrow();
        let stored = Stored::new::<M>(&area.0, rows.max(0) as usize);
        self.state.borrow_mut().merge(&stored);
        0
    }

    /// `load`.
    pub fn load<const TABLE: usize>(&self, table: &Area<TABLE>, rows: i32) -> i32
    where
        M: Load,
    {
        let area = table.0.borrow();
        let stored = Stored::new::<M>(&area.0, rows.max(0) as usize);
        let mut output = self.output.borrow_mut();
        let mut rows = Rows::new(&mut output.0, M::SCHEMA, M::MAX_ROWS);
        self.state.borrow_mut().load(&stored, &mut rows);
        rows.finish() as i32
    }
}

/// The table area of a guest that merges or loads.
pub struct Area<const BYTES: usize>(RefCell<Shared<BYTES>>);

// SAFETY: as for `Guest`.
unsafe impl<const BYTES: usize> Sync for Area<BYTES> {}

impl<const BYTES: usize> Area<BYTES> {
    /// Empty.
    #[allow(clippy::new_without_default)] // const
    pub const fn new() -> Self {
        Self(RefCell::new(Shared([0; BYTES])))
    }

    /// `como_table`.
    pub fn address(&self) -> i32 {
        self.0.as_ptr().expose_provenance() as i32
    }
}
