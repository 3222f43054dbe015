//! From verified code to code that may run: looks at every part of the WebAssembly, and names the item that
//! is not allowed. Owns the rules of docs/module-abi.md, "What a guest may contain"; runs in a process
//! without keys, and must never run the code itself.

use std::sync::Arc;

use como_anonymize::filter::Filter;
use wasmparser::{
    ExternalKind, FuncType, FunctionBody, Operator, Parser, Payload, ValType, Validator, WasmFeatures,
};

use crate::envelope::VerifiedModule;
use crate::error::ModuleError;
use crate::fault::Fault;
use crate::limits::*;
use crate::manifest::{Manifest, Merge};
use crate::merge::Interval;
use crate::runtime::{Compiled, Instance};
use crate::table_area::TableArea;

/// Functions that every guest exports: name, parameters, results.
const REQUIRED: [(&str, &[ValType], &[ValType]); 6] = [
    ("como_abi", &[], &[ValType::I32]),
    ("como_arena", &[], &[ValType::I32]),
    ("como_output", &[], &[ValType::I32]),
    ("init", &[ValType::I32], &[ValType::I32]),
    ("update", &[ValType::I32], &[ValType::I32]),
    ("store", &[], &[ValType::I32]),
];
/// Functions that a guest may export; either of them needs [`TABLE`] too.
const OPTIONAL: [(&str, &[ValType], &[ValType]); 2] = [
    ("merge", &[ValType::I32], &[ValType::I32]),
    ("load", &[ValType::I32], &[ValType::I32]),
];

/// Where rows are laid down for `merge` and `load`.
const TABLE: (&str, &[ValType], &[ValType]) = ("como_table", &[], &[ValType::I32]);

/// Code that passed every check and is translated, ready to be started any number of times.
#[derive(Clone)]
pub struct AdmittedModule {
    verified: VerifiedModule,
    compiled: Arc<Compiled>,
    filter: Filter,
    has_load: bool,
}

impl VerifiedModule {
    /// Checks and compiles the code.
    pub fn admit(&self) -> Result<AdmittedModule, ModuleError> {
        let filter = Filter::parse(&self.manifest().filter)
            .map_err(|e| ModuleError::manifest("filter", e.to_string()))?;
        let found = check(self.wasm(), self.manifest())?;
        Ok(AdmittedModule {
            verified: self.clone(),
            compiled: Arc::new(Compiled::new(self.wasm(), found.widest_locals_bytes)?),
            filter,
            has_load: found.has_load,
        })
    }
}

impl AdmittedModule {
    /// What was signed.
    pub fn manifest(&self) -> &Arc<Manifest> {
        self.verified.manifest()
    }

    /// SHA-256 of the code, in hexadecimal.
    pub fn hash_hex(&self) -> String {
        self.verified.hash_hex()
    }

    /// The manifest's filter.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Whether it has a `load`, which every answer goes through.
    pub fn has_load(&self) -> bool {
        self.has_load
    }

    /// Starts an instance. `args` are those that a query sets; the others have the manifest's defaults.
    pub fn instantiate(&self, args: &[(String, i64)]) -> Result<Instance, StartError> {
        let args = self.manifest().resolve_args(args)?;
        Ok(Instance::start(&self.compiled, self.manifest(), &args)?)
    }

    /// Starts an instance that computes or merges rows that may be stored: what only `load` looks at has its default.
    pub fn recorder(&self, args: &[(String, i64)]) -> Result<Instance, StartError> {
        self.instantiate(&self.manifest().recorded_args(args))
    }

    /// A first run, without a packet: `init` with the default arguments, `store`, and what it has of `merge` and `load`.
    /// A module that does not survive it is not worth installing.
    pub fn trial(&self) -> Result<(), StartError> {
        let mut instance = self.instantiate(&[])?;
        let table = instance.store()?;
        let interval = Interval {
            start_ns: 0,
            length_ns: self.manifest().interval_ns,
        };
        if instance.has_merge() {
            instance.merge(interval, &table)?;
            instance.store()?;
        }
        if self.has_load {
            instance.load(interval, &table)?;
        }
        Ok(())
    }
}

