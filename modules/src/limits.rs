//! Every limit that a module meets, in one table. Owns numbers and why they are so; must never hold code.

/// A signed module file, manifest and code together, in bytes.
pub const SIGNED_MODULE_MAX_BYTES: usize = 4 << 20;
/// A serialised manifest, in bytes: a schema of 64 described columns needs about 16 KiB.
pub const MANIFEST_MAX_BYTES: usize = 64 << 10;
/// Signatures on one module: the developer's and a few counter-signatures.
pub const SIGNATURES_MAX: usize = 8;
/// Entries of a revocation list, keys and modules together.
pub const REVOCATIONS_MAX: usize = 100_000;

/// A WebAssembly page, in bytes.
pub const WASM_PAGE_BYTES: u32 = 64 << 10;
/// A guest's memory, in bytes. The standard modules need 0.1 to 5.5 MiB.
pub const MEMORY_MAX_BYTES: u32 = 64 << 20;
/// Elements of a guest's one table (for indirect calls).
pub const TABLE_MAX_ELEMENTS: u32 = 4096;
/// Functions of a guest.
pub const FUNCTIONS_MAX: u32 = 4096;
/// One function body, in bytes: translation of a body takes memory and time in proportion.
pub const FUNCTION_BODY_MAX_BYTES: usize = 256 << 10;
/// Local variables of one function: 12 bytes of code can ask for thousands.
pub const FUNCTION_LOCALS_MAX: u32 = 2000;
/// Exports of a guest: the ABI has ten.
pub const EXPORTS_MAX: u32 = 64;
/// Nested calls inside a guest.
pub const RECURSION_MAX_CALLS: usize = 256;
/// The interpreter's value stack, in bytes.
pub const STACK_MAX_BYTES: usize = 256 << 10;

/// Packets per `update` call: measured, 256 and more cost the same per packet.
pub const BATCH_MAX_PACKETS: usize = 1024;
/// Start of the arena: the batch header of the ABI, in bytes.
pub const BATCH_HEADER_BYTES: usize = 64;
/// Frame bytes per `update` call, for guests that ask for frames: two of the largest packets (262144 bytes).
pub const BATCH_MAX_FRAME_BYTES: usize = 512 << 10;
/// Every column of the arena and of the output starts at a multiple of this, in bytes.
pub const COLUMN_ALIGN_BYTES: usize = 16;

/// Rows that one `store` may return.
pub const OUTPUT_MAX_ROWS: usize = 65_536;
/// Bytes that one `store` may return.
pub const OUTPUT_MAX_BYTES: usize = 4 << 20;
/// Rows of a table per call of `merge` or `load`.
pub const TABLE_AREA_MAX_ROWS: usize = 1024;
/// Start of the table area: the header of a part of a table, in bytes.
pub const TABLE_HEADER_BYTES: usize = 64;
/// Rows that one `load` of a whole table may return, all its calls together, and rows of a merged table.
pub const MERGED_MAX_ROWS: usize = 1 << 20;
/// Columns of an output schema.
pub const OUTPUT_MAX_COLUMNS: usize = 64;
/// Arguments of a module.
pub const ARGUMENTS_MAX: usize = 16;

/// Fuel of `init`, of `store`, and of the two optional callbacks. About 0.13 s: wasmi 2.0 on the machine
/// that this was measured on takes 1.24 ns per unit of fuel in an empty loop (least work per unit: a bulk
/// copy moves 64 bytes for one unit in about the same time).
pub const FUEL_PER_CALLBACK: u64 = 100_000_000;
/// Fuel of one `update`, however few packets it brings: about 10 ms, 8192 units per packet of a full batch.
/// The standard modules use 17 (traffic) to 121 (protocol, flowcount) units per packet, those with larger tables up to
/// 2000 of the traffic that costs most; those that read frames 6 a byte (pattern-search).
pub const FUEL_PER_BATCH: u64 = 8_388_608;

/// Local variables of a module's widest function, in bytes (8 each, vectors 16), that a call clears for its one unit of
/// fuel. The standard modules have at most 1304.
pub const CALL_FREE_LOCALS_BYTES: u32 = 2048;
/// Each so many bytes more cost every call of the module one unit more: the interpreter clears a callee's locals
/// without charging for it. Without this a loop that calls a function with 2000 vectors takes 58 ns a unit.
pub const CALL_LOCALS_BYTES_PER_FUEL: u32 = 128;

/// Shortest and longest measurement interval, in nanoseconds: 1 ms and 1 day.
pub const INTERVAL_NS: std::ops::RangeInclusive<u64> = 1_000_000..=86_400_000_000_000;
/// Empty intervals that a stream may skip at once before its runner reports one jump instead of each
/// of them: an hour of seconds.
pub const EMPTY_INTERVALS_MAX: u64 = 3600;
/// Lengths of names, units, one-line descriptions and filters, in bytes.
pub const NAME_MAX_BYTES: usize = 32;
/// See [`NAME_MAX_BYTES`].
pub const TEXT_MAX_BYTES: usize = 256;
/// See [`NAME_MAX_BYTES`].
pub const FILTER_MAX_BYTES: usize = 1024;
