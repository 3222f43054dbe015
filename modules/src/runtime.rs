//! The only file that knows wasmi: compiles admitted code and runs one instance of it.
//! Owns the sandbox's settings, budgets and every access to guest memory; must never see a packet of
//! another level than the manifest's, and hands out nothing but checked rows and faults.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use como_anonymize::View;
use como_anonymize::bitmap::Bitmap;
use wasmi::{
    CompilationMode, Config, EnforcedLimits, Engine, Linker, Memory, Module, OperatorCost, Store,
    StoreLimits, StoreLimitsBuilder, TrapCode, TypedFunc,
};

use crate::arena::{ArenaLayout, BatchHeader, Rows as Picked, frame};
use crate::error::ModuleError;
use crate::fault::{Callback, Fault, FaultKind};
use crate::limits::*;
use crate::manifest::{ABI_VERSION, Manifest};
use crate::merge::Interval;
use crate::output::{self, Rows};
use crate::revocation::hex;
use crate::table_area::TableArea;

/// Code that wasmi has validated and translated. Each module has an engine of its own, so that its code is
/// freed with it.
pub(crate) struct Compiled(Module);

impl Compiled {
    /// Translates eagerly: lazily translated functions would charge their translation to whichever batch
    /// calls them first, and results would depend on it. `widest_locals_bytes` is what the function with most
    /// local variables has of them.
    pub fn new(wasm: &[u8], widest_locals_bytes: u32) -> Result<Self, ModuleError> {
        let engine = Engine::new(&config(widest_locals_bytes));
        Module::new(&engine, wasm)
            .map(Self)
            .map_err(|e| ModuleError::Wasm {
                offset: 0,
                problem: e.to_string(),
            })
    }
}

fn config(widest_locals_bytes: u32) -> Config {
    let mut config = Config::default();
    config
        .consume_fuel(true)
        .operator_cost(operator_cost(widest_locals_bytes))
        .compilation_mode(CompilationMode::Eager)
        .enforced_limits(EnforcedLimits::strict())
        .allow_start_fn(false)
        .ignore_custom_sections(true)
        .set_max_recursion_depth(RECURSION_MAX_CALLS)
        .set_max_stack_height(STACK_MAX_BYTES)
        .wasm_tail_call(false)
        .wasm_multi_memory(false)
        .wasm_reference_types(false)
        .wasm_extended_const(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .wasm_relaxed_simd(false);
    config
}

/// Fuel per operator: wasmi's own, but that a call pays for clearing its callee's locals. Which function is called
/// through a table is not known before, so that every call pays for the widest.
fn operator_cost(widest_locals_bytes: u32) -> OperatorCost {
    let locals = widest_locals_bytes.saturating_sub(CALL_FREE_LOCALS_BYTES);
    let call = 1 + locals.div_ceil(CALL_LOCALS_BYTES_PER_FUEL);
    let mut cost = OperatorCost::default();
    cost.call = u8::try_from(call).unwrap_or(u8::MAX);
    cost.call_indirect = cost.call;
    cost
}

/// What an instance has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Units of fuel.
    pub fuel: u64,
    /// Of these, units that `store` took: it has a budget of its own.
    pub store_fuel: u64,
    /// Packets handed to `update`.
    pub packets: u64,
    /// Calls of `update`.
    pub batches: u64,
    /// Calls of `store`.
    pub stores: u64,
    /// Rows that `store` gave.
    pub rows: u64,
    /// Bytes that `store` gave.
    pub output_bytes: u64,
    /// Time inside the guest, nanoseconds of wall time.
    pub wall_ns: u64,
    /// Of it, time that `store` took.
    pub store_wall_ns: u64,
    /// The guest's memory, bytes.
    pub memory_bytes: u64,
}

/// What a guest has for rows of earlier tables.
#[derive(Clone)]
struct Tables {
    merge: Option<TypedFunc<i32, i32>>,
    load: Option<TypedFunc<i32, i32>>,
    area: TableArea,
    at: usize,
}

/// A running guest: one module, one set of arguments, one level, one audience.
///
/// Packets are collected into full batches, whatever the size of the views they come in: `update` sees the
/// same batches live and from the past, so that even a guest that depends on batch edges gives equal results.
pub struct Instance {
    manifest: Arc<Manifest>,
    store: Store<StoreLimits>,
    memory: Memory,
    update: TypedFunc<i32, i32>,
    store_fn: TypedFunc<(), i32>,
    tables: Option<Tables>,
    layout: ArenaLayout,
    arena: usize,
    output: usize,
    header: BatchHeader,
    /// Largest batch so far: what lies in the arena behind the present one.
    high_packets: usize,
    high_frame_bytes: usize,
    usage: Usage,
    fault: Option<Fault>,
}

