//! The manifest: what a module is and may do, as typed values, and their Cap'n Proto form.
//! Owns its rules; must never decide whom to trust (envelope.rs) or look into the code (admit.rs).

use std::collections::BTreeSet;

use como_anonymize::filter::Filter;
use como_anonymize::{Column, coarse};
use como_capnp::module_capnp::{self, Kind, Merge as WireMerge};
use como_dataset::ColumnKind;
use como_keys::signing::KeyId;
use como_policies::AccessLevel;

use crate::error::ModuleError;
use crate::limits::*;

/// The guest ABI that this node runs (docs/module-abi.md).
pub const ABI_VERSION: u16 = 1;
/// Version of the manifest's own schema.
const SCHEMA_VERSION: u16 = 1;

/// What a developer signs together with the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// `[a-z][a-z0-9-]*`, at most [`NAME_MAX_BYTES`].
    pub name: String,
    /// For people, such as `1.2.0`.
    pub version: String,
    /// For machines: grows with every release.
    pub release: u64,
    /// SPIFFE id of the developer.
    pub developer: String,
    /// Id of the developer's key. [`SignedModule::sign`](crate::SignedModule::sign) fills it in.
    pub key_id: KeyId,
    /// Binds the code. Filled in by signing.
    pub wasm_sha256: [u8; 32],
    /// Length of the code in bytes. Filled in by signing.
    pub wasm_len: u32,
    /// [`ABI_VERSION`].
    pub abi: u16,
    /// pcap-filter subset, run by the host on the view of `level`; empty is everything.
    pub filter: String,
    /// Level that the guest reads at.
    pub level: AccessLevel,
    /// Level that a reader of its records needs.
    pub output_level: AccessLevel,
    /// Measurement interval.
    pub interval_ns: u64,
    /// The guest's memory, fixed.
    pub memory_bytes: u32,
    /// Requested packet columns, ascending by id.
    pub columns: Vec<Column>,
    /// The visible bytes of each packet too.
    pub wants_frames: bool,
    /// Columns of a record, in the order in which `store` writes them.
    pub schema: Vec<OutputColumn>,
    /// Arguments of `init`, in order.
    pub args: Vec<ArgSpec>,
    /// Static priority; 0 is shed first.
    pub priority: u8,
    /// Expiry, wall time, nanoseconds since the epoch.
    pub not_after_ns: u64,
    /// One line.
    pub description: String,
}

/// A column of a module's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputColumn {
    /// `[a-z][a-z0-9_]*`.
    pub name: String,
    /// Type of its values.
    pub kind: ColumnKind,
    /// Such as `bytes`, `packets`, or empty.
    pub unit: String,
    /// One line.
    pub description: String,
    /// How rows merge.
    pub merge: Merge,
}

/// How two rows with equal keys become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// Part of the key.
    Key,
    /// Added.
    Sum,
    /// The smaller.
    Min,
    /// The larger.
    Max,
    /// The later.
    Last,
    /// HyperLogLog registers: maximum of each.
    HyperLogLog,
    /// By the guest's own `merge`.
    Guest,
}

impl Merge {
    /// Every rule, with its name in `module.toml` and in dataset headers.
    pub const ALL: [(Merge, &'static str); 7] = [
        (Merge::Key, "key"),
        (Merge::Sum, "sum"),
        (Merge::Min, "min"),
        (Merge::Max, "max"),
        (Merge::Last, "last"),
        (Merge::HyperLogLog, "hyperloglog"),
        (Merge::Guest, "guest"),
    ];

    /// The rule of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(rule, _)| *rule)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(rule, _)| *rule == self)
            .map_or("", |(_, name)| name)
    }
}

/// An argument that a query may set, such as `k` of `topports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgSpec {
    /// `[a-z][a-z0-9_]*`.
    pub name: String,
    /// Used when a query does not set it.
    pub default: i64,
    /// Smallest value accepted.
    pub min: i64,
    /// Largest value accepted.
    pub max: i64,
    /// One line.
    pub description: String,
    /// Whether only `load` looks at it: rows are computed and stored with the default, and serve every value.
    pub load_only: bool,
}

