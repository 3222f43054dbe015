//! The operator's metrics in the Prometheus text exposition format 0.0.4: one table says what there is, for the endpoint
//! and for docs/operating.md. Labels are names of roles, causes, levels, states and modules; must never be anything of a
//! packet, of a person or of a project.

use std::fmt::{Display, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Supervisor;
use super::accounting::Usage;
use super::modules::Installed;
use crate::process::Role;
use crate::trace::GapCause;

/// Digits of a module's hash in a label: enough to tell the releases of a name apart.
const HASH_DIGITS: usize = 16;
/// Losses that capture itself may report, each with a sample from the start.
const LOSSES: [GapCause; 6] = [
    GapCause::KernelDrop,
    GapCause::InterfaceDrop,
    GapCause::QueueFull,
    GapCause::SourceCorrupt,
    GapCause::SourceTruncated,
    GapCause::CaptureDown,
];
const NS_PER_S: f64 = 1e9;

#[derive(Clone, Copy)]
enum Kind {
    /// Only grows, until the process that counts starts anew.
    Counter,
    /// Goes up and down.
    Gauge,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// One metric: its name without the prefix `como_`, its labels, what it means, and its samples.
struct Metric {
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&Supervisor, &mut Samples),
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&Supervisor, &mut Samples),
) -> Metric {
    Metric {
        name,
        kind: Kind::Counter,
        labels,
        help,
        read,
    }
}

const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&Supervisor, &mut Samples),
) -> Metric {
    Metric {
        kind: Kind::Gauge,
        ..counter(name, labels, help, read)
    }
}

const MODULE: &[&str] = &["module", "hash"];
const RUN: &[&str] = &["module", "hash", "run"];