impl Instance {
    /// Sets up the guest's memory and runs its `init` with `args`, which are in the manifest's order.
    pub(crate) fn start(compiled: &Compiled, manifest: &Arc<Manifest>, args: &[i64]) -> Result<Self, Fault> {
        let fault = |kind| Fault {
            module: hex(&manifest.wasm_sha256),
            callback: Callback::Instantiate,
            kind,
        };
        let engine = compiled.0.engine();
        let limits = StoreLimitsBuilder::new()
            .memory_size(manifest.memory_bytes as usize)
            .table_elements(TABLE_MAX_ELEMENTS as usize)
            .instances(1)
            .memories(1)
            .tables(1)
            .build();
        let mut store = Store::new(engine, limits);
        store.limiter(|limits| limits);
        set_fuel(&mut store, FUEL_PER_CALLBACK);
        let guest = Linker::new(engine)
            .instantiate_and_start(&mut store, &compiled.0)
            .map_err(|e| fault(trap(&e, FUEL_PER_CALLBACK)))?;
        let missing = |name: &str| fault(FaultKind::Trap(format!("export `{name}` is missing")));
        let memory = guest
            .get_memory(&store, "memory")
            .ok_or_else(|| missing("memory"))?;
        let call = |store: &mut Store<StoreLimits>, name: &str| -> Result<i32, Fault> {
            let function = guest
                .get_typed_func::<(), i32>(&*store, name)
                .map_err(|_| missing(name))?;
            set_fuel(store, FUEL_PER_CALLBACK);
            function
                .call(&mut *store, ())
                .map_err(|e| fault(trap(&e, FUEL_PER_CALLBACK)))
        };
        let abi = call(&mut store, "como_abi")?;
        if abi != i32::from(ABI_VERSION) {
            return Err(fault(FaultKind::Trap(format!(
                "como_abi returned {abi}, not {ABI_VERSION}"
            ))));
        }
        let arena = call(&mut store, "como_arena")? as u32 as usize;
        let output = call(&mut store, "como_output")? as u32 as usize;
        let layout = ArenaLayout::new(&manifest.columns, manifest.wants_frames);
        check_area("como_arena", arena, layout.bytes, memory.data(&store).len()).map_err(fault)?;
        let (merge, load) = (
            optional(&guest, &store, "merge"),
            optional(&guest, &store, "load"),
        );
        let area = TableArea::new(&manifest.schema).filter(|_| merge.is_some() || load.is_some());
        let tables = match area {
            None => None,
            Some(area) => {
                let at = call(&mut store, "como_table")? as u32 as usize;
                check_area("como_table", at, area.bytes, memory.data(&store).len()).map_err(fault)?;
                Some(Tables {
                    merge,
                    load,
                    area,
                    at,
                })
            }
        };
        let update = guest
            .get_typed_func(&store, "update")
            .map_err(|_| missing("update"))?;
        let store_fn = guest
            .get_typed_func(&store, "store")
            .map_err(|_| missing("store"))?;
        let init = guest
            .get_typed_func::<i32, i32>(&store, "init")
            .map_err(|_| missing("init"))?;
        let mut instance = Self {
            manifest: manifest.clone(),
            store,
            memory,
            update,
            store_fn,
            tables,
            layout,
            arena,
            output,
            header: BatchHeader {
                level: manifest.level.as_u8(),
                ..BatchHeader::default()
            },
            high_packets: 0,
            high_frame_bytes: 0,
            usage: Usage {
                memory_bytes: u64::from(manifest.memory_bytes),
                ..Usage::default()
            },
            fault: None,
        };
        instance.init(&init, args)?;
        Ok(instance)
    }

    fn init(&mut self, init: &TypedFunc<i32, i32>, args: &[i64]) -> Result<(), Fault> {
        self.header.interval_ns = self.manifest.interval_ns;
        let header = self.header;
        let arena = &mut self.memory.data_mut(&mut self.store)[self.arena..];
        header.write(arena);
        self.layout.write_args(arena, args);
        let bytes = 8 * args.len() as i32;
        let code = self.run(Callback::Init, FUEL_PER_CALLBACK, |store| init.call(store, bytes))?;
        let arena = &mut self.memory.data_mut(&mut self.store)[self.arena..];
        arena[BATCH_HEADER_BYTES..BATCH_HEADER_BYTES + 8 * ARGUMENTS_MAX].fill(0);
        self.gave_up(Callback::Init, code)
    }

