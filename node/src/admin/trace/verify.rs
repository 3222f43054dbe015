//! `como-node trace verify`: every byte of the trace against hashes, signatures, the chain of segments and,
//! with keys, every seal. Must never stop at the first damage, and never print what it opened.

use std::collections::BTreeMap;
use std::fmt;

use como_keys::digest::{Hasher, blake3};
use como_keys::signing::VerifyingKey;
use indicatif::ProgressBar;
use serde::Serialize;

use super::folder::{Folder, Segment, name_of};
use super::progress_bar;
use crate::admin::AdminError;
use crate::ring::{FileKind, SegmentFile};
use crate::trace::{BlockRef, Damage, Predecessor, SegmentId, SegmentReader, TraceError};

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// The segment file.
    file: String,
    /// Byte in it, where the damage has a place.
    position: Option<u64>,
    /// Packets lost with it, where anybody can tell.
    packets: Option<u64>,
    what: String,
}

/// What was looked at, and what was found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    segments: u64,
    /// Of those, the ones without footer: their end is not vouched for, which is no damage.
    unsealed: u64,
    blocks: u64,
    packets: u64,
    bytes: u64,
    /// Sections that were opened, and those that no key was at hand for.
    sections_opened: u64,
    sections_closed: u64,
    /// Segments whose signatures were checked up to the node's key.
    signed_by_node: u64,
    findings: Vec<Finding>,
    notes: Vec<String>,
}

/// Checks all segments of a node.
pub(super) fn verify(folder: &Folder) -> Result<Report, AdminError> {
    let files = folder.files()?;
    let total = files
        .iter()
        .map(|file| file.path.metadata().map_or(0, |about| about.len()))
        .sum();
    let bar = progress_bar(total, "verifying");
    let mut run = Run {
        folder,
        node_keys: folder.keyring.as_ref().map(|keyring| keyring.node_keys()),
        report: Report::default(),
        bar: &bar,
        chain: Chain::default(),
    };
    for file in &files {
        run.file(file);
    }
    run.holes(&files);
    let Run {
        mut report, chain, ..
    } = run;
    bar.finish_and_clear();
    match folder.manifest() {
        Ok(manifest) => {
            let expired = manifest
                .expired()
                .iter()
                .filter_map(|e| SegmentId::from_hex(&e.segment));
            chain.check(&mut report, &expired.collect::<Vec<_>>());
        }
        Err(error) => report.findings.push(Finding {
            file: "manifest.json".to_owned(),
            position: None,
            packets: None,
            what: error.to_string().lines().next().unwrap_or_default().to_owned(),
        }),
    }
    if let Some(why) = &folder.no_keys_because {
        report
            .notes
            .push(format!("the node's keys are not at hand: {why}"));
    }
    if folder.keyring.is_none() {
        let note = "without keys: hashes, checksums and the runs' own signatures hold or do not; that the node \
                    certified the runs, and that the seals open, was not checked";
        report.notes.push(note.to_owned());
    }
    Ok(report)
}

struct Run<'a> {
    folder: &'a Folder,
    node_keys: Option<Vec<VerifyingKey>>,
    report: Report,
    bar: &'a ProgressBar,
    chain: Chain,
}

