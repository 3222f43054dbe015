//! The standard modules, as a list and as a page: both are made of what lies in `modules/standard`. Owns no name of one,
//! and must never run one.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use como_modules::Manifest;

/// Longest line of the page's prose.
const LINE_BYTES: usize = 150;
const NS_PER_S: u64 = 1_000_000_000;

/// What the page says before the modules.
const INTRODUCTION: &str = "\
# Standard modules

What can be submitted to a node without writing a line: `make guests` compiles them to `target/guests/NAME.wasm`, `como module sign modules/standard/NAME
--wasm target/guests/NAME.wasm -o NAME.cmod` signs one, [cli.md](cli.md) has the rest. This page is made of their sources and manifests
(`como-regenerate modules`).

- Each reads at the lowest level that suffices. What an address or port is at that level is in [privacy.md](privacy.md): at `anonymized`, addresses are
  prefix-preserving pseudonyms of the asker's project, and ports above the services are pseudonyms too.
- Every interval stands for itself: no module keeps anything from one to the next. So a window of the past gives the rows that a live run gave.
- Memory is fixed. Where a table is full, what finds no place is counted in a row of its own (address `::`), so that sums stay right.
- Counts are packets times their sampling weight; distinct numbers are of the packets seen, and sampling does not scale them.
- The column `merge` says how rows of equal keys become one: over several intervals, or of several nodes. `max` of a distinct number is then a
  lower bound. Lists of the largest (`topports`, `autofocus`) add up what they name: a lower bound too; `topaddr` tells its error, `topas` is exact, `flowcount` unites.
- Every module is tested in the sandbox, at its level, against plain reading of generated packets and against tshark on real captures
  (`modules/tests/it/oracle`).
- What reads payload and puts out a lower level works only where the operator endorsed its hash and ranges of its arguments:
  `como-node endorse HASH --output-level LEVEL --name ENTRY --range NAME=MIN..MAX`.
";

/// The folder of a standard module in this clone.
pub fn folder(name: &str) -> PathBuf {
    root().join(name)
}

/// Every standard module's manifest, by name; unsigned.
pub fn manifests() -> Vec<Manifest> {
    let entries = std::fs::read_dir(root()).expect("modules/standard");
    let mut manifests: Vec<Manifest> = entries
        .map(|entry| entry.expect("an entry").path().join("module.toml"))
        .map(|path| {
            let text = read(&path);
            Manifest::from_toml(&text, "spiffe://example.org/standard", u64::MAX)
                .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        })
        .collect();
    manifests.sort_by(|a, b| a.name.cmp(&b.name));
    manifests
}

/// docs/standard-modules.md, as `como-regenerate modules` writes it.
pub fn page() -> String {
    let manifests = manifests();
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n| module | what | level read, put out | interval |\n|---|---|---|---|\n");
    for m in &manifests {
        let (name, what) = (&m.name, &m.description);
        let levels = match m.level == m.output_level {
            true => format!("`{}`", m.level),
            false => format!("`{}`, `{}`", m.level, m.output_level),
        };
        row(
            &mut page,
            &[&format!("[{name}](#{name})"), what, &levels, &interval(m)],
        );
    }
    for m in &manifests {
        section(&mut page, m);
    }
    page
}

fn section(page: &mut String, m: &Manifest) {
    let source = read(&folder(&m.name).join("src/lib.rs"));
    let _ = write!(page, "\n## {}\n\n{}\n", m.name, description(&source, &m.name));
    let filter = if m.filter.is_empty() {
        "every packet, denied ones too".to_owned()
    } else {
        format!("packets of the filter `{}`", m.filter)
    };
    let columns: Vec<String> = m.columns.iter().map(|c| format!("`{}`", c.name())).collect();
    let frames = if m.wants_frames { ", and frames" } else { "" };
    let facts = format!(
        "Reads {filter}: {}{frames}. {} KiB of memory.",
        columns.join(", "),
        m.memory_bytes >> 10
    );
    let _ = write!(page, "{}\n\n", wrapped(&facts));
    page.push_str("| column | kind | unit | merge | |\n|---|---|---|---|---|\n");
    for column in &m.schema {
        let kind = format!("{:?}", column.kind).to_lowercase();
        let name = format!("`{}`", column.name);
        row(
            page,
            &[
                &name,
                &kind,
                &column.unit,
                column.merge.name(),
                &column.description,
            ],
        );
    }
    if !m.args.is_empty() {
        page.push_str("\n| argument | default | range | |\n|---|---|---|---|\n");
        for arg in &m.args {
            let range = format!("{} to {}", arg.min, arg.max);
            let name = format!("`{}`", arg.name);
            row(page, &[&name, &arg.default.to_string(), &range, &arg.description]);
        }
    }
}

fn row(page: &mut String, cells: &[&str]) {
    let _ = writeln!(page, "| {} |", cells.join(" | "));
}

fn interval(m: &Manifest) -> String {
    match m.interval_ns / NS_PER_S {
        seconds if seconds % 3600 == 0 => format!("{} h", seconds / 3600),
        seconds => format!("{seconds} s"),
    }
}

/// The source's own words: its opening comment, without the module's name before them.
fn description(source: &str, name: &str) -> String {
    let comment = source.lines().map_while(|line| line.strip_prefix("//!"));
    let text: String = comment.map(|line| format!("{}\n", line.trim())).collect();
    let text = text.strip_prefix(&format!("`{name}`: ")).unwrap_or_else(|| {
        panic!("modules/standard/{name}/src/lib.rs does not begin with its name");
    });
    let paragraphs = text.split("\n\n").map(|paragraph| {
        let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        let (first, rest) = line.split_at(1);
        // Links of the documentation tool mean nothing on a page.
        let line = format!("{}{rest}", first.to_uppercase())
            .replace("[`", "`")
            .replace("`]", "`");
        format!("{}\n", wrapped(&line))
    });
    paragraphs.collect::<Vec<_>>().join("\n")
}

fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("one at least");
        if !line.is_empty() && line.len() + 1 + word.len() > LINE_BYTES {
            lines.push(word.to_owned());
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.join("\n")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../modules/standard")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_standard_modules_is_what_their_sources_and_manifests_say() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/standard-modules.md");
        assert!(
            read(&file) == page(),
            "docs/standard-modules.md is not what the modules say; run `como-regenerate modules`"
        );
    }
}