    /// The manifest that it runs under.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// What it has used so far.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// The fault that stopped it, if any did.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// Packets taken so far, those of the unfinished batch included.
    pub(crate) fn handed_over(&self) -> u64 {
        self.usage.packets + u64::from(self.header.packets)
    }

    /// Tells the guest which interval its packets belong to, from the next batch on.
    pub fn set_interval(&mut self, start_ns: u64) {
        self.header.interval_start_ns = start_ns;
    }

    /// Hands over the packets of `view` that are in `rows`. The view is of the manifest's level.
    pub fn update(&mut self, view: &View, rows: &Bitmap) -> Result<(), Fault> {
        let packets = view.columns.ts_ns.len();
        if rows.len() == packets && rows.count() == packets {
            return self.append_stretch(view, 0..packets);
        }
        self.append(view, &mut rows.ones().take_while(|row| *row < packets))
    }

    /// Hands over picked packets, ascending.
    pub(crate) fn append(
        &mut self,
        view: &View,
        rows: &mut impl Iterator<Item = usize>,
    ) -> Result<(), Fault> {
        let mut picked = [0u32; BATCH_MAX_PACKETS];
        loop {
            let room = BATCH_MAX_PACKETS - self.header.packets as usize;
            let mut found = 0;
            for (slot, row) in picked[..room].iter_mut().zip(&mut *rows) {
                *slot = row as u32;
                found += 1;
            }
            if found == 0 {
                return self.check_running();
            }
            self.add(view, &Picked::Picked(&picked[..found]))?;
        }
    }

    /// Hands over a stretch of packets.
    pub(crate) fn append_stretch(
        &mut self,
        view: &View,
        mut rows: std::ops::Range<usize>,
    ) -> Result<(), Fault> {
        while !rows.is_empty() {
            let room = BATCH_MAX_PACKETS - self.header.packets as usize;
            let end = rows.end.min(rows.start + room);
            self.add(view, &Picked::Stretch(rows.start..end))?;
            rows.start = end;
        }
        self.check_running()
    }