impl Run<'_> {
    fn file(&mut self, file: &SegmentFile) {
        let name = name_of(&file.path);
        let Segment { reader, wrong_keys } = match self.folder.segment(file) {
            Ok(Some(segment)) => segment,
            Ok(None) => return, // Expired meanwhile.
            Err(error) => {
                self.find(&name, error);
                return;
            }
        };
        self.report.segments += 1;
        self.report.unsealed += u64::from(reader.footer().is_none());
        if file.kind == FileKind::Aside {
            let what = "it was set aside, and reads: `trace repair` brings it back";
            self.say(&name, what);
        }
        if let Some(error) = wrong_keys {
            self.find(&name, error);
        }
        self.signature(&name, &reader);
        let before = self.report.findings.len();
        let hash = self.blocks(&name, &reader);
        self.footer(file, &reader, hash, self.report.findings.len() == before);
        self.chain.add(file.ordinal, name, &reader);
    }

    fn signature(&mut self, name: &str, reader: &SegmentReader) {
        let Some(keys) = &self.node_keys else {
            return;
        };
        if keys.iter().any(|key| reader.verify(key).is_ok()) {
            self.report.signed_by_node += 1;
        } else {
            let what = "the run of capture that wrote it is not certified by this node's key: forged, or of another node";
            self.say(name, what);
        }
    }

    /// Checks all blocks, and gives the hash and the numbers that the footer should name.
    fn blocks(&mut self, name: &str, reader: &SegmentReader) -> Found {
        let (mut hasher, mut found) = (Hasher::new(), Found::default());
        for block in reader.blocks() {
            let block = match block {
                Ok(block) => block,
                Err(damage) => {
                    // A damaged footer is told once, as what it is.
                    if reader
                        .footer_damage()
                        .is_none_or(|known| !is_at(known, damage.position))
                    {
                        self.damage(name, damage);
                    }
                    continue;
                }
            };
            hasher.update(&blake3(&block.header.encode()));
            if u64::from(block.header.number) != found.blocks {
                let what = "a block is missing before this one, or stands twice";
                self.find(name, TraceError::damaged(block.position, what));
                found.blocks = block.header.number.into();
            }
            found.blocks += 1;
            found.packets += u64::from(block.header.packets);
            found.positions.push(block.position);
            self.block(name, reader, &block);
        }
        self.report.blocks += found.positions.len() as u64;
        self.report.packets += found.packets;
        found.hash = hasher.finish();
        found
    }

    fn block(&mut self, name: &str, reader: &SegmentReader, block: &BlockRef) {
        let bytes = block.header.total_bytes();
        self.bar.inc(bytes);
        self.report.bytes += bytes;
        let lost = |what| Damage {
            position: block.position,
            bytes,
            packets: Some(block.header.packets.into()),
            what,
        };
        if !reader.is_whole(block) {
            let what = "the sections of a block are changed or torn";
            self.damage(name, lost(TraceError::damaged(block.position, what)));
            return;
        }
        match reader.open_sections(block) {
            Ok(opened) => {
                self.report.sections_opened += opened.sections - opened.without_key;
                self.report.sections_closed += opened.without_key;
            }
            Err(what) => self.damage(name, lost(what)),
        }
    }

    /// A footer must vouch for exactly the blocks that are there; where some are damaged that is told already.
    fn footer(&mut self, file: &SegmentFile, reader: &SegmentReader, found: Found, is_whole: bool) {
        let (name, is_sealed) = (&name_of(&file.path), file.kind == FileKind::Sealed);
        if let Some(damage) = reader.footer_damage() {
            self.report.findings.push(finding(name, damage, None));
        }
        let Some(footer) = reader.footer() else {
            if is_whole && is_sealed && reader.footer_damage().is_none() {
                self.say(name, "its footer is missing");
            }
            return;
        };
        let fits =
            (footer.blocks, footer.packets, footer.blocks_hash) == (found.blocks, found.packets, found.hash);
        if is_whole && !fits {
            self.say(name, "the footer is of other blocks");
        }
        match reader.table() {
            Ok(Some(table)) => {
                let listed = table.0.iter().map(|entry| entry.position);
                // It stands in the last block, which it does not list.
                let before_it = found.positions.split_last().map_or(&[][..], |(_, before)| before);
                if is_whole && !listed.eq(before_it.iter().copied()) {
                    self.say(name, "the table of blocks is of other blocks");
                }
            }
            Ok(None) | Err(TraceError::NoKey { .. }) => {}
            Err(error) => self.find(name, error),
        }
    }

    /// The ring removes the oldest only: a number that is missing between others was removed by somebody else.
    fn holes(&mut self, files: &[SegmentFile]) {
        for pair in files.windows(2) {
            let missing = pair[1].ordinal.saturating_sub(pair[0].ordinal + 1);
            if missing > 0 && pair[1].ordinal != pair[0].ordinal {
                let what = format!("{missing} segment files are missing before this one");
                self.say(&name_of(&pair[1].path), &what);
            }
        }
    }

    fn damage(&mut self, name: &str, damage: Damage) {
        let mut found = finding(name, &damage.what, damage.packets);
        found.position.get_or_insert(damage.position);
        self.report.findings.push(found);
    }

    fn find(&mut self, name: &str, error: TraceError) {
        self.report.findings.push(finding(name, &error, None));
    }

    fn say(&mut self, name: &str, what: &str) {
        self.report.findings.push(Finding {
            file: name.to_owned(),
            position: None,
            packets: None,
            what: what.to_owned(),
        });
    }
}