const METRICS: &[Metric] = &[
    gauge(
        "build_info",
        &["version"],
        "1, with the version of the program.",
        |_, out| {
            out.put(&[env!("CARGO_PKG_VERSION")], 1);
        },
    ),
    gauge(
        "start_time_seconds",
        &[],
        "When the node started, seconds since the Unix epoch.",
        |node, out| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            out.put(
                &[],
                (now.as_secs_f64() - node.started.elapsed().as_secs_f64()).round(),
            );
        },
    ),
    gauge(
        "processes",
        &["role"],
        "Processes whose sandbox is in force, by role.",
        |node, out| {
            for role in Role::ALL {
                let ready = node.children.iter().filter(|(_, c)| c.role == role && c.ready);
                out.put(&[role.name()], ready.count());
            }
        },
    ),
    counter(
        "process_deaths_total",
        &["role"],
        "Processes that ended and should not have, by role.",
        |node, out| {
            for role in Role::ALL {
                out.put(&[role.name()], node.wiring.died(role));
            }
        },
    ),
    counter(
        "capture_packets_total",
        &[],
        "Packets taken from the source.",
        |node, out| {
            out.put(&[], node.roles.capture.packets);
        },
    ),
    counter(
        "capture_bytes_total",
        &[],
        "Captured bytes of packets in sealed blocks.",
        |node, out| {
            out.put(&[], node.roles.capture.bytes);
        },
    ),
    counter(
        "capture_lost_packets_total",
        &["cause"],
        "Packets lost before or in capture, by cause, where the count is known.",
        |node, out| {
            for cause in LOSSES {
                let lost = node.roles.capture.losses.get(cause.as_str());
                out.put(&[cause.as_str()], lost.copied().unwrap_or(0));
            }
        },
    ),
    counter(
        "capture_undissected_packets_total",
        &[],
        "Packets stored undissected, since they ended capture.",
        |node, out| {
            out.put(&[], node.roles.capture.poisoned);
        },
    ),
    counter(
        "capture_denied_packets_total",
        &[],
        "Packets without a view below `payload`.",
        |node, out| {
            out.put(&[], node.roles.capture.denied);
        },
    ),
    counter(
        "capture_out_of_order_packets_total",
        &[],
        "Packets whose time is before that of the packet in front of them.",
        |node, out| {
            out.put(&[], node.roles.capture.out_of_order);
        },
    ),
    counter(
        "capture_sealed_bytes_total",
        &[],
        "Bytes of sealed blocks on their way to storage.",
        |node, out| {
            out.put(&[], node.roles.capture.sealed_bytes);
        },
    ),
    gauge(
        "capture_packet_time_seconds",
        &[],
        "Newest packet time, seconds since the Unix epoch.",
        |node, out| {
            out.put(&[], node.catalog.now_ns as f64 / NS_PER_S);
        },
    ),
    counter(
        "live_views_total",
        &["level"],
        "Views made for live modules, by level: one of a block for each level and audience.",
        |node, out| {
            for (level, count) in &node.roles.capture.views {
                out.put(&[level.name()], *count);
            }
        },
    ),
    counter(
        "live_views_sent_total",
        &[],
        "Views sent to export processes.",
        |node, out| {
            out.put(&[], node.roles.capture.views_sent);
        },
    ),
    counter(
        "live_shed_packets_total",
        &[],
        "Packets that live modules did not see, since they were too slow; the trace has them.",
        |node, out| {
            out.put(&[], node.roles.capture.shed);
        },
    ),
    counter(
        "storage_blocks_total",
        &[],
        "Sealed blocks stored.",
        |node, out| {
            out.put(&[], node.roles.storage.blocks);
        },
    ),
    counter(
        "storage_bytes_total",
        &[],
        "Bytes stored of the trace.",
        |node, out| {
            out.put(&[], node.roles.storage.stored_bytes);
        },
    ),
    counter(
        "storage_duplicate_blocks_total",
        &[],
        "Items dropped because they were stored before.",
        |node, out| {
            out.put(&[], node.roles.storage.duplicates);
        },
    ),
    gauge(
        "storage_torn_bytes",
        &[],
        "Bytes cut off torn segments at the last start of storage.",
        |node, out| {
            out.put(&[], node.roles.storage.torn_bytes);
        },
    ),
    gauge("trace_segments", &[], "Segments in the ring.", |node, out| {
        out.put(&[], node.roles.storage.segments);
    }),
    gauge("trace_bytes", &[], "Bytes of the ring on disk.", |node, out| {
        out.put(&[], node.roles.storage.bytes);
    }),
    gauge("records_files", &[], "Files of stored records.", |node, out| {
        out.put(&[], node.roles.storage.record_files);
    }),
    gauge(
        "records_bytes",
        &[],
        "Bytes of stored records on disk.",
        |node, out| {
            out.put(&[], node.roles.storage.record_bytes);
        },
    ),
    gauge(
        "disk_free_bytes",
        &[],
        "Free bytes of the disk that holds the trace.",
        |node, out| {
            out.put(&[], node.roles.storage.free_bytes);
        },
    ),
    gauge(
        "disk_full",
        &[],
        "1 while storage waits for room on the disk.",
        |node, out| {
            out.put(&[], u8::from(node.roles.storage.disk_full));
        },
    ),
    gauge(
        "queries",
        &["state"],
        "Queries that are remembered, by state.",
        |node, out| {
            for (state, count) in node.jobs.by_state() {
                out.put(&[&state], count);
            }
        },
    ),
    gauge(
        "results_bytes",
        &[],
        "Bytes of sealed datasets that wait to be fetched.",
        |node, out| {
            out.put(&[], node.jobs.bytes());
        },
    ),
    gauge(
        "module_instances",
        MODULE,
        "Instances of the module on the live stream.",
        |node, out| {
            out.each_module(node, |hash, _| {
                node.live.iter().filter(|(_, run)| run.what.hash == *hash).count()
            });
        },
    ),
    counter(
        "module_packets_total",
        RUN,
        "Packets handed to the module: those that its filter selects.",
        |node, out| {
            out.each_run(node, |usage| usage.packets);
        },
    ),
    counter(
        "module_fuel_total",
        RUN,
        "Units of fuel that the module used.",
        |node, out| {
            out.each_run(node, |usage| usage.fuel);
        },
    ),
    counter(
        "module_seconds_total",
        RUN,
        "Wall time inside the module.",
        |node, out| {
            out.each_run(node, |usage| usage.wall_ns as f64 / NS_PER_S);
        },
    ),
    counter(
        "module_rows_total",
        RUN,
        "Rows that the module gave.",
        |node, out| {
            out.each_run(node, |usage| usage.rows);
        },
    ),
    gauge(
        "module_memory_bytes",
        MODULE,
        "Memory of all live instances of the module.",
        |node, out| {
            out.each_module(node, |hash, _| {
                let runs = node.live.iter().filter(|(_, run)| run.what.hash == *hash);
                runs.map(|(_, run)| run.usage().memory_bytes).sum::<u64>()
            });
        },
    ),
    counter(
        "module_stored_bytes_total",
        MODULE,
        "Bytes of sealed records that the module's live instances stored.",
        |node, out| {
            out.each_module(node, |hash, _| node.live_usage(hash).stored_bytes);
        },
    ),
    counter(
        "module_queries_total",
        MODULE,
        "Queries that ran the module over the past trace.",
        |node, out| {
            out.each_module(node, |hash, _| node.accounts.of(hash).queries);
        },
    ),
    counter(
        "module_faults_total",
        MODULE,
        "Times that the module misbehaved, also before the last start.",
        |node, out| {
            out.each_module(node, |_, module| module.state.faults);
        },
    ),
    gauge(
        "module_black_listed",
        MODULE,
        "1 where the module is on the black list.",
        |node, out| {
            out.each_module(node, |_, module| u8::from(module.state.blacklisted));
        },
    ),
];

