//! `como-node trace export`: packets of the past for the operator, in a capture file or pipe. The policy decides,
//! and the audit log has the access before the first packet is read. Must never open a section that the level
//! does not include, nor leave half a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use como_anonymize::bitmap::Bitmap;
use como_anonymize::filter::Filter;
use como_anonymize::{Anonymizer, View};
use como_keys::keyring::{Keyring, Section};
use como_policies::{
    AccessLevel, Action, Ask, Decision, PolicyEngine, Principal, Resource, TraceFacts, Window,
};
use como_savefile::{Packet, Resolution, Section as FileSection, WriteError, Writer};
use indicatif::ProgressBar;

use super::moment::{Moment, Span, shown};
use super::progress_bar;
use crate::admin::events::{AdminEvent, now_ns};
use crate::admin::{AdminError, AdminNode};
use crate::ring::{FileKind, segment_files};
use crate::trace::{BlockKind, GroupSet, SegmentReader, TraceError, WindowItem};

/// Link type that a pcap file without a packet tells: Ethernet.
const LINK_OF_NOTHING: u32 = 1;

/// A kind of capture file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One link type, nanoseconds.
    Pcap,
    /// An interface for each link type, nanoseconds.
    Pcapng,
}

/// What is exported, and where to.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Export {
    pub from: Option<Moment>,
    pub to: Option<Moment>,
    pub last: Option<Span>,
    pub filter: String,
    pub level: AccessLevel,
    pub format: Option<Format>,
    pub output: PathBuf,
    pub force: bool,
}

/// A segment that the export reads.
struct Source {
    reader: SegmentReader,
    name: String,
    /// Packet time, ns: of the first packet, and one after the last.
    range: Window,
    bytes: u64,
}

/// What came out.
#[derive(Debug, Default)]
struct Told {
    packets: u64,
    /// Packets that the level shows without bytes.
    denied: u64,
    /// Gaps by cause: their number, and the packets in them where known.
    gaps: BTreeMap<String, (u64, u64)>,
}

impl Export {
    /// Writes the packets; what there is to say goes to stderr, since packets may go to stdout.
    pub fn run(&self, node: &AdminNode) -> Result<(), AdminError> {
        if self.level < AccessLevel::Anonymized {
            return Err(AdminError::refused(
                format!("`{}` is no level of packets: it shows tables", self.level),
                "ask for anonymized, headers or payload; `como trace` gives the tables",
            ));
        }
        let filter = self.filter()?;
        let mut told = Told::default();
        let sources = sources(node, self.level, &mut told)?;
        let window = self.window(&sources)?;
        let sources: Vec<Source> = sources.into_iter().filter(|s| s.range.overlaps(window)).collect();
        one_epoch(filter.as_ref(), self.level, &sources)?;
        let output = Output::create(&self.output, self.force, self.format())?;
        self.decide(node, window, sources.iter().map(|s| s.bytes).sum())?;
        self.write(&sources, window, filter.as_ref(), output, &mut told)?;
        eprintln!("{}", told.text(self, window));
        Ok(())
    }

    fn filter(&self) -> Result<Option<Filter>, AdminError> {
        if self.filter.is_empty() {
            return Ok(None);
        }
        Filter::parse(&self.filter).map(Some).map_err(|error| {
            AdminError::refused(
                format!("the filter does not parse: {error}"),
                error.with_caret(&self.filter),
            )
        })
    }

    fn format(&self) -> Format {
        let by_name = match self.output.extension().and_then(|extension| extension.to_str()) {
            Some("pcap") => Format::Pcap,
            _ => Format::Pcapng,
        };
        self.format.unwrap_or(by_name)
    }

    /// As asked, within what the trace holds, outward to the grain of the level.
    fn window(&self, sources: &[Source]) -> Result<Window, AdminError> {
        let begin = sources.iter().map(|source| source.range.from_ns).min();
        let end = sources.iter().map(|source| source.range.to_ns).max();
        let (Some(begin), Some(end)) = (begin, end) else {
            return Err(AdminError::refused(
                "the trace has no packet that can be read",
                "`como-node trace info` shows what it has, and which keys are there",
            ));
        };
        let from = match self.last {
            Some(Span(span)) => end.saturating_sub(span),
            None => self.from.map_or(begin, |Moment(from)| from),
        };
        let to = self.to.map_or(end, |Moment(to)| to);
        let window = Window::new(from, to).map_err(|_| {
            AdminError::refused("the window ends before it begins", "give a --to after --from")
        })?;
        Ok(window.snap(self.level))
    }