impl Manifest {
    /// Every column that running the module looks at: its own, those of its filter, and the time.
    pub fn looked_at(&self) -> Vec<Column> {
        // A filter that does not parse was never admitted.
        let filter = Filter::parse(&self.filter).ok();
        let filter = filter.iter().flat_map(Filter::columns);
        let all: BTreeSet<Column> = self
            .columns
            .iter()
            .copied()
            .chain(filter)
            .chain([Column::TsNs])
            .collect();
        all.into_iter().collect()
    }

    /// Serialises. Done once, by whoever signs: everyone else keeps the bytes as they came.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut message = capnp::message::Builder::new_default();
        let mut out = message.init_root::<module_capnp::manifest::Builder>();
        out.set_schema_version(SCHEMA_VERSION);
        out.set_name(&self.name);
        out.set_version(&self.version);
        out.set_release(self.release);
        out.set_developer(&self.developer);
        out.set_key_id(&self.key_id.0);
        out.set_wasm_sha256(&self.wasm_sha256);
        out.set_wasm_len(self.wasm_len);
        out.set_abi(self.abi);
        out.set_filter(&self.filter);
        out.set_level(self.level.as_u8());
        out.set_output_level(self.output_level.as_u8());
        out.set_interval_ns(self.interval_ns);
        out.set_memory_bytes(self.memory_bytes);
        out.set_columns(&self.columns.iter().map(|c| c.id()).collect::<Vec<_>>());
        out.set_wants_frames(self.wants_frames);
        out.set_priority(self.priority);
        out.set_not_after_ns(self.not_after_ns);
        out.set_description(&self.description);
        let mut schema = out.reborrow().init_schema(self.schema.len() as u32);
        for (i, column) in self.schema.iter().enumerate() {
            let mut field = schema.reborrow().get(i as u32);
            field.set_name(&column.name);
            field.set_kind(kind_to_wire(column.kind));
            field.set_unit(&column.unit);
            field.set_description(&column.description);
            field.set_merge(merge_to_wire(column.merge));
        }
        let mut args = out.init_arguments(self.args.len() as u32);
        for (i, arg) in self.args.iter().enumerate() {
            let mut field = args.reborrow().get(i as u32);
            field.set_name(&arg.name);
            field.set_default(arg.default);
            field.set_min(arg.min);
            field.set_max(arg.max);
            field.set_description(&arg.description);
            field.set_load_only(arg.load_only);
        }
        como_capnp::write_message(&message)
    }

    /// Parses and checks every rule that does not need the code.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModuleError> {
        if bytes.len() > MANIFEST_MAX_BYTES {
            return Err(ModuleError::TooLarge {
                bytes: bytes.len(),
                limit: MANIFEST_MAX_BYTES,
            });
        }
        let manifest = Self::decode(bytes)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn decode(bytes: &[u8]) -> Result<Self, ModuleError> {
        let message = como_capnp::read_message(bytes).map_err(malformed)?;
        let m = message
            .get_root::<module_capnp::manifest::Reader>()
            .map_err(malformed)?;
        if m.get_schema_version() != SCHEMA_VERSION {
            let found = m.get_schema_version();
            return Err(ModuleError::manifest(
                "schemaVersion",
                format!("{found} is not known here, only {SCHEMA_VERSION}"),
            ));
        }
        let schema = m.get_schema().map_err(malformed)?;
        limit("schema", schema.len() as usize, OUTPUT_MAX_COLUMNS)?;
        let arguments = m.get_arguments().map_err(malformed)?;
        limit("arguments", arguments.len() as usize, ARGUMENTS_MAX)?;
        Ok(Self {
            name: text(m.get_name())?,
            version: text(m.get_version())?,
            release: m.get_release(),
            developer: text(m.get_developer())?,
            key_id: KeyId(fixed("keyId", m.get_key_id())?),
            wasm_sha256: fixed("wasmSha256", m.get_wasm_sha256())?,
            wasm_len: m.get_wasm_len(),
            abi: m.get_abi(),
            filter: text(m.get_filter())?,
            level: level("level", m.get_level())?,
            output_level: level("outputLevel", m.get_output_level())?,
            interval_ns: m.get_interval_ns(),
            memory_bytes: m.get_memory_bytes(),
            columns: m
                .get_columns()
                .map_err(malformed)?
                .iter()
                .map(|id| {
                    Column::from_id(*id).ok_or_else(|| {
                        ModuleError::manifest("columns", format!("there is no packet column {id}"))
                    })
                })
                .collect::<Result<_, _>>()?,
            wants_frames: m.get_wants_frames(),
            schema: schema.iter().map(decode_column).collect::<Result<_, _>>()?,
            args: arguments.iter().map(decode_argument).collect::<Result<_, _>>()?,
            priority: m.get_priority(),
            not_after_ns: m.get_not_after_ns(),
            description: text(m.get_description())?,
        })
    }

    /// Every rule that needs neither the code nor a registry.
    pub fn check(&self) -> Result<(), ModuleError> {
        name("name", &self.name, '-')?;
        for (field, value, max) in [
            ("version", &self.version, NAME_MAX_BYTES),
            ("developer", &self.developer, TEXT_MAX_BYTES),
            ("description", &self.description, TEXT_MAX_BYTES),
            ("filter", &self.filter, FILTER_MAX_BYTES),
        ] {
            limit(field, value.len(), max)?;
            printable(field, value)?;
        }
        if self.abi != ABI_VERSION {
            let abi = self.abi;
            return Err(ModuleError::manifest(
                "abi",
                format!("{abi} is not known here, only {ABI_VERSION}"),
            ));
        }
        self.check_level()?;
        if !INTERVAL_NS.contains(&self.interval_ns) {
            return Err(ModuleError::manifest(
                "interval",
                "must be between 1 ms and 1 day",
            ));
        }
        self.check_memory()?;
        if !self.columns.is_sorted_by(|a, b| a.id() < b.id()) {
            return Err(ModuleError::manifest(
                "columns",
                "must be ascending by id, each once",
            ));
        }
        if self.columns.is_empty() && !self.wants_frames {
            return Err(ModuleError::manifest(
                "columns",
                "the module asks for nothing to read",
            ));
        }
        self.check_schema()?;
        self.check_args()
    }

    /// `aggregate` has no view to read; `coarse` has flow rows of an hour, and no frames.
    fn check_level(&self) -> Result<(), ModuleError> {
        match self.level {
            AccessLevel::Aggregate => Err(ModuleError::manifest(
                "level",
                "there is nothing to read at aggregate: read at coarse or above, and have the operator endorse \
                 the lower output level",
            )),
            AccessLevel::Coarse => self.check_coarse(),
            _ => Ok(()),
        }
    }

    fn check_coarse(&self) -> Result<(), ModuleError> {
        if !self.interval_ns.is_multiple_of(coarse::BIN_NS) {
            return Err(ModuleError::manifest(
                "interval",
                "must be a multiple of 1 h at coarse, whose rows are of whole hours",
            ));
        }
        if self.wants_frames {
            return Err(ModuleError::manifest("frames", "there are none at coarse"));
        }
        match self.columns.iter().find(|c| !coarse::SOURCE_COLUMNS.contains(c)) {
            Some(column) => Err(ModuleError::manifest(
                "columns",
                format!("`{}` does not exist at coarse", column.name()),
            )),
            None => Ok(()),
        }
    }

    fn check_memory(&self) -> Result<(), ModuleError> {
        let bytes = self.memory_bytes;
        if bytes == 0 || !bytes.is_multiple_of(WASM_PAGE_BYTES) {
            return Err(ModuleError::manifest(
                "memory",
                format!("{bytes} bytes is not a multiple of {WASM_PAGE_BYTES}"),
            ));
        }
        if bytes > MEMORY_MAX_BYTES {
            return Err(ModuleError::manifest(
                "memory",
                format!("{bytes} bytes is above the limit of {MEMORY_MAX_BYTES}"),
            ));
        }
        Ok(())
    }

    fn check_schema(&self) -> Result<(), ModuleError> {
        limit("schema", self.schema.len(), OUTPUT_MAX_COLUMNS)?;
        if self.schema.is_empty() {
            return Err(ModuleError::manifest(
                "schema",
                "a module stores at least one column",
            ));
        }
        for (i, column) in self.schema.iter().enumerate() {
            name("schema", &column.name, '_')?;
            if column.name == "time" || self.schema[..i].iter().any(|c| c.name == column.name) {
                return Err(ModuleError::manifest(
                    "schema",
                    format!("column name `{}` is taken", column.name),
                ));
            }
            if !column.merge.fits(column.kind) {
                return Err(ModuleError::manifest(
                    "schema",
                    format!(
                        "column `{}` of kind {} cannot be merged by `{}`",
                        column.name,
                        column.kind.name(),
                        column.merge.name()
                    ),
                ));
            }
            for value in [&column.unit, &column.description] {
                limit("schema", value.len(), TEXT_MAX_BYTES)?;
                printable("schema", value)?;
            }
        }
        Ok(())
    }

    fn check_args(&self) -> Result<(), ModuleError> {
        limit("args", self.args.len(), ARGUMENTS_MAX)?;
        for (i, arg) in self.args.iter().enumerate() {
            name("args", &arg.name, '_')?;
            limit("args", arg.description.len(), TEXT_MAX_BYTES)?;
            printable("args", &arg.description)?;
            if self.args[..i].iter().any(|a| a.name == arg.name) {
                return Err(ModuleError::manifest(
                    "args",
                    format!("`{}` is there twice", arg.name),
                ));
            }
            if !(arg.min..=arg.max).contains(&arg.default) {
                return Err(ModuleError::manifest(
                    "args",
                    format!(
                        "default {} of `{}` is outside {}..={}",
                        arg.default, arg.name, arg.min, arg.max
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The argument values of one instance, in the manifest's order: defaults, replaced by what was asked.
    pub fn resolve_args(&self, asked: &[(String, i64)]) -> Result<Vec<i64>, ModuleError> {
        let mut values: Vec<i64> = self.args.iter().map(|a| a.default).collect();
        for (name, value) in asked {
            let refuse = |problem: String| ModuleError::Argument {
                name: name.clone(),
                problem,
            };
            let Some(i) = self.args.iter().position(|a| a.name == *name) else {
                return Err(refuse(format!("{} has no such argument", self.name)));
            };
            let arg = &self.args[i];
            if !(arg.min..=arg.max).contains(value) {
                return Err(refuse(format!("{value} is outside {}..={}", arg.min, arg.max)));
            }
            values[i] = *value;
        }
        Ok(values)
    }

    /// The arguments that rows are computed and stored with: those that only `load` looks at have their defaults, whatever
    /// was asked. So a module that looks at one anyway gets the default, and its records hold what they say.
    pub fn recorded_args(&self, args: &[(String, i64)]) -> Vec<(String, i64)> {
        let spec = |name: &str| self.args.iter().find(|arg| arg.name == name);
        args.iter()
            .map(|(name, value)| match spec(name) {
                Some(spec) if spec.load_only => (name.clone(), spec.default),
                _ => (name.clone(), *value),
            })
            .collect()
    }
}

fn malformed(error: impl std::fmt::Display) -> ModuleError {
    ModuleError::Malformed(error.to_string())
}

fn text(value: capnp::Result<capnp::text::Reader<'_>>) -> Result<String, ModuleError> {
    value.map_err(malformed)?.to_string().map_err(malformed)
}

pub(crate) fn fixed<const N: usize>(
    field: &str,
    value: capnp::Result<capnp::data::Reader<'_>>,
) -> Result<[u8; N], ModuleError> {
    let bytes = value.map_err(malformed)?;
    bytes
        .try_into()
        .map_err(|_| ModuleError::Malformed(format!("{field} has {} bytes instead of {N}", bytes.len())))
}

fn level(field: &str, value: u8) -> Result<AccessLevel, ModuleError> {
    AccessLevel::from_u8(value)
        .ok_or_else(|| ModuleError::manifest(field, format!("{value} is not an access level")))
}

fn limit(field: &str, found: usize, max: usize) -> Result<(), ModuleError> {
    if found > max {
        return Err(ModuleError::manifest(
            field,
            format!("{found} is above the limit of {max}"),
        ));
    }
    Ok(())
}

/// Names end up in file names, table headers and terminals.
fn name(field: &str, value: &str, joiner: char) -> Result<(), ModuleError> {
    let ok = value.len() <= NAME_MAX_BYTES
        && value.starts_with(|c: char| c.is_ascii_lowercase())
        && value
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == joiner);
    if ok {
        return Ok(());
    }
    Err(ModuleError::manifest(
        field,
        format!(
            "`{}` is not a name: a-z, then at most {} of a-z, 0-9, {joiner}",
            value.escape_default(),
            NAME_MAX_BYTES - 1
        ),
    ))
}

/// Texts end up on operators' terminals: no control characters.
fn printable(field: &str, value: &str) -> Result<(), ModuleError> {
    if value.chars().any(char::is_control) {
        return Err(ModuleError::manifest(field, "has control characters"));
    }
    Ok(())
}

fn decode_column(c: module_capnp::output_column::Reader<'_>) -> Result<OutputColumn, ModuleError> {
    Ok(OutputColumn {
        name: text(c.get_name())?,
        kind: kind_from_wire(c.get_kind().map_err(malformed)?),
        unit: text(c.get_unit())?,
        description: text(c.get_description())?,
        merge: merge_from_wire(c.get_merge().map_err(malformed)?),
    })
}

fn decode_argument(a: module_capnp::argument::Reader<'_>) -> Result<ArgSpec, ModuleError> {
    Ok(ArgSpec {
        name: text(a.get_name())?,
        default: a.get_default(),
        min: a.get_min(),
        max: a.get_max(),
        description: text(a.get_description())?,
        load_only: a.get_load_only(),
    })
}

fn kind_to_wire(kind: ColumnKind) -> Kind {
    match kind {
        ColumnKind::U8 => Kind::U8,
        ColumnKind::U16 => Kind::U16,
        ColumnKind::U32 => Kind::U32,
        ColumnKind::U64 => Kind::U64,
        ColumnKind::I64 => Kind::I64,
        ColumnKind::F64 => Kind::F64,
        ColumnKind::Bool => Kind::Bool,
        ColumnKind::Address => Kind::Address,
        ColumnKind::Bytes => Kind::Bytes,
        ColumnKind::Text => Kind::Text,
        ColumnKind::TimeNs => Kind::TimeNs,
    }
}

fn kind_from_wire(kind: Kind) -> ColumnKind {
    match kind {
        Kind::U8 => ColumnKind::U8,
        Kind::U16 => ColumnKind::U16,
        Kind::U32 => ColumnKind::U32,
        Kind::U64 => ColumnKind::U64,
        Kind::I64 => ColumnKind::I64,
        Kind::F64 => ColumnKind::F64,
        Kind::Bool => ColumnKind::Bool,
        Kind::Address => ColumnKind::Address,
        Kind::Bytes => ColumnKind::Bytes,
        Kind::Text => ColumnKind::Text,
        Kind::TimeNs => ColumnKind::TimeNs,
    }
}

fn merge_to_wire(merge: Merge) -> WireMerge {
    match merge {
        Merge::Key => WireMerge::Key,
        Merge::Sum => WireMerge::Sum,
        Merge::Min => WireMerge::Min,
        Merge::Max => WireMerge::Max,
        Merge::Last => WireMerge::Last,
        Merge::HyperLogLog => WireMerge::HyperLogLog,
        Merge::Guest => WireMerge::Guest,
    }
}

fn merge_from_wire(merge: WireMerge) -> Merge {
    match merge {
        WireMerge::Key => Merge::Key,
        WireMerge::Sum => Merge::Sum,
        WireMerge::Min => Merge::Min,
        WireMerge::Max => Merge::Max,
        WireMerge::Last => Merge::Last,
        WireMerge::HyperLogLog => Merge::HyperLogLog,
        WireMerge::Guest => Merge::Guest,
    }
}
