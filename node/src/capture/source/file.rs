//! A capture file as a source: resumes exactly at an offset, keeps all before damage, and plays as fast
//! as possible or as recorded. Must never skip over damage as if nothing was there.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use como_savefile::{End, OpenError, Reader, Record};

use super::meter::Watch;
use super::{Event, Meter, PacketSource, Progress, SourceError, SourcePacket};
use crate::trace::{Gap, GapCause, MAX_CAPTURE_BYTES, ResumePoint, SourceId};

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

// Whatever a file gives fits the trace.
const _: () = assert!(como_savefile::MAX_PACKET_BYTES <= MAX_CAPTURE_BYTES);

/// A pcap or pcapng file.
pub struct FileSource {
    name: String,
    reader: Reader<File>,
    clock: Clock,
    last_ns: u64,
    ended: bool,
    watch: Watch,
    meter: Arc<Meter>,
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
        if file.metadata().is_ok_and(|about| about.is_dir()) {
            return Err(SourceError::Format {
                name: name.to_owned(),
                what: OpenError::Folder,
            });
        }
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
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        if resume.offset > file.metadata().map_err(io)?.len() {
            return Err(SourceError::Shrunk {
                name: name.to_owned(),
                offset: resume.offset,
            });
        }
        let mut reader = Reader::new(file).map_err(|error| match error {
            OpenError::Io(error) => io(error),
            what => SourceError::Format {
                name: name.to_owned(),
                what,
            },
        })?;
        reader.resume_at(resume.offset).map_err(io)?;
        Ok(Self {
            name: name.to_owned(),
            reader,
            clock: Clock { pace, first: None },
            last_ns: 0,
            ended: false,
            watch: Watch::new(u32::MAX),
            meter: Arc::default(),
        })
    }

    /// How far it is.
    pub fn meter(&self) -> Arc<Meter> {
        self.meter.clone()
    }
}

impl PacketSource for FileSource {
    fn read(&mut self, give: &mut dyn FnMut(Event<'_>)) -> Result<Progress, SourceError> {
        let progress = self.read_some(give);
        self.meter.offset.store(self.reader.offset(), Ordering::Relaxed);
        self.watch.tell(&self.meter);
        progress
    }

    fn is_live(&self) -> bool {
        false
    }
}

impl FileSource {
    fn read_some(&mut self, give: &mut dyn FnMut(Event<'_>)) -> Result<Progress, SourceError> {
        for _ in 0..RECORDS_PER_READ {
            if self.ended {
                return Ok(Progress::End);
            }
            let record = self.reader.peek().map_err(|error| SourceError::Io {
                name: self.name.clone(),
                error,
            })?;
            let end = match record {
                Record::Packet(packet, offset_after) => {
                    let wait = self.clock.due_in(packet.ts_ns);
                    if !wait.is_zero() {
                        thread::sleep(wait.min(LONGEST_SLEEP));
                        return Ok(Progress::Idle);
                    }
                    self.last_ns = packet.ts_ns;
                    self.watch.see(packet.ts_ns, packet.wire_len);
                    give(Event::Packet(SourcePacket {
                        ts_ns: packet.ts_ns,
                        wire_len: packet.wire_len,
                        link: packet.link,
                        data: packet.data,
                        offset_after,
                    }));
                    None
                }
                Record::Skipped => None,
                Record::End(end) => Some(end),
            };
            match end {
                None => self.reader.advance(),
                Some(end) => self.end(end, give),
            }
        }
        Ok(Progress::More)
    }

    /// What lies beyond damage is lost, however much that is.
    fn end(&mut self, end: End, give: &mut dyn FnMut(Event<'_>)) {
        self.ended = true;
        let cause = match end {
            End::Clean => return,
            End::Truncated => GapCause::SourceTruncated,
            End::Corrupt => GapCause::SourceCorrupt,
        };
        tracing::warn!(
            source = self.name,
            offset = self.reader.offset(),
            cause = cause.as_str(),
            "the source does not read on"
        );
        give(Event::Gap(Gap {
            from_ns: self.last_ns,
            to_ns: self.last_ns,
            cause,
            packets: None,
        }));
    }
}

/// When a packet is played.
struct Clock {
    pace: Pace,
    /// Packet time and wall time of the first packet played.
    first: Option<(u64, Instant)>,
}

impl Clock {
    /// How long until a packet is due.
    fn due_in(&mut self, ts_ns: u64) -> Duration {
        if self.pace == Pace::Fast {
            return Duration::ZERO;
        }
        let (first_ns, start) = *self.first.get_or_insert_with(|| (ts_ns, Instant::now()));
        Duration::from_nanos(ts_ns.saturating_sub(first_ns)).saturating_sub(start.elapsed())
    }
}
