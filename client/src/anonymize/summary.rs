//! What became of a capture: for people, and as JSON. Owns words and counts only; must never hold anything of a
//! packet.

use std::fmt::Write as _;

use como_policies::AccessLevel;
use como_savefile::{End, Format};
use serde_json::{Map, Value, json};

use super::treat::{Counts, Work};
use crate::render::{bytes, count};

/// Version of the JSON report.
const REPORT_VERSION: u32 = 1;

/// What was done, dropped and counted.
#[derive(Clone, Debug)]
pub struct Summary {
    level: AccessLevel,
    format_in: Format,
    format_out: Option<Format>,
    counts: Counts,
    /// Records that are no packets: names, comments, statistics, secrets.
    dropped_records: u64,
    bytes_in: u64,
    /// Bytes written.
    pub(super) bytes_out: u64,
    /// Rows written, for tables.
    pub(super) rows_out: Option<u64>,
    /// Packets that came after their hour was released.
    pub(super) late_packets: u64,
    /// How the input ended.
    pub(super) end: End,
}

impl Summary {
    pub(super) fn new(level: AccessLevel, format_in: Format, format_out: Option<Format>) -> Self {
        Self {
            level,
            format_in,
            format_out,
            counts: Counts::default(),
            dropped_records: 0,
            bytes_in: 0,
            bytes_out: 0,
            rows_out: None,
            late_packets: 0,
            end: End::Clean,
        }
    }

    pub(super) fn take(&mut self, work: &Work) {
        self.counts.add(&work.counts);
        self.dropped_records += work.batch.skipped();
        self.bytes_in = work.offset_after;
    }

    /// How the input ended: what lies beyond damage is in no output.
    pub fn end(&self) -> End {
        self.end
    }

    /// Packets read.
    pub fn packets_in(&self) -> u64 {
        self.counts.packets_in
    }

    /// Packets written.
    pub fn packets_out(&self) -> u64 {
        self.counts.packets_out
    }

    /// Packets that the level does not show, of all reasons.
    pub fn denied(&self) -> u64 {
        self.counts.denied.values().sum()
    }

    /// For a person, some lines.
    pub fn text(&self) -> String {
        let counts = &self.counts;
        let mut text = format!(
            "level {}: {} packets in, {}\n",
            self.level,
            count(counts.packets_in),
            match self.rows_out {
                Some(rows) => format!("{} rows out", count(rows)),
                None => format!("{} out", count(counts.packets_out)),
            }
        );
        let links: Vec<String> = counts
            .links
            .iter()
            .map(|(link, packets)| format!("{} of link type {link}", count(*packets)))
            .collect();
        let _ = writeln!(
            text,
            "  in       {}, {}: {}",
            self.format_in.name(),
            bytes(self.bytes_in),
            if links.is_empty() {
                "nothing".into()
            } else {
                links.join(", ")
            }
        );
        let _ = writeln!(
            text,
            "  out      {}, {}",
            self.format_out.map_or("csv", Format::name),
            bytes(self.bytes_out)
        );
        let denied: Vec<String> = counts
            .denied
            .iter()
            .map(|(reason, packets)| format!("{} {}", count(*packets), reason.name()))
            .collect();
        if !denied.is_empty() {
            let _ = writeln!(text, "  denied   {}", denied.join(", "));
        }
        if self.late_packets > 0 {
            let _ = writeln!(
                text,
                "  late     {} packets, after their hour",
                count(self.late_packets)
            );
        }
        if self.format_in == Format::Pcapng {
            let _ = writeln!(
                text,
                "  dropped  {} records that are no packets, and every name and comment",
                count(self.dropped_records)
            );
        }
        text
    }

    /// For a script.
    pub fn json(&self) -> Value {
        let counts = &self.counts;
        let denied: Map<String, Value> = counts
            .denied
            .iter()
            .map(|(reason, packets)| (reason.name().to_owned(), (*packets).into()))
            .collect();
        let links: Map<String, Value> = counts
            .links
            .iter()
            .map(|(link, packets)| (link.to_string(), (*packets).into()))
            .collect();
        json!({
            "version": REPORT_VERSION,
            "level": self.level.name(),
            "input": {
                "format": self.format_in.name(),
                "bytes": self.bytes_in,
                "packets": counts.packets_in,
                "captured_bytes": counts.captured_in,
                "packets_by_link_type": links,
                "end": match self.end {
                    End::Clean => "clean",
                    End::Truncated => "truncated",
                    End::Corrupt => "corrupt",
                },
            },
            "output": {
                "format": self.format_out.map_or("csv", Format::name),
                "bytes": self.bytes_out,
                "packets": counts.packets_out,
                "captured_bytes": counts.captured_out,
                "rows": self.rows_out,
            },
            "denied": denied,
            "late_packets": self.late_packets,
            "dropped_records": self.dropped_records,
        })
    }
}
