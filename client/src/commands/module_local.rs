//! `como module build`, `test` and `bench`: a developer's module without a node. Owns what is told of a run; the run is
//! the library's. Must never print a packet: rows and counts only.

use std::fs::File;
use std::path::Path;

use como_anonymize::{Anonymizer, AsTable};
use como_dataset::{Batch, ColumnData, ColumnKind, Field, Schema};
use como_keys::mapping::MappingKey;
use como_modules::limits::{BATCH_MAX_PACKETS, FUEL_PER_BATCH, FUEL_PER_CALLBACK};
use como_modules::{AdmittedModule, IntervalRows, Manifest};
use serde_json::{Value, json};

use super::query::pairs;
use super::{Context, capture, page_width};
use crate::cli::{ModuleRun, ModuleTest};
use crate::convert::{self, Sink as _};
use crate::error::{ClientError, Result};
use crate::head::Head;
use crate::local::{self, Figures, Report, Seen, Sight};
use crate::plot::Plot;
use crate::{anonymize, render};

/// Rows shown to a person who did not say how many.
const ROWS_SHOWN: usize = 20;
/// Rows given to a script that did not say how many.
const JSON_ROWS: usize = 100_000;

/// Compiles, admits, and makes the first run that a node makes: without a packet.
pub fn build(context: &Context, dir: &Path) -> Result<()> {
    let (wasm, manifest) = local::find(dir, None)?;
    let module = local::load(&wasm, Some(&manifest), None)?;
    module.trial().map_err(ClientError::of_input)?;
    let (manifest, hash) = (module.manifest(), module.hash_hex());
    let text = format!(
        "{}: {}, admitted: {} release {}\nhash {hash}\n",
        wasm.display(),
        render::bytes(manifest.wasm_len.into()),
        manifest.name,
        manifest.release,
    );
    let value = json!({
        "wasm": wasm, "bytes": manifest.wasm_len, "hash": hash,
        "name": manifest.name, "release": manifest.release,
    });
    context.output.result(&value, &text);
    Ok(())
}

pub fn test(context: &Context, args: &ModuleTest) -> Result<()> {
    let prepared = prepare(&args.run)?;
    let (module, sight) = (&prepared.module, prepared.sight());
    let fields = fields(module.manifest());
    let mut shown = match (&args.plot, context.output.json) {
        (Some(column), _) => Shown::Plot(Plot::new(&fields, Some(column), args.rows.unwrap_or(0))?),
        (None, true) => Shown::Lines(Lines::new(&fields, args.rows.unwrap_or(JSON_ROWS))),
        (None, false) => Shown::Head(Head::new(&fields, args.rows.unwrap_or(ROWS_SHOWN))),
    };
    let input = capture::open(&args.run.pcap)?;
    let arguments = pairs(&args.run.arguments);
    let every_ns = args.every.map(|every| every.ns);
    let report = local::run(module, &arguments, input, sight, every_ns, &mut |interval| {
        shown.add(interval);
    })?;
    let mut value = json!({
        "module": named(module), "level": module.manifest().level.name(),
        "rows_stored": report.usage.rows, "used": used(&report),
        "seen": seen_json(&report.seen), "fault": report.fault.as_ref().map(ToString::to_string),
    });
    let table = match &shown {
        Shown::Head(head) => head.render(),
        Shown::Plot(plot) => {
            value["plot"] = json!({
                "column": plot.column().name, "unit": plot.column().unit,
                "series": plot.series().collect::<Vec<_>>(), "largest": plot.largest(),
            });
            plot.render(page_width())
        }
        Shown::Lines(lines) => {
            value["rows"] = lines.rows()?;
            String::new()
        }
    };
    let gap = if table.is_empty() { "" } else { "\n" };
    let text = format!("{table}{gap}{}", facts(module.manifest(), &report));
    context.output.result(&value, &text);
    // What was stored before stays true; a node too keeps it.
    match report.fault {
        Some(fault) => Err(ClientError::of_input(fault)),
        None => damage(&report.seen, &args.run.pcap),
    }
}

