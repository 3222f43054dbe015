//! `module.toml`, what a developer writes beside the code, turned into a manifest ready for signing.
//! Owns that file's fields; must never know a key.

use como_anonymize::Column;
use como_dataset::ColumnKind;
use como_keys::signing::KeyId;
use como_policies::AccessLevel;
use serde::Deserialize;

use crate::error::ModuleError;
use crate::manifest::{ABI_VERSION, ArgSpec, Manifest, Merge, OutputColumn};

const NS_PER_MS: u64 = 1_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    version: String,
    release: u64,
    description: String,
    #[serde(default)]
    filter: String,
    level: String,
    output_level: String,
    interval_ms: u64,
    memory_kib: u32,
    columns: Vec<String>,
    #[serde(default)]
    wants_frames: bool,
    #[serde(default = "middle_priority")]
    priority: u8,
    schema: Vec<SchemaColumn>,
    #[serde(default)]
    args: Vec<Arg>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SchemaColumn {
    name: String,
    kind: String,
    #[serde(default)]
    unit: String,
    description: String,
    merge: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arg {
    name: String,
    default: i64,
    min: i64,
    max: i64,
    description: String,
    #[serde(default)]
    load_only: bool,
}

fn middle_priority() -> u8 {
    100
}

impl Manifest {
    /// Reads `module.toml`. `developer` is the signer's SPIFFE id, `not_after_ns` the expiry; key id, code hash
    /// and length are filled in by [`SignedModule::sign`](crate::SignedModule::sign).
    pub fn from_toml(text: &str, developer: &str, not_after_ns: u64) -> Result<Self, ModuleError> {
        let file: File = toml::from_str(text).map_err(|e| ModuleError::Toml(e.to_string()))?;
        let mut columns = file
            .columns
            .iter()
            .map(|name| column(name))
            .collect::<Result<Vec<_>, _>>()?;
        columns.sort_by_key(|c| c.id());
        let manifest = Self {
            name: file.name,
            version: file.version,
            release: file.release,
            developer: developer.to_string(),
            key_id: KeyId([0; 16]),
            wasm_sha256: [0; 32],
            wasm_len: 0,
            abi: ABI_VERSION,
            filter: file.filter,
            level: level("level", &file.level)?,
            output_level: level("output_level", &file.output_level)?,
            interval_ns: file.interval_ms.saturating_mul(NS_PER_MS),
            memory_bytes: file.memory_kib.saturating_mul(1024),
            columns,
            wants_frames: file.wants_frames,
            schema: file
                .schema
                .into_iter()
                .map(output_column)
                .collect::<Result<_, _>>()?,
            args: file
                .args
                .into_iter()
                .map(|a| ArgSpec {
                    name: a.name,
                    default: a.default,
                    min: a.min,
                    max: a.max,
                    description: a.description,
                    load_only: a.load_only,
                })
                .collect(),
            priority: file.priority,
            not_after_ns,
            description: file.description,
        };
        manifest.check()?;
        Ok(manifest)
    }
}

fn column(name: &str) -> Result<Column, ModuleError> {
    Column::ALL
        .iter()
        .copied()
        .find(|c| c.name() == name)
        .ok_or_else(|| {
            ModuleError::manifest(
                "columns",
                format!("there is no packet column `{}`", name.escape_default()),
            )
        })
}

fn level(field: &str, name: &str) -> Result<AccessLevel, ModuleError> {
    name.parse().map_err(|_| {
        ModuleError::manifest(
            field,
            format!("`{}` is not an access level", name.escape_default()),
        )
    })
}

fn output_column(c: SchemaColumn) -> Result<OutputColumn, ModuleError> {
    let unknown = |what: &str, name: &str| {
        ModuleError::manifest("schema", format!("`{}` is not a {what}", name.escape_default()))
    };
    let merge = Merge::ALL.iter().find(|(_, name)| *name == c.merge);
    Ok(OutputColumn {
        kind: ColumnKind::from_name(&c.kind).ok_or_else(|| unknown("kind", &c.kind))?,
        merge: merge.ok_or_else(|| unknown("merge rule", &c.merge))?.0,
        name: c.name,
        unit: c.unit,
        description: c.description,
    })
}
