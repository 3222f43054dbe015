//! A capture file as a source: resumes exactly at an offset, keeps all before damage, and plays as fast
//! as possible or as recorded. Must never skip over damage as if nothing was there.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::thread;
use std::time::{Duration, Instant};

use super::buffer::{Record, Window};
use super::pcap::{FILE_HEADER_BYTES, Pcap};
use super::pcapng::Pcapng;
use super::{Event, PacketSource, Progress, SourceError, SourcePacket};
use crate::trace::{Gap, GapCause, ResumePoint, SourceId};

/// Records given in one call of `read`.
const RECORDS_PER_READ: usize = 1024;
/// Longest sleep within `read` when playing as recorded.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);
/// First bytes of a file that, with its name, make its source id.
const IDENTITY_BYTES: u64 = 4096;

/// How fast a file is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// As fast as storage takes it.
    #[default]
    Fast,
    /// With the pauses of the recording.
    Recorded,
}

enum Format {
    Pcap(Pcap),
    Pcapng(Pcapng),
}

/// A pcap or pcapng file.
pub struct FileSource {
    name: String,
    format: Format,
    window: Window<File>,
    pace: Pace,
    /// Packet time and wall time of the first packet played.
    clock: Option<(u64, Instant)>,
    last_ns: u64,
    ended: bool,
}

/// The id of a file: of its name and its first bytes, so that another file under the same name is another
/// source. A file shorter than those bytes must not grow between runs.
pub(super) fn identity(name: &str, file: &mut File) -> std::io::Result<SourceId> {
    let mut head = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(IDENTITY_BYTES).read_to_end(&mut head)?;
    let digest = como_keys::digest::blake3(&[b"como file source\0", name.as_bytes(), b"\0", &head].concat());
    Ok(SourceId(*digest.first_chunk().expect("BLAKE3 has 32 bytes")))
}

impl FileSource {
    /// The id under which storage keeps the file's resume point.
    pub fn id(name: &str, file: &mut File) -> Result<SourceId, SourceError> {
        identity(name, file).map_err(|error| SourceError::Io {
            name: name.to_owned(),
            error,
        })
    }

    /// Opens a file that stands anywhere, to continue at `resume`.
    pub fn new(name: &str, mut file: File, resume: ResumePoint, pace: Pace) -> Result<Self, SourceError> {
        let io = |error| SourceError::Io {
            name: name.to_owned(),
            error,
        };
        let format_error = |what| SourceError::Format {
            name: name.to_owned(),
            what,
        };
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        if resume.offset > file.metadata().map_err(io)?.len() {
            return Err(SourceError::Shrunk {
                name: name.to_owned(),
                offset: resume.offset,
            });
        }
        let mut window = Window::new(file.try_clone().map_err(io)?, 0);
        let head = window.peek(FILE_HEADER_BYTES).map_err(io)?;
        let format = if head.is_empty() {
            return Err(format_error("it is empty"));
        } else if let Some(pcapng) = Pcapng::parse(head) {
            Format::Pcapng(pcapng)
        } else if let Some(pcap) = Pcap::parse(head) {
            window.consume(FILE_HEADER_BYTES);
            Format::Pcap(pcap)
        } else {
            return Err(format_error("it starts with neither magic number"));
        };
        let mut source = Self {
            name: name.to_owned(),
            format,
            window,
            pace,
            clock: None,
            last_ns: 0,
            ended: false,
        };
        source.skip_to(file, resume.offset)?;
        Ok(source)
    }

    /// A pcap file is entered at any record; a pcapng file is walked, because its interfaces come before.
    fn skip_to(&mut self, mut file: File, offset: u64) -> Result<(), SourceError> {
        let io = |name: &str, error| SourceError::Io {
            name: name.to_owned(),
            error,
        };
        if let Format::Pcap(_) = self.format {
            if offset > self.window.offset() {
                file.seek(SeekFrom::Start(offset))
                    .map_err(|error| io(&self.name, error))?;
                self.window = Window::new(file, offset);
            }
            return Ok(());
        }
        while self.window.offset() < offset {
            match self.next().map_err(|error| io(&self.name, error))? {
                Record::Packet { record_bytes, .. } | Record::Other { record_bytes } => {
                    self.window.consume(record_bytes)
                }
                _ => break,
            }
        }
        Ok(())
    }

    fn next(&mut self) -> std::io::Result<Record> {
        match &mut self.format {
            Format::Pcap(pcap) => pcap.next(&mut self.window),
            Format::Pcapng(pcapng) => pcapng.next(&mut self.window),
        }
    }

    /// How long until a packet is due.
    fn due_in(&mut self, ts_ns: u64) -> Duration {
        if self.pace == Pace::Fast {
            return Duration::ZERO;
        }
        let (first_ns, start) = *self.clock.get_or_insert_with(|| (ts_ns, Instant::now()));
        Duration::from_nanos(ts_ns.saturating_sub(first_ns)).saturating_sub(start.elapsed())
    }

    fn loss(&self, cause: GapCause) -> Gap {
        Gap {
            from_ns: self.last_ns,
            to_ns: self.last_ns,
            cause,
            packets: None,
        }
    }
}

impl PacketSource for FileSource {
    fn read(&mut self, give: &mut dyn FnMut(Event<'_>)) -> Result<Progress, SourceError> {
        for _ in 0..RECORDS_PER_READ {
            if self.ended {
                return Ok(Progress::End);
            }
            let record = self.next().map_err(|error| SourceError::Io {
                name: self.name.clone(),
                error,
            })?;
            match record {
                Record::Packet {
                    ts_ns,
                    wire_len,
                    link,
                    data,
                    record_bytes,
                } => {
                    let wait = self.due_in(ts_ns);
                    if !wait.is_zero() {
                        thread::sleep(wait.min(LONGEST_SLEEP));
                        return Ok(Progress::Idle);
                    }
                    self.last_ns = ts_ns;
                    let offset_after = self.window.offset() + record_bytes as u64;
                    let data = &self.window.peeked(record_bytes)[data];
                    give(Event::Packet(SourcePacket {
                        ts_ns,
                        wire_len,
                        link,
                        data,
                        offset_after,
                    }));
                    self.window.consume(record_bytes);
                }
                Record::Other { record_bytes } => self.window.consume(record_bytes),
                Record::End => self.ended = true,
                Record::Truncated | Record::Corrupt => {
                    let truncated = matches!(record, Record::Truncated);
                    let cause = if truncated {
                        GapCause::SourceTruncated
                    } else {
                        GapCause::SourceCorrupt
                    };
                    tracing::warn!(
                        source = self.name,
                        offset = self.window.offset(),
                        cause = cause.as_str(),
                        "the source does not read on"
                    );
                    give(Event::Gap(self.loss(cause)));
                    self.ended = true;
                }
            }
        }
        Ok(Progress::More)
    }

    fn is_live(&self) -> bool {
        false
    }
}