pub fn bench(context: &Context, args: &ModuleRun) -> Result<()> {
    let prepared = prepare(args)?;
    let (module, sight) = (&prepared.module, prepared.sight());
    let input = capture::open(&args.pcap)?;
    let figures = local::bench(module, &pairs(&args.arguments), input, sight)?;
    let value = json!({
        "module": named(module), "level": module.manifest().level.name(), "rounds": local::ROUNDS,
        "packets_held": figures.kept, "used": used(&figures.module), "idle": used(&figures.idle),
        "seen": seen_json(&figures.seen),
    });
    context.output.result(&value, &costs(module, &figures));
    damage(&figures.seen, &args.pcap)
}

/// The admitted module, and what packets are shown to it with.
struct Prepared {
    module: AdmittedModule,
    anonymizer: Anonymizer,
    networks: Option<AsTable>,
}

impl Prepared {
    fn sight(&self) -> Sight<'_> {
        Sight {
            anonymizer: Some(&self.anonymizer),
            networks: self.networks.as_ref(),
        }
    }
}

fn prepare(args: &ModuleRun) -> Result<Prepared> {
    let anonymizer = match &args.key_file {
        Some(path) => anonymize::anonymizer(path)?,
        None => Anonymizer::new(&MappingKey::generate()),
    };
    let level = args.level.map(Into::into);
    let networks = args
        .as_table
        .as_ref()
        .map(|path| as_table(path, args.as_min_addresses));
    Ok(Prepared {
        module: local::load(&args.module, args.manifest.as_deref(), level)?,
        anonymizer,
        networks: networks.transpose()?,
    })
}

fn as_table(path: &Path, min_addresses: u64) -> Result<AsTable> {
    let file = File::open(path).map_err(|error| ClientError::read(path, error))?;
    AsTable::read(file, min_addresses).map_err(|error| {
        let (what, fix) = crate::error::split(&error.to_string());
        ClientError::input(format!("{}: {what}", path.display()), fix)
    })
}

/// Columns of the table: what the node puts before the module's own is the interval's start.
fn fields(manifest: &Manifest) -> Vec<Field> {
    let time = Field {
        name: "time".into(),
        kind: ColumnKind::TimeNs,
        unit: "ns".into(),
        description: "start of the measurement interval".into(),
        merge: "key".into(),
    };
    let own = manifest.schema.iter().map(|column| Field {
        name: column.name.clone(),
        kind: column.kind,
        unit: column.unit.clone(),
        description: column.description.clone(),
        merge: column.merge.name().into(),
    });
    std::iter::once(time).chain(own).collect()
}

/// What becomes of the rows.
enum Shown {
    Head(Head),
    Plot(Plot),
    Lines(Lines),
}

impl Shown {
    fn add(&mut self, interval: &IntervalRows) {
        let count = interval.rows.rows();
        let mut columns = vec![ColumnData::TimeNs(vec![interval.interval_start_ns; count])];
        columns.extend(interval.rows.columns.iter().cloned());
        let batch = Batch { columns };
        match self {
            Self::Head(head) => head.add(&batch),
            Self::Plot(plot) => plot.add(&batch),
            Self::Lines(lines) => lines.add(&batch),
        }
    }
}

/// Rows as `como dataset open --to jsonl` spells them.
struct Lines {
    schema: Schema,
    batches: Vec<Batch>,
    room: usize,
}

impl Lines {
    fn new(fields: &[Field], most: usize) -> Self {
        Self {
            schema: Schema::Table(fields.to_vec()),
            batches: Vec::new(),
            room: most,
        }
    }

    fn add(&mut self, batch: &Batch) {
        if self.room > 0 {
            self.room = self.room.saturating_sub(batch.rows());
            self.batches.push(batch.clone());
        }
    }

    fn rows(&self) -> Result<Value> {
        let mut lines = Vec::new();
        let mut sink = convert::jsonl(&mut lines, &self.schema);
        for batch in &self.batches {
            sink.table(batch).map_err(ClientError::of_input)?;
        }
        let rows = serde_json::Deserializer::from_slice(&lines).into_iter();
        let rows: std::result::Result<Vec<Value>, _> = rows.collect();
        rows.map(Value::from).map_err(ClientError::of_input)
    }
}

fn named(module: &AdmittedModule) -> Value {
    let manifest = module.manifest();
    json!({ "name": manifest.name, "release": manifest.release, "hash": module.hash_hex() })
}