/// Why an instance did not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// An argument was refused.
    #[error(transparent)]
    Argument(#[from] ModuleError),
    /// The guest's own fault.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// MVP and what every compiler uses by now. Without reference types, tail calls, several memories, 64-bit
/// memories, threads, exceptions and relaxed SIMD (whose results depend on the machine).
fn features() -> WasmFeatures {
    WasmFeatures::MVP
        | WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::SIMD
}

/// What the sections of a guest declare, as far as a rule needs it.
#[derive(Default)]
struct Parts {
    types: Vec<FuncType>,
    functions: Vec<u32>,
    memories: Vec<wasmparser::MemoryType>,
    exports: Vec<(String, ExternalKind, u32)>,
    bodies: u32,
    /// Locals of the function that has most of them, in bytes.
    widest_locals_bytes: u32,
}

/// What checking found out.
struct Found {
    /// Bytes of locals of the function that has most of them: what a call may cost.
    widest_locals_bytes: u32,
    has_load: bool,
}

/// Checks every rule.
fn check(wasm: &[u8], manifest: &Manifest) -> Result<Found, ModuleError> {
    let mut parts = Parts::default();
    for payload in Parser::new(0).parse_all(wasm) {
        parts.section(payload.map_err(invalid)?)?;
    }
    // Types, operators and the features in use: the same validator that browsers' tools use.
    Validator::new_with_features(features())
        .validate_all(wasm)
        .map_err(invalid)?;
    parts.check_memory(manifest)?;
    Ok(Found {
        has_load: parts.check_exports(manifest)?,
        widest_locals_bytes: parts.widest_locals_bytes,
    })
}

impl Parts {
    fn section(&mut self, payload: Payload<'_>) -> Result<(), ModuleError> {
        match payload {
            Payload::TypeSection(types) => {
                limit("types", types.count(), FUNCTIONS_MAX)?;
                let types = types.into_iter_err_on_gc_types().collect::<Result<_, _>>();
                self.types = types.map_err(invalid)?;
            }
            Payload::ImportSection(imports) => {
                if let Some(import) = imports.into_imports().next() {
                    let import = import.map_err(invalid)?;
                    let item = format!("{}.{}", import.module, import.name);
                    return Err(ModuleError::Import { item: shown(&item) });
                }
            }
            Payload::FunctionSection(functions) => {
                limit("functions", functions.count(), FUNCTIONS_MAX)?;
                self.functions = functions.into_iter().collect::<Result<_, _>>().map_err(invalid)?;
            }
            Payload::TableSection(tables) => {
                for table in tables {
                    let table = table.map_err(invalid)?.ty;
                    let elements = table.initial.max(table.maximum.unwrap_or(0));
                    limit("table elements", elements, TABLE_MAX_ELEMENTS)?;
                }
            }
            Payload::MemorySection(memories) => {
                limit("memories", memories.count(), 1u32)?;
                self.memories = memories.into_iter().collect::<Result<_, _>>().map_err(invalid)?;
            }
            Payload::StartSection { func, .. } => {
                return Err(ModuleError::StartFunction { function: func });
            }
            Payload::ExportSection(exports) => {
                limit("exports", exports.count(), EXPORTS_MAX)?;
                for export in exports {
                    let export = export.map_err(invalid)?;
                    self.exports
                        .push((export.name.to_string(), export.kind, export.index));
                }
            }
            Payload::CodeSectionEntry(body) => self.body(&body)?,
            _ => {}
        }
        Ok(())
    }

    /// Translation takes memory and time in proportion to a body and its locals.
    fn body(&mut self, body: &FunctionBody<'_>) -> Result<(), ModuleError> {
        self.bodies += 1;
        let bytes = body.range().end - body.range().start;
        limit("bytes in one function", bytes, FUNCTION_BODY_MAX_BYTES as u32)?;
        let (mut locals, mut bytes) = (0u64, 0u32);
        let reader = body.get_locals_reader().map_err(invalid)?;
        for group in reader {
            let (count, ty) = group.map_err(invalid)?;
            locals += u64::from(count);
            limit("locals in one function", locals, FUNCTION_LOCALS_MAX)?;
            bytes += count * if ty == ValType::V128 { 16 } else { 8 };
        }
        self.widest_locals_bytes = self.widest_locals_bytes.max(bytes);
        self.operators(body)
    }

    /// Names what the validator would only call a disabled feature, or would accept.
    fn operators(&self, body: &FunctionBody<'_>) -> Result<(), ModuleError> {
        let mut reader = body.get_operators_reader().map_err(invalid)?;
        while !reader.eof() {
            let offset = reader.original_position() as usize;
            let feature = match reader.read().map_err(invalid)? {
                Operator::ReturnCall { .. } | Operator::ReturnCallIndirect { .. } => "a tail call",
                Operator::RefNull { .. } | Operator::RefFunc { .. } | Operator::RefIsNull => {
                    "a reference type"
                }
                // Beside being of no use: the interpreter's handler calls the next one where growing fails,
                // instead of jumping to it, and a loop of it overflows the host's stack.
                Operator::MemoryGrow { .. } => "memory.grow, and memory is fixed",
                // With an offset of 64 KiB or more wasmi 2.0.0 follows a wrong address out of the sandbox.
                Operator::V128Store8Lane { .. } => "v128.store8_lane, which the interpreter gets wrong",
                Operator::V128Store16Lane { .. } => "v128.store16_lane, which the interpreter gets wrong",
                _ => continue,
            };
            let function = self.bodies - 1;
            return Err(ModuleError::Wasm {
                offset,
                problem: format!("function {function} uses {feature}"),
            });
        }
        Ok(())
    }

    fn check_memory(&self, manifest: &Manifest) -> Result<(), ModuleError> {
        let refuse = |problem: String| Err(ModuleError::Memory(problem));
        let Some(memory) = self.memories.first() else {
            return refuse("there is none".into());
        };
        let page = u64::from(WASM_PAGE_BYTES);
        let Some(max) = memory.maximum else {
            return refuse(format!(
                "it starts with {} pages and has no maximum",
                memory.initial
            ));
        };
        if max != memory.initial {
            return refuse(format!(
                "it starts with {} pages and may grow to {max}",
                memory.initial
            ));
        }
        if max > u64::from(MEMORY_MAX_BYTES) / page {
            return refuse(format!(
                "{max} pages, the limit is {}",
                u64::from(MEMORY_MAX_BYTES) / page
            ));
        }
        if max * page != u64::from(manifest.memory_bytes) {
            return refuse(format!(
                "it has {} bytes, the manifest says {}",
                max * page,
                manifest.memory_bytes
            ));
        }
        Ok(())
    }

    /// Whether there is a `load`.
    fn check_exports(&self, manifest: &Manifest) -> Result<bool, ModuleError> {
        match self.exports.iter().find(|(name, ..)| name == "memory") {
            Some((_, ExternalKind::Memory, _)) => {}
            Some(_) => return Err(export("memory", "is not a memory")),
            None => return Err(export("memory", "is missing")),
        }
        for (name, params, results) in REQUIRED {
            if !self.check_function(name, params, results)? {
                return Err(export(name, "is missing"));
            }
        }
        let [merge, load] =
            OPTIONAL.map(|(name, params, results)| self.check_function(name, params, results));
        let (merge, load) = (merge?, load?);
        let (table, params, results) = TABLE;
        if (merge || load) && !self.check_function(table, params, results)? {
            return Err(export(
                table,
                "is missing: `merge` and `load` are handed rows there",
            ));
        }
        let named = if merge { "merge" } else { "load" };
        if (merge || load) && TableArea::new(&manifest.schema).is_none() {
            return Err(export(
                named,
                "cannot be handed rows with a column of kind bytes or text",
            ));
        }
        if !merge && manifest.schema.iter().any(|column| column.merge == Merge::Guest) {
            return Err(export(
                "merge",
                "is missing, and a column of the schema is merged by the guest",
            ));
        }
        if let Some(arg) = manifest.args.iter().find(|arg| arg.load_only && !load) {
            return Err(ModuleError::manifest(
                "args",
                format!(
                    "`{}` is for `load` only, which the module does not export",
                    arg.name
                ),
            ));
        }
        Ok(load)
    }

    /// Whether the export is there; an error where it is of another type.
    fn check_function(
        &self,
        name: &'static str,
        params: &[ValType],
        results: &[ValType],
    ) -> Result<bool, ModuleError> {
        let Some((_, kind, index)) = self.exports.iter().find(|(n, ..)| n == name) else {
            return Ok(false);
        };
        if *kind != ExternalKind::Func {
            return Err(export(name, "is not a function"));
        }
        // There are no imports, so that the index counts the module's own functions.
        let ty = self
            .functions
            .get(*index as usize)
            .and_then(|ty| self.types.get(*ty as usize));
        let Some(ty) = ty else {
            return Err(export(name, "has no type"));
        };
        if ty.params() != params || ty.results() != results {
            let problem = format!(
                "has type {} instead of {}",
                signature(ty.params(), ty.results()),
                signature(params, results)
            );
            return Err(export(name, problem));
        }
        Ok(true)
    }
}

fn signature(params: &[ValType], results: &[ValType]) -> String {
    let list = |types: &[ValType]| {
        types
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    format!("({}) -> ({})", list(params), list(results))
}

fn export(name: &'static str, problem: impl Into<String>) -> ModuleError {
    ModuleError::Export {
        name,
        problem: problem.into(),
    }
}

fn limit(what: &'static str, found: impl Into<u64>, max: u32) -> Result<(), ModuleError> {
    let (found, limit) = (found.into(), u64::from(max));
    if found > limit {
        Err(ModuleError::Limit { what, found, limit })
    } else {
        Ok(())
    }
}

fn invalid(error: wasmparser::BinaryReaderError) -> ModuleError {
    ModuleError::Wasm {
        offset: error.offset() as usize,
        problem: shown(error.message()),
    }
}

/// Text out of a guest, fit for a terminal: no control characters, not longer than a line.
fn shown(text: &str) -> String {
    text.escape_debug().take(TEXT_MAX_BYTES).collect()
}