    /// Asks the policy as it would be asked for anybody, and puts the access on record.
    fn decide(&self, node: &AdminNode, window: Window, bytes: u64) -> Result<(), AdminError> {
        let policy = match &node.config.policy.file {
            Some(file) => PolicyEngine::from_file(node.config.node.mode, file)?,
            None => PolicyEngine::builtin(node.config.node.mode)?,
        };
        let principal = Principal::Operator {
            id: node.config.node.name.to_string(),
        };
        let resource = Resource::Trace(TraceFacts {
            level: self.level,
            window,
            trace_coverage: window,
            bytes_estimated: bytes,
        });
        let decision = policy.decide(&Ask {
            principal: &principal,
            action: Action::DownloadTrace,
            resource: &resource,
            level: Some(self.level),
            window: Some(window),
            cost_bytes: bytes,
            now_ns: now_ns(),
        });
        let answer = match &decision {
            Decision::Allow { .. } => "allowed",
            Decision::Deny { .. } => "denied",
        };
        // The filter may name hosts: the log says only that there was one.
        let filtered = if self.filter.is_empty() {
            "all packets"
        } else {
            "filtered"
        };
        node.record(AdminEvent::new(
            "trace export",
            self.level.name(),
            "",
            format!(
                "{answer}: {} to {}, {filtered}",
                shown(window.from_ns),
                shown(window.to_ns)
            ),
        ))?;
        match decision {
            Decision::Allow { .. } => Ok(()),
            Decision::Deny { rule, .. } => Err(AdminError::refused(
                format!("the policy refuses: {rule}"),
                "ask for a lower level, or change the policy set in [policy]",
            )),
        }
    }

    fn write(
        &self,
        sources: &[Source],
        window: Window,
        filter: Option<&Filter>,
        mut output: Output,
        told: &mut Told,
    ) -> Result<(), AdminError> {
        let bar = progress_bar(sources.iter().map(|source| source.bytes).sum(), "exporting");
        for source in sources {
            for item in source.reader.window(window, self.level, GroupSet::ALL) {
                match item {
                    WindowItem::View(view) => {
                        let kept = cut(&view, window, filter);
                        put(&mut output, &view, &kept, told).map_err(|error| output.failed(error))?;
                    }
                    WindowItem::Gap(gap) => told.gap(gap.cause.as_str(), gap.packets),
                    WindowItem::Damaged(damage) => {
                        bar.suspend(|| {
                            eprintln!("{}: {}", source.name, first_line(&damage.what));
                        });
                        told.gap("damaged block", damage.packets);
                    }
                }
            }
            step(&bar, source);
        }
        bar.finish_and_clear();
        output.finish()
    }
}

fn step(bar: &ProgressBar, source: &Source) {
    bar.inc(source.bytes);
}

/// Rows within the window that the filter, which sees this very view, selects.
fn cut(view: &View, window: Window, filter: Option<&Filter>) -> Bitmap {
    let mut keep = Bitmap::of(&view.columns.ts_ns, |ts| window.contains(*ts));
    if let Some(filter) = filter {
        keep.and(&filter.eval(&view.columns));
    }
    keep
}

fn put(output: &mut Output, view: &View, kept: &Bitmap, told: &mut Told) -> Result<(), WriteError> {
    for row in kept.ones() {
        let data = view.frames.get(row).unwrap_or_default();
        let denied = view.columns.deny[row] != 0;
        told.denied += u64::from(denied && data.is_empty());
        told.packets += 1;
        output.packet(&Packet {
            ts_ns: view.columns.ts_ns[row],
            wire_len: view.columns.wire_len[row],
            link: view.link.0,
            data,
        })?;
    }
    Ok(())
}

