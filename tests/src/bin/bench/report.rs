//! The table for people and the file for scripts. Must never change a figure.

use std::path::Path;

use serde_json::json;

use crate::Options;
use crate::row::{Row, human};
use crate::rows::Bench;

/// Says what is measured on what, before the long silence.
pub fn opening(bench: &Bench, options: &Options) {
    let trace = &bench.trace;
    println!(
        "Trace: {}, {} packets, {} bytes captured, {} bytes of file",
        trace.path.display(),
        human(trace.packets as f64),
        human(trace.captured_bytes as f64),
        human(trace.file_bytes as f64),
    );
    println!(
        "{} cores; one warm-up, then {} rounds, ours and the peer in turn; figures are medians. Compare ratios.\n",
        cores(),
        options.rounds,
    );
}

const HEAD: [&str; 8] = [
    "name",
    "ours",
    "unit",
    "peer",
    "its figure",
    "ratio",
    "aim",
    "verdict",
];

/// Prints the table; what a figure needs to be understood follows it.
pub fn print(rows: &[Row]) {
    let cells: Vec<[String; 8]> = rows.iter().map(cells).collect();
    let widths: [usize; 8] = std::array::from_fn(|column| {
        let longest = cells.iter().map(|row| row[column].chars().count()).max();
        longest.unwrap_or(0).max(HEAD[column].len())
    });
    println!("{}", line(&HEAD.map(str::to_owned), &widths));
    println!("{}", widths.map(|width| "-".repeat(width)).join("-|-"));
    for row in &cells {
        println!("{}", line(row, &widths));
    }
    for row in rows {
        for reason in row.reasons() {
            println!("  {}: {reason}", row.name);
        }
    }
    let with = |verdict| rows.iter().filter(|row| row.verdict() == verdict).count();
    println!(
        "\n{} rows, {} ok, {} short, {} void",
        rows.len(),
        with("ok"),
        with("short"),
        with("void")
    );
}

fn cells(row: &Row) -> [String; 8] {
    let figure = |figure: Option<&f64>| figure.map_or_else(|| "-".to_owned(), |&f| human(f));
    [
        row.name.to_owned(),
        figure(row.ours.as_ref().ok()),
        row.unit.to_owned(),
        row.peer
            .as_ref()
            .map_or_else(|| "-".to_owned(), |peer| peer.name.to_owned()),
        figure(row.peer.as_ref().and_then(|peer| peer.figure.as_ref().ok())),
        row.ratio()
            .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
        row.aim.to_string(),
        row.verdict().to_owned(),
    ]
}

fn line(cells: &[String; 8], widths: &[usize; 8]) -> String {
    let padded: Vec<String> = cells
        .iter()
        .zip(widths)
        .map(|(cell, &width)| format!("{cell:<width$}"))
        .collect();
    padded.join(" | ").trim_end().to_owned()
}

/// Writes what was printed for scripts, with the machine and the trace.
pub fn write_json(rows: &[Row], bench: &Bench, path: &Path) -> Result<(), String> {
    let document = json!({
        "version": 1,
        "cores": cores(),
        "rounds": bench.rounds,
        "trace": {
            "path": bench.trace.path,
            "packets": bench.trace.packets,
            "captured_bytes": bench.trace.captured_bytes,
            "file_bytes": bench.trace.file_bytes,
        },
        "rows": rows.iter().map(Row::json).collect::<Vec<_>>(),
    });
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(path, format!("{document:#}\n")))
        .map_err(|e| {
            format!(
                "{} cannot be written: {e}\n  fix: name another file with --json",
                path.display()
            )
        })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
