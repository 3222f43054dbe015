//! A live link through libpcap: whole ring buffers at a time, losses counted per second. Must never be in
//! immediate mode (libpcap would fall back to TPACKET_V2) and never wait without end on a quiet link.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use como_anonymize::LinkType;
use pcap::{Active, Capture, Precision, Stat};

use super::meter::{Watch, longest_frame};
use super::{Event, Meter, PacketSource, Progress, SourceError, SourcePacket};
use crate::trace::{Gap, GapCause, MAX_CAPTURE_BYTES};

/// After this long, the kernel hands over a block that is not full.
const RETIRE_TIMEOUT_MS: i32 = 100;
/// Sleep when the ring was empty: a 256 MiB ring holds far more than arrives meanwhile.
const IDLE_SLEEP: Duration = Duration::from_millis(5);
/// How often the loss counters are read.
const STATS_INTERVAL: Duration = Duration::from_secs(1);
/// Packets taken from the ring in one call of `read`.
const PACKETS_PER_READ: usize = 8192;

/// How to capture on a link.
#[derive(Clone, Debug)]
pub struct LiveConfig {
    /// Interface name.
    pub interface: String,
    /// Bytes kept of each packet, at most [`MAX_CAPTURE_BYTES`].
    pub snap_bytes: usize,
    /// Bytes of the kernel's ring; libpcap may give less without saying so.
    pub buffer_bytes: usize,
    /// Whether to see other hosts' traffic.
    pub promiscuous: bool,
    /// The operator's capture filter, in libpcap's language.
    pub filter: Option<String>,
}

impl Default for LiveConfig {
    fn default() -> Self {
        Self {
            interface: "any".to_owned(),
            snap_bytes: MAX_CAPTURE_BYTES,
            buffer_bytes: 256 << 20,
            promiscuous: true,
            filter: None,
        }
    }
}

/// A link being captured.
pub struct LiveSource {
    interface: String,
    capture: Capture<Active>,
    link: u32,
    seen: Stat,
    stats_at: Instant,
    stats_from_ns: u64,
    delivered: u64,
    watch: Watch,
    meter: Arc<Meter>,
}

impl LiveSource {
    /// The interface's name.
    pub fn description(&self) -> &str {
        &self.interface
    }

    /// What the operator should know of the link.
    pub fn meter(&self) -> Arc<Meter> {
        self.meter.clone()
    }

    /// Opens the link. Needs CAP_NET_RAW, so before the role gives up its rights.
    pub fn open(config: &LiveConfig) -> Result<Self, SourceError> {
        let error = |error: pcap::Error| SourceError::Live {
            interface: config.interface.clone(),
            what: error.to_string(),
        };
        let buffer = i32::try_from(config.buffer_bytes).unwrap_or(i32::MAX);
        let mut capture = Capture::from_device(config.interface.as_str())
            .map_err(error)?
            .snaplen(config.snap_bytes.min(MAX_CAPTURE_BYTES) as i32)
            .buffer_size(buffer)
            .promisc(config.promiscuous)
            .timeout(RETIRE_TIMEOUT_MS)
            .immediate_mode(false)
            .precision(Precision::Nano)
            .open()
            .map_err(error)?;
        if let Some(filter) = &config.filter {
            capture.filter(filter, true).map_err(error)?;
        }
        let mut capture = capture.setnonblock().map_err(error)?;
        let link = link_type(capture.get_datalink().0);
        let seen = capture.stats().map_err(error)?;
        let longest = match LinkType(link) {
            LinkType::ETHERNET => longest_frame(&config.interface),
            _ => u32::MAX,
        };
        let meter = Meter::of_interface(&config.interface, config.buffer_bytes as u64);
        tracing::info!(interface = config.interface, link, "capturing");
        Ok(Self {
            interface: config.interface.clone(),
            capture,
            link,
            seen,
            stats_at: Instant::now(),
            stats_from_ns: wall_ns(),
            delivered: 0,
            watch: Watch::new(longest),
            meter: Arc::new(meter),
        })
    }

    /// Loss since the last call, as gap records. Called once a second, and once more at the end.
    pub fn losses(&mut self) -> Result<Vec<Gap>, SourceError> {
        let stats = self.capture.stats().map_err(|error| self.error(error))?;
        let (from_ns, to_ns) = (self.stats_from_ns, wall_ns());
        (self.stats_at, self.stats_from_ns) = (Instant::now(), to_ns);
        // The counters are 32 bits wide and wrap.
        let dropped = stats.dropped.wrapping_sub(self.seen.dropped);
        let interface_dropped = stats.if_dropped.wrapping_sub(self.seen.if_dropped);
        self.seen = stats;
        let gap = |cause, count: u32| {
            (count > 0).then(|| Gap {
                from_ns,
                to_ns,
                cause,
                packets: Some(count.into()),
            })
        };
        let gaps = [
            gap(GapCause::KernelDrop, dropped),
            gap(GapCause::InterfaceDrop, interface_dropped),
        ];
        Ok(gaps.into_iter().flatten().collect())
    }

    fn error(&self, error: pcap::Error) -> SourceError {
        SourceError::Live {
            interface: self.interface.clone(),
            what: error.to_string(),
        }
    }
}

impl PacketSource for LiveSource {
    fn read(&mut self, give: &mut dyn FnMut(Event<'_>)) -> Result<Progress, SourceError> {
        let (link, mut delivered) = (self.link, self.delivered);
        let watch = &mut self.watch;
        let taken = self.capture.dispatch(Some(PACKETS_PER_READ), |packet| {
            delivered += 1;
            let time = packet.header.ts;
            // With nanosecond precision, libpcap puts nanoseconds into the field named after microseconds.
            let ts_ns = time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64;
            watch.see(ts_ns, packet.header.len);
            let data = &packet.data[..packet.data.len().min(MAX_CAPTURE_BYTES)];
            give(Event::Packet(SourcePacket {
                ts_ns,
                wire_len: packet.header.len,
                link,
                data,
                offset_after: delivered,
            }));
        });
        self.delivered = delivered;
        self.watch.tell(&self.meter);
        let taken = match taken {
            Ok(taken) => taken,
            Err(pcap::Error::TimeoutExpired) => 0,
            Err(error) => return Err(self.error(error)),
        };
        if self.stats_at.elapsed() >= STATS_INTERVAL {
            self.losses()?.into_iter().for_each(|gap| give(Event::Gap(gap)));
        }
        if taken == 0 {
            thread::sleep(IDLE_SLEEP);
            return Ok(Progress::Idle);
        }
        Ok(Progress::More)
    }

    fn finish(&mut self, give: &mut dyn FnMut(Event<'_>)) -> Result<(), SourceError> {
        // One buffer at most: a busy link would never be empty.
        self.read(give)?;
        self.losses()?.into_iter().for_each(|gap| give(Event::Gap(gap)));
        Ok(())
    }

    fn is_live(&self) -> bool {
        true
    }
}

/// libpcap numbers raw IP differently on links (DLT_RAW) and in files (LINKTYPE_RAW).
fn link_type(datalink: i32) -> u32 {
    const DLT_RAW: i32 = 12;
    if datalink == DLT_RAW {
        LinkType::RAW.0
    } else {
        datalink as u32
    }
}

fn wall_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}