/// All segments that the level's keys open, in order of time; those that they do not are told.
fn sources(node: &AdminNode, level: AccessLevel, told: &mut Told) -> Result<Vec<Source>, AdminError> {
    let mut maps = BTreeMap::new();
    let mut keyring = node.keyring.clone();
    let mut sources = Vec::new();
    for file in segment_files(&node.layout.trace())? {
        if file.kind == FileKind::Aside {
            continue;
        }
        let name = super::folder::name_of(&file.path);
        let reader = match File::open(&file.path)
            .map_err(TraceError::Io)
            .and_then(SegmentReader::open)
        {
            Ok(reader) => reader,
            Err(TraceError::Io(error)) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                eprintln!("{name}: {}", first_line(&error));
                told.gap("unreadable segment", None);
                continue;
            }
        };
        let packets = reader.footer().map(|footer| footer.packets);
        let keys = match keys(&node.keyring, &reader, level) {
            Ok(keys) => keys,
            Err(why) => {
                eprintln!("{name}: {why}");
                told.gap(&why, packets);
                continue;
            }
        };
        let map = map(&mut maps, &mut keyring, reader.header().mapping_epoch);
        let reader = reader.with_keys(&keys).with_audience(map);
        if let Some(range) = range(&reader) {
            sources.push(Source {
                bytes: file.path.metadata().map_or(0, |about| about.len()),
                range,
                reader,
                name,
            });
        }
    }
    sources.sort_by_key(|source| source.range.from_ns);
    Ok(sources)
}

/// The data keys of the sections of a level, and of no others, of a segment that this node wrote.
fn keys(
    keyring: &Keyring,
    reader: &SegmentReader,
    level: AccessLevel,
) -> Result<crate::trace::ReadKeys, String> {
    let verified = keyring.node_keys().iter().any(|key| reader.verify(key).is_ok());
    if !verified {
        return Err("not signed by this node".to_owned());
    }
    let header = reader.header();
    let wanted: &[Section] = match level {
        AccessLevel::Payload => &[Section::A, Section::R, Section::P],
        AccessLevel::Headers => &[Section::A, Section::R],
        _ => &[Section::A],
    };
    for section in wanted {
        if !header.retain.keeps(*section) {
            return Err(format!("not kept at {level}"));
        }
        if keyring
            .trace_identity_if_present(header.sealing_epoch, *section)
            .is_none()
        {
            return Err("keys destroyed, or kept elsewhere".to_owned());
        }
    }
    header
        .unwrap_keys(|section| {
            let identity = keyring.trace_identity_if_present(header.sealing_epoch, section);
            identity.filter(|_| wanted.contains(&section))
        })
        .map_err(|error| first_line(&error))
}

/// The node's own pseudonyms of a mapping epoch, for what `headers` hides; none where they are destroyed.
fn map(
    known: &mut BTreeMap<u32, Option<Arc<Anonymizer>>>,
    keyring: &mut Keyring,
    epoch: u32,
) -> Option<Arc<Anonymizer>> {
    known
        .entry(epoch)
        .or_insert_with(|| {
            keyring
                .mapping_key(epoch)
                .ok()
                .map(|key| Arc::new(Anonymizer::new(&key)))
        })
        .clone()
}

/// Packet times of a segment; `None`: it has no packet.
fn range(reader: &SegmentReader) -> Option<Window> {
    const NS_PER_MS: u64 = 1_000_000;
    let (first, last) = match reader.footer() {
        Some(footer) => (footer.packets > 0).then_some((footer.first_ns, footer.last_ns))?,
        None => reader
            .blocks()
            .flatten()
            .filter(|block| block.header.kind == BlockKind::Packets)
            .filter_map(|block| reader.time_range(&block).ok())
            .reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))?,
    };
    // Floored to 1 ms: the last packet may be up to that much later.
    Window::new(first, last.saturating_add(NS_PER_MS)).ok()
}

/// A pseudonym is one within its epoch only.
fn one_epoch(filter: Option<&Filter>, level: AccessLevel, sources: &[Source]) -> Result<(), AdminError> {
    let mut epochs = sources.iter().map(|source| source.reader.header().mapping_epoch);
    let first = epochs.next();
    if filter.is_some_and(|filter| filter.names_pseudonyms_at(level))
        && epochs.any(|epoch| Some(epoch) != first)
    {
        return Err(AdminError::refused(
            "the filter names pseudonyms, and the window has those of several epochs",
            "ask for a shorter window",
        ));
    }
    Ok(())
}