fn used(report: &Report) -> Value {
    let usage = &report.usage;
    json!({
        "packets": usage.packets, "batches": usage.batches, "intervals": report.intervals,
        "cut_intervals": report.cut, "answer_fuel": report.answer.fuel, "fuel": usage.fuel, "store_fuel": usage.store_fuel, "memory_bytes": usage.memory_bytes,
        "output_bytes": usage.output_bytes, "guest_ns": usage.wall_ns, "store_ns": usage.store_wall_ns, "total_ns": report.sandbox_ns,
    })
}

fn seen_json(seen: &Seen) -> Value {
    let denied: serde_json::Map<String, Value> = seen
        .denied
        .iter()
        .map(|(reason, count)| (reason.name().to_owned(), (*count).into()))
        .collect();
    json!({ "packets": seen.packets, "denied": denied })
}

/// What the run took, for a person.
fn facts(manifest: &Manifest, report: &Report) -> String {
    let (usage, seen) = (&report.usage, &report.seen);
    let mut lines = vec![
        ("level", manifest.level.to_string()),
        (
            "packets",
            format!(
                "{} of {} in the capture",
                render::count(usage.packets),
                render::count(seen.packets)
            ),
        ),
    ];
    if !seen.denied.is_empty() {
        let reasons = seen
            .denied
            .iter()
            .map(|(reason, count)| format!("{} {}", render::count(*count), reason.name()));
        lines.push(("denied", reasons.collect::<Vec<_>>().join(", ")));
    }
    let cut = match report.cut {
        0 => String::new(),
        cut => format!(", {cut} of them cut by the start or end of the capture"),
    };
    lines.extend([
        ("intervals", format!("{}{cut}", render::count(report.intervals))),
        ("rows", render::count(usage.rows)),
        ("fuel", fuel(report)),
        ("memory", render::bytes(usage.memory_bytes)),
        ("time", times(report)),
    ]);
    if report.answer.fuel > 0 {
        let fuel = render::count(report.answer.fuel);
        lines.push(("answer", format!("{fuel} units in merge and load")));
    }
    aligned(&lines)
}

/// What a packet costs, for a person.
fn costs(module: &AdmittedModule, figures: &Figures) -> String {
    let (own, idle) = (&figures.module, &figures.idle);
    let packets = own.usage.packets;
    aligned(&[
        (
            "module",
            format!("{}, {}", module.manifest().name, module.hash_hex()),
        ),
        ("level", module.manifest().level.to_string()),
        (
            "packets",
            format!(
                "{} of {} held in memory, fastest of {} rounds",
                render::count(packets),
                render::count(figures.kept as u64),
                local::ROUNDS
            ),
        ),
        ("time", times(own)),
        (
            "sandbox",
            format!(
                "{} ns of them: what a module that does nothing costs",
                a_packet(idle)
            ),
        ),
        ("fuel", fuel(own)),
        ("memory", render::bytes(own.usage.memory_bytes)),
    ])
}

/// `store` runs once an interval, however many packets there were.
fn times(report: &Report) -> String {
    let usage = &report.usage;
    format!(
        "{} ns a packet, {} ns a store",
        a_packet(report),
        render::count(usage.store_wall_ns / usage.stores.max(1)),
    )
}

/// Filter, copying and `update`, ns of wall time.
fn a_packet(report: &Report) -> String {
    let usage = &report.usage;
    per(
        report.sandbox_ns.saturating_sub(usage.store_wall_ns),
        usage.packets,
    )
}

/// `update` and `store` have budgets of their own.
fn fuel(report: &Report) -> String {
    let usage = &report.usage;
    format!(
        "{} units a packet (limit {} in a full batch), {} a store (limit {})",
        per(usage.fuel - usage.store_fuel, usage.packets),
        FUEL_PER_BATCH / BATCH_MAX_PACKETS as u64,
        render::count(usage.store_fuel / usage.stores.max(1)),
        render::count(FUEL_PER_CALLBACK),
    )
}

fn per(sum: u64, packets: u64) -> String {
    match packets {
        0 => "-".into(),
        packets => format!("{:.1}", sum as f64 / packets as f64),
    }
}

fn aligned(lines: &[(&str, String)]) -> String {
    let line = |(name, value): &(&str, String)| format!("{name:<10}  {value}\n");
    lines.iter().map(line).collect()
}

fn damage(seen: &Seen, pcap: &Path) -> Result<()> {
    capture::damage(
        seen.end,
        seen.packets,
        pcap,
        "the figures are those of what came before; take the capture again for the rest",
    )
}