/// What the blocks of a segment come to.
#[derive(Default)]
struct Found {
    blocks: u64,
    packets: u64,
    positions: Vec<u64>,
    hash: [u8; 32],
}

/// Which segment names which.
#[derive(Default)]
struct Chain {
    footers: BTreeMap<SegmentId, Option<[u8; 32]>>,
    links: Vec<(u64, String, Predecessor)>,
    oldest: Option<u64>,
}

impl Chain {
    fn add(&mut self, ordinal: u64, name: String, reader: &SegmentReader) {
        let hash = reader.footer_hash().ok().flatten();
        self.footers.insert(reader.header().segment, hash);
        self.oldest = Some(self.oldest.map_or(ordinal, |oldest| oldest.min(ordinal)));
        if let Some(before) = &reader.header().predecessor {
            self.links.push((ordinal, name, before.clone()));
        }
    }

    /// Each predecessor must be there, with the footer that is named, unless the ring has removed it.
    fn check(self, report: &mut Report, expired: &[SegmentId]) {
        for (ordinal, file, before) in self.links {
            let what = match self.footers.get(&before.segment) {
                Some(Some(hash)) if *hash == before.footer_hash => continue,
                Some(Some(_)) => "the segment before it is not the one that it names: its footer differs",
                Some(None) => "the segment before it has lost its footer",
                None if Some(ordinal) == self.oldest || expired.contains(&before.segment) => continue,
                None => "the segment before it is missing",
            };
            report.findings.push(Finding {
                file,
                position: None,
                packets: None,
                what: format!("{what} ({})", before.segment),
            });
        }
    }
}

fn is_at(error: &TraceError, at: u64) -> bool {
    matches!(error, TraceError::Damaged { position, .. } if *position == at)
}

fn finding(name: &str, error: &TraceError, packets: Option<u64>) -> Finding {
    let (position, what) = match error {
        TraceError::Damaged { position, what } => (Some(*position), (*what).to_owned()),
        other => (
            None,
            other.to_string().lines().next().unwrap_or_default().to_owned(),
        ),
    };
    Finding {
        file: name.to_owned(),
        position,
        packets,
        what,
    }
}

impl Report {
    /// Whether nothing is wrong, as far as was looked.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    /// One JSON document.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("the report is plain data")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            write!(f, "{}", finding.file)?;
            if let Some(position) = finding.position {
                write!(f, ", byte {position}")?;
            }
            write!(f, ": {}", finding.what)?;
            if let Some(packets) = finding.packets.filter(|packets| *packets > 0) {
                write!(f, " ({packets} packets)")?;
            }
            writeln!(f)?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        writeln!(
            f,
            "{} segments ({} without footer), {} blocks, {} packets, {} bytes; {} segments signed by the node; {} \
             sections opened, {} without key",
            self.segments,
            self.unsealed,
            self.blocks,
            self.packets,
            self.bytes,
            self.signed_by_node,
            self.sections_opened,
            self.sections_closed
        )?;
        match self.findings.len() {
            0 => write!(f, "sound"),
            1 => write!(
                f,
                "1 thing is wrong; `como-node trace repair` says what can be mended"
            ),
            many => write!(
                f,
                "{many} things are wrong; `como-node trace repair` says what can be mended"
            ),
        }
    }
}