fn first_line(error: &TraceError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Where packets go: stdout, or a file that appears whole or not at all.
struct Output {
    target: PathBuf,
    format: Format,
    to: Option<To>,
    writer: Option<Writer<BufWriter<To>>>,
    force: bool,
}

enum To {
    Stdout(io::Stdout),
    File(tempfile::NamedTempFile),
}

impl Write for To {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File(file) => file.flush(),
        }
    }
}

impl Output {
    fn create(target: &Path, force: bool, format: Format) -> Result<Self, AdminError> {
        let to = if target == Path::new("-") {
            To::Stdout(io::stdout())
        } else {
            if target.exists() && !force {
                return Err(AdminError::refused(
                    format!("{} is there already", target.display()),
                    "name another file, or add --force to replace it",
                ));
            }
            let folder = match target.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder,
                _ => Path::new("."),
            };
            To::File(tempfile::NamedTempFile::new_in(folder).map_err(AdminError::file(target))?)
        };
        Ok(Self {
            target: target.to_owned(),
            format,
            to: Some(to),
            writer: None,
            force,
        })
    }

    /// The writer, made with the first packet: a pcap file tells its link type at its beginning.
    fn writer(&mut self, link: u32) -> Result<&mut Writer<BufWriter<To>>, WriteError> {
        if let Some(to) = self.to.take() {
            let out = BufWriter::new(to);
            self.writer = Some(match self.format {
                Format::Pcap => Writer::pcap(out, link, Resolution::Nanoseconds)?,
                Format::Pcapng => {
                    let section = FileSection {
                        application: concat!("como-node ", env!("CARGO_PKG_VERSION")),
                        ..FileSection::default()
                    };
                    Writer::pcapng(out, &section)?
                }
            });
        }
        self.writer
            .as_mut()
            .ok_or_else(|| WriteError::Output(io::Error::other("the output broke before")))
    }

    fn packet(&mut self, packet: &Packet<'_>) -> Result<(), WriteError> {
        self.writer(packet.link)?.packet(packet)
    }

    fn finish(mut self) -> Result<(), AdminError> {
        let begun = self.writer(LINK_OF_NOTHING).map(drop);
        begun.map_err(|error| self.failed(error))?;
        let Some(writer) = self.writer.take() else {
            return Ok(());
        };
        let io = AdminError::file(&self.target);
        let out = match writer.finish() {
            Ok(out) => out,
            Err(error) => return Err(self.failed(error)),
        };
        match out.into_inner() {
            Ok(To::Stdout(mut out)) => out.flush().map_err(io),
            Ok(To::File(file)) => {
                file.as_file()
                    .sync_all()
                    .map_err(AdminError::file(&self.target))?;
                let placed = match self.force {
                    true => file.persist(&self.target),
                    false => file.persist_noclobber(&self.target),
                };
                placed.map(drop).map_err(|error| io(error.error))
            }
            Err(error) => Err(io(error.into_error())),
        }
    }

    fn failed(&self, error: WriteError) -> AdminError {
        match error {
            WriteError::Output(why) => AdminError::file(&self.target)(why),
            other => {
                let text = other.to_string();
                let (what, fix) = text.split_once('\n').unwrap_or((&text, ""));
                AdminError::refused(what, fix)
            }
        }
    }
}

impl Told {
    fn gap(&mut self, cause: &str, packets: Option<u64>) {
        let (gaps, lost) = self.gaps.entry(cause.to_owned()).or_default();
        *gaps += 1;
        *lost += packets.unwrap_or(0);
    }

    fn text(&self, export: &Export, window: Window) -> String {
        let mut text = format!(
            "{} packets at {} from {} to {}",
            self.packets,
            export.level,
            shown(window.from_ns),
            shown(window.to_ns)
        );
        if self.denied > 0 {
            text += &format!("; {} of them without bytes, which the level denies", self.denied);
        }
        for (cause, (gaps, lost)) in &self.gaps {
            text += &format!("\nmissing: {gaps} x {cause}, {lost} packets known to be lost");
        }
        text
    }
}
