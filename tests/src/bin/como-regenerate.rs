//! `como-regenerate configuration|fields|metrics|modules|vectors|seeds`: writes files of the repository that are made from code.
//!
//! `configuration`: docs/configuration.md, after a change of the table of keys. `fields`: the table of docs/privacy.md,
//! after a change of a field's treatment. `metrics`: the one of docs/operating.md. `modules`: docs/standard-modules.md, after a change of one of them. `vectors`:
//! the good datasets that `dataset/tests/vectors` edits, only for a new version of the format. `seeds`: the golden frames
//! as inputs of the anonymizer's fuzz target, into `anonymize/fuzz/seeds`, for it to begin with. Tests compare; none of
//! them writes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use como_keys::sealing::Identity;
use como_keys::signing::SigningKey;

#[allow(dead_code, reason = "the dataset's tests use the rest")]
#[path = "../../../dataset/tests/it/make.rs"]
mod make;

#[allow(dead_code, reason = "the anonymizer's tests use the rest")]
#[path = "../../../anonymize/tests/it/frames.rs"]
mod frames;
#[allow(dead_code, unused_imports, reason = "the anonymizer's tests use the rest")]
#[path = "../../../anonymize/tests/it/golden/mod.rs"]
mod golden;
#[allow(dead_code, reason = "the anonymizer's tests use the rest")]
#[path = "../../../anonymize/tests/it/oracle.rs"]
mod oracle;

fn main() -> ExitCode {
    let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut words = std::env::args().skip(1);
    let done = match words.next().as_deref() {
        Some("configuration") => fs::write(
            repository.join("docs/configuration.md"),
            como_node::config::documentation(),
        ),
        Some("fields") => table(
            &repository.join("docs/privacy.md"),
            "field",
            &como_anonymize::fields::markdown(),
        ),
        Some("metrics") => table(
            &repository.join("docs/operating.md"),
            "metrics",
            &como_node::supervisor::metrics_table(),
        ),
        Some("modules") => fs::write(
            repository.join("docs/standard-modules.md"),
            como_tests::standard::page(),
        ),
        Some("vectors") => vectors(&repository.join("dataset/tests/vectors")),
        Some("seeds") => seeds(&repository.join("anonymize/fuzz/seeds")),
        _ => Err(io::Error::other(
            "say `configuration`, `fields`, `metrics`, `modules`, `vectors` or `seeds`",
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "como-regenerate: {error}\nusage: como-regenerate configuration|fields|metrics|modules|vectors|seeds"
            );
            ExitCode::from(2)
        }
    }
}

/// Between the two marks of the page stands the table, and nothing else.
fn table(page: &Path, name: &str, table: &str) -> io::Result<()> {
    let begin = format!("<!-- {name} table: generated, do not edit -->\n");
    let end = format!("<!-- end of {name} table -->\n");
    let text = fs::read_to_string(page)?;
    let marks = || io::Error::other(format!("{} has lost a mark of its table", page.display()));
    let (before, rest) = text.split_once(&begin).ok_or_else(marks)?;
    let (_, after) = rest.split_once(&end).ok_or_else(marks)?;
    fs::write(page, [before, &begin, table, &end, after].concat())
}

fn vectors(folder: &Path) -> io::Result<()> {
    fs::write(folder.join("table.como"), make::table_file())?;
    fs::write(folder.join("table-again.como"), make::table_file())?;
    fs::write(folder.join("packets.como"), make::packets_file())?;
    let node = |seed: u8| SigningKey::from_bytes(&[seed; 32]).verifying_key().hex();
    let identity = |identity: Identity| -> String {
        let bytes = identity.to_bytes();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let keys = [
        ("node", node(7)),
        ("other node", node(8)),
        ("partner", identity(make::partner())),
        ("colleague", identity(make::colleague())),
        ("stranger", identity(make::stranger())),
    ];
    let lines = keys.map(|(name, value)| format!("{name}: {value}\n"));
    fs::write(folder.join("keys.txt"), lines.concat())
}

fn seeds(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (number, golden) in golden::golden().iter().enumerate() {
        if let Some(input) = oracle::input(golden.link, &golden.frame) {
            fs::write(folder.join(format!("golden-{number}")), input)?;
        }
    }
    Ok(())
}