    /// Adds packets that fit into the batch, and runs it when it is full.
    fn add(&mut self, view: &View, rows: &Picked<'_>) -> Result<(), Fault> {
        self.check_running()?;
        if self.layout.has_frames() {
            return self.add_with_frames(view, rows);
        }
        let filled = self.header.packets as usize;
        let arena = &mut self.memory.data_mut(&mut self.store)[self.arena..];
        self.layout.append(arena, filled, &view.columns, rows);
        self.header.packets += rows.len() as u32;
        if self.header.packets as usize == BATCH_MAX_PACKETS {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// With frames a batch also ends where the next frame would not fit.
    fn add_with_frames(&mut self, view: &View, rows: &Picked<'_>) -> Result<(), Fault> {
        for i in 0..rows.len() {
            let row = match rows {
                Picked::Stretch(range) => range.start + i,
                Picked::Picked(rows) => rows[i] as usize,
            };
            let bytes = frame(&view.frames, row);
            let bytes = &bytes[..bytes.len().min(BATCH_MAX_FRAME_BYTES)];
            let full = self.header.packets as usize == BATCH_MAX_PACKETS;
            if full || self.header.frame_bytes as usize + bytes.len() > BATCH_MAX_FRAME_BYTES {
                self.flush()?;
            }
            let (filled, used) = (self.header.packets as usize, self.header.frame_bytes as usize);
            let arena = &mut self.memory.data_mut(&mut self.store)[self.arena..];
            self.layout
                .append(arena, filled, &view.columns, &Picked::Stretch(row..row + 1));
            self.layout.append_frame(arena, filled, used, bytes);
            self.header.packets += 1;
            self.header.frame_bytes += bytes.len() as u32;
        }
        if self.header.packets as usize == BATCH_MAX_PACKETS {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Runs `update` on what has been collected.
    fn flush(&mut self) -> Result<(), Fault> {
        let header = self.header;
        if header.packets == 0 {
            return Ok(());
        }
        let (packets, frame_bytes) = (header.packets as usize, header.frame_bytes as usize);
        let arena = &mut self.memory.data_mut(&mut self.store)[self.arena..];
        header.write(arena);
        self.high_packets = self.high_packets.max(packets);
        self.high_frame_bytes = self.high_frame_bytes.max(frame_bytes);
        self.layout.clear_tail(
            arena,
            packets..self.high_packets,
            frame_bytes..self.high_frame_bytes,
        );
        self.high_packets = packets;
        self.high_frame_bytes = frame_bytes;
        self.header.packets = 0;
        self.header.frame_bytes = 0;
        let update = self.update;
        let code = self.run(Callback::Update, FUEL_PER_BATCH, |store| {
            update.call(store, packets as i32)
        })?;
        self.usage.batches += 1;
        self.usage.packets += packets as u64;
        self.gave_up(Callback::Update, code)
    }

    /// Ends the interval: runs the rest of the batch, then `store`, and checks what it wrote.
    pub fn store(&mut self) -> Result<Rows, Fault> {
        self.check_running()?;
        self.flush()?;
        let header = self.header;
        header.write(&mut self.memory.data_mut(&mut self.store)[self.arena..]);
        let store_fn = self.store_fn;
        let bytes = self.run(Callback::Store, FUEL_PER_CALLBACK, |store| {
            store_fn.call(store, ())
        })?;
        self.usage.stores += 1;
        let rows = self.take_output(Callback::Store, bytes)?;
        self.usage.rows += rows.rows() as u64;
        self.usage.output_bytes += bytes as u64;
        Ok(rows)
    }

    /// The table of which a callback says that it left so many bytes of it.
    fn take_output(&mut self, callback: Callback, bytes: i32) -> Result<Rows, Fault> {
        let read = match usize::try_from(bytes) {
            Ok(bytes) => self.read_output(bytes),
            Err(_) => Err(FaultKind::GaveUp(bytes)),
        };
        read.map_err(|kind| self.stop(callback, kind))
    }

    /// Whether the guest has a `merge`.
    pub(crate) fn has_merge(&self) -> bool {
        self.tables.as_ref().is_some_and(|tables| tables.merge.is_some())
    }

    /// Hands over a table that was stored before, in its parts; what they come to is what the next `store` gives. The
    /// table is of the manifest's schema.
    pub(crate) fn merge(&mut self, interval: Interval, table: &Rows) -> Result<(), Fault> {
        self.check_running()?;
        let Some(tables) = self.tables.clone() else {
            return Err(self.stop(Callback::Merge, absent("merge")));
        };
        let Some(merge) = tables.merge else {
            return Err(self.stop(Callback::Merge, absent("merge")));
        };
        for part in TableArea::parts(table.rows()) {
            let rows = part.len() as i32;
            self.lay_down(&tables, interval, table, part);
            let code = self.run(Callback::Merge, FUEL_PER_CALLBACK, |store| {
                merge.call(store, rows)
            })?;
            self.gave_up(Callback::Merge, code)?;
        }
        Ok(())
    }

    /// Ends an interval of another length than the manifest's: that of tables which were merged.
    pub(crate) fn store_of(&mut self, interval: Interval) -> Result<Rows, Fault> {
        self.header.interval_start_ns = interval.start_ns;
        self.header.interval_ns = interval.length_ns;
        self.store()
    }

    /// Hands over a table of an answer, in its parts, and takes what it becomes. The table is of the manifest's schema.
    pub(crate) fn load(&mut self, interval: Interval, table: &Rows) -> Result<Rows, Fault> {
        self.check_running()?;
        let Some(tables) = self.tables.clone() else {
            return Err(self.stop(Callback::Load, absent("load")));
        };
        let Some(load) = tables.load else {
            return Err(self.stop(Callback::Load, absent("load")));
        };
        let mut loaded: Option<Rows> = None;
        for part in TableArea::parts(table.rows()) {
            let rows = part.len() as i32;
            self.lay_down(&tables, interval, table, part);
            let bytes = self.run(Callback::Load, FUEL_PER_CALLBACK, |store| load.call(store, rows))?;
            let more = self.take_output(Callback::Load, bytes)?;
            match &mut loaded {
                None => loaded = Some(more),
                Some(loaded) if loaded.rows() + more.rows() > MERGED_MAX_ROWS => {
                    let what = format!("more than {MERGED_MAX_ROWS} rows of one table");
                    return Err(self.stop(Callback::Load, FaultKind::BadOutput(what)));
                }
                Some(loaded) => loaded.append(&more),
            }
        }
        Ok(loaded.unwrap_or_default())
    }

    fn lay_down(&mut self, tables: &Tables, interval: Interval, table: &Rows, part: Range<usize>) {
        let area = &mut self.memory.data_mut(&mut self.store)[tables.at..];
        tables.area.write(area, interval, table, part);
    }

    fn read_output(&self, bytes: usize) -> Result<Rows, FaultKind> {
        if bytes > OUTPUT_MAX_BYTES {
            return Err(FaultKind::BadOutput(format!(
                "{bytes} bytes, the limit is {OUTPUT_MAX_BYTES}"
            )));
        }
        let memory = self.memory.data(&self.store);
        let written = self
            .output
            .checked_add(bytes)
            .and_then(|end| memory.get(self.output..end));
        let Some(written) = written else {
            return Err(FaultKind::BadPointer(format!(
                "output of {bytes} bytes at {}, memory has {}",
                self.output,
                memory.len()
            )));
        };
        output::decode(written, &self.manifest.schema).map_err(FaultKind::BadOutput)
    }

    /// Runs one callback within its budget and accounts for it.
    fn run(
        &mut self,
        callback: Callback,
        budget: u64,
        call: impl FnOnce(&mut Store<StoreLimits>) -> Result<i32, wasmi::Error>,
    ) -> Result<i32, Fault> {
        set_fuel(&mut self.store, budget);
        let started = Instant::now();
        let result = call(&mut self.store);
        let wall_ns = started.elapsed().as_nanos() as u64;
        self.usage.wall_ns += wall_ns;
        let fuel = budget - self.store.get_fuel().unwrap_or(0).min(budget);
        self.usage.fuel += fuel;
        if callback == Callback::Store {
            self.usage.store_fuel += fuel;
            self.usage.store_wall_ns += wall_ns;
        }
        result.map_err(|e| self.stop(callback, trap(&e, budget)))
    }

    fn gave_up(&mut self, callback: Callback, code: i32) -> Result<(), Fault> {
        if code == 0 {
            Ok(())
        } else {
            Err(self.stop(callback, FaultKind::GaveUp(code)))
        }
    }

    /// A fault ends the instance: its state is not to be trusted any more.
    fn stop(&mut self, callback: Callback, kind: FaultKind) -> Fault {
        let fault = Fault {
            module: hex(&self.manifest.wasm_sha256),
            callback,
            kind,
        };
        self.fault = Some(fault.clone());
        fault
    }

    fn check_running(&self) -> Result<(), Fault> {
        self.fault.clone().map_or(Ok(()), Err)
    }
}

/// Admission lets a module be merged or loaded by its guest only where the guest can.
fn absent(name: &str) -> FaultKind {
    FaultKind::Trap(format!("export `{name}` is missing"))
}

fn check_area(what: &str, at: usize, bytes: usize, memory_bytes: usize) -> Result<(), FaultKind> {
    if !at.is_multiple_of(COLUMN_ALIGN_BYTES) {
        return Err(FaultKind::BadPointer(format!(
            "{what} returned {at}, not a multiple of {COLUMN_ALIGN_BYTES}"
        )));
    }
    if at.checked_add(bytes).is_none_or(|end| end > memory_bytes) {
        let what = what.trim_start_matches("como_");
        return Err(FaultKind::BadPointer(format!(
            "{what} of {bytes} bytes at {at}, memory has {memory_bytes}"
        )));
    }
    Ok(())
}

/// Admission has checked the type of an export of this name.
fn optional(guest: &wasmi::Instance, store: &Store<StoreLimits>, name: &str) -> Option<TypedFunc<i32, i32>> {
    guest.get_typed_func(store, name).ok()
}

fn set_fuel(store: &mut Store<StoreLimits>, fuel: u64) {
    // Fails only where fuel is off, and config() turns it on.
    let set = store.set_fuel(fuel);
    debug_assert!(set.is_ok());
}

fn trap(error: &wasmi::Error, budget: u64) -> FaultKind {
    match error.as_trap_code() {
        Some(TrapCode::OutOfFuel) => FaultKind::OutOfFuel { budget },
        Some(code) => FaultKind::Trap(code.trap_message().to_string()),
        None => FaultKind::Trap(error.to_string()),
    }
}