impl Supervisor {
    /// The metrics, as they are read.
    pub(super) fn metrics(&self) -> String {
        let mut text = String::new();
        for metric in METRICS {
            let name = format!("como_{}", metric.name);
            let help = metric.help.replace('\\', "\\\\").replace('\n', "\\n");
            let _ = write!(
                text,
                "# HELP {name} {help}\n# TYPE {name} {}\n",
                metric.kind.name()
            );
            let mut samples = Samples {
                name,
                labels: metric.labels,
                text,
            };
            (metric.read)(self, &mut samples);
            text = samples.text;
        }
        text
    }

    /// What a module's live runs used, of those that ended and those that run.
    fn live_usage(&self, hash: &[u8; 32]) -> Usage {
        let runs = self.live.iter().filter(|(_, run)| run.what.hash == *hash);
        runs.fold(self.accounts.of(hash).live, |sum, (_, run)| sum.plus(run.usage()))
    }
}

/// The samples of one metric.
struct Samples {
    name: String,
    labels: &'static [&'static str],
    text: String,
}

impl Samples {
    /// One sample; there is a value for each label.
    fn put(&mut self, values: &[&str], value: impl Display) {
        self.text.push_str(&self.name);
        if !self.labels.is_empty() {
            let pairs = self.labels.iter().zip(values);
            let pairs: Vec<String> = pairs
                .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
                .collect();
            let _ = write!(self.text, "{{{}}}", pairs.join(","));
        }
        let _ = writeln!(self.text, " {value}");
    }

    fn each_module<V: Display>(&mut self, node: &Supervisor, value: impl Fn(&[u8; 32], &Installed) -> V) {
        for (hash, module) in node.modules.iter() {
            let short = &hex::encode(hash)[..HASH_DIGITS];
            self.put(&[&module.manifest.name, short], value(hash, module));
        }
    }

    fn each_run<V: Display>(&mut self, node: &Supervisor, value: impl Fn(Usage) -> V) {
        for (hash, module) in node.modules.iter() {
            let (name, short) = (&module.manifest.name, &hex::encode(hash)[..HASH_DIGITS]);
            self.put(&[name, short, "live"], value(node.live_usage(hash)));
            let on_demand = node.accounts.of(hash).on_demand;
            self.put(&[name, short, "on-demand"], value(on_demand));
        }
    }
}

/// A label's value as the format wants it.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// The table of docs/operating.md.
pub fn metrics_table() -> String {
    let mut table = String::from("| metric | type | labels | meaning |\n|---|---|---|---|\n");
    for metric in METRICS {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(
            table,
            "| `como_{}` | {} | {} | {} |",
            metric.name,
            metric.kind.name(),
            labels.join(", "),
            metric.help
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operating.md"));

    #[test]
    fn labels_are_escaped() {
        let mut samples = Samples {
            name: "como_x".into(),
            labels: &["a", "b"],
            text: String::new(),
        };
        samples.put(&["a\"\\\n", "plain"], 1.5);
        assert_eq!(samples.text, "como_x{a=\"a\\\"\\\\\\n\",b=\"plain\"} 1.5\n");
    }

    #[test]
    fn names_follow_the_conventions_and_stand_once() {
        let mut names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
        for metric in METRICS {
            let total = metric.name.ends_with("_total");
            assert_eq!(total, matches!(metric.kind, Kind::Counter), "{}", metric.name);
            let plain = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(metric.name.chars().all(plain), "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }

    #[test]
    fn the_page_has_the_table_of_metrics() {
        assert!(
            PAGE.contains(&metrics_table()),
            "docs/operating.md is not what the code says; run `como-regenerate metrics`"
        );
    }
}
