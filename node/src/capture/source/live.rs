//! A live link through libpcap: whole ring buffers at a time, losses counted per second. Must never be in
//! immediate mode (libpcap would fall back to TPACKET_V2) and never wait without end on a quiet link.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use como_anonymize::LinkType;
use pcap::{Active, Capture, Precision};

use super::meter::{Watch, longest_frame};
use super::ring::RingCounts;
use super::{Event, Meter, PacketSource, Progress, SourceError, SourcePacket};
use crate::trace::{Gap, MAX_CAPTURE_BYTES};

/// After this long, the kernel hands over a block that is not full.
const RETIRE_TIMEOUT: Duration = Duration::from_millis(100);
/// Sleep when the ring was empty: a 256 MiB ring holds far more than arrives meanwhile.
const IDLE_SLEEP: Duration = Duration::from_millis(5);
/// How often losses become gap records.
const LOSSES_EVERY: Duration = Duration::from_secs(1);
/// How often the kernel's counters are read.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Packets taken from the ring in one call of `read`: few enough that blocks for them fit in what is kept free.
const PACKETS_PER_READ: usize = 1024;
/// What the ring holds of a packet beside its bytes, about (`struct tpacket3_hdr`, the address, alignment).
const RING_OVERHEAD_BYTES: u64 = 96;

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
    counts: RingCounts,
    looked_at: Instant,
    told_at: Instant,
    told_from_ns: u64,
    delivered: u64,
    delivered_bytes: u64,
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
            .timeout(RETIRE_TIMEOUT.as_millis() as i32)
            .immediate_mode(false)
            .precision(Precision::Nano)
            .open()
            .map_err(error)?;
        if let Some(filter) = &config.filter {
            capture.filter(filter, true).map_err(error)?;
        }
        let mut capture = capture.setnonblock().map_err(error)?;
        let link = link_type(capture.get_datalink().0);
        let begin = capture.stats().map_err(error)?;
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
            counts: RingCounts::since(begin, config.filter.is_some()),
            looked_at: Instant::now(),
            told_at: Instant::now(),
            told_from_ns: wall_ns(),
            delivered: 0,
            delivered_bytes: 0,
            watch: Watch::new(longest),
            meter: Arc::new(meter),
        })
    }

    /// Reads the kernel's counters when it is time; loss since it was last told becomes gap records, once a second.
    fn look(&mut self, give: &mut dyn FnMut(Event<'_>)) -> Result<(), SourceError> {
        if self.looked_at.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        self.count()?;
        if self.told_at.elapsed() >= LOSSES_EVERY {
            self.losses().into_iter().for_each(|gap| give(Event::Gap(gap)));
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), SourceError> {
        self.looked_at = Instant::now();
        let stats = self.capture.stats().map_err(|error| self.error(error))?;
        self.counts.see(stats);
        let packet_bytes = RING_OVERHEAD_BYTES + self.delivered_bytes / self.delivered.max(1);
        let held_bytes = self.held().saturating_mul(packet_bytes);
        self.meter.hold(held_bytes);
        Ok(())
    }

    /// Packets in the ring that were not read yet, when the counters were read.
    fn held(&self) -> u64 {
        self.counts.kept().saturating_sub(self.delivered)
    }

    fn losses(&mut self) -> Vec<Gap> {
        let (from_ns, to_ns) = (self.told_from_ns, wall_ns());
        (self.told_at, self.told_from_ns) = (Instant::now(), to_ns);
        let gap = |(cause, packets)| {
            (packets > 0).then_some(Gap {
                from_ns,
                to_ns,
                cause,
                packets: Some(packets),
            })
        };
        self.counts.take_losses().into_iter().filter_map(gap).collect()
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
        let (link, mut delivered, mut bytes) = (self.link, self.delivered, self.delivered_bytes);
        let watch = &mut self.watch;
        let taken = self.capture.dispatch(Some(PACKETS_PER_READ), |packet| {
            delivered += 1;
            let time = packet.header.ts;
            // With nanosecond precision, libpcap puts nanoseconds into the field named after microseconds.
            let ts_ns = time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64;
            watch.see(ts_ns, packet.header.len);
            let data = &packet.data[..packet.data.len().min(MAX_CAPTURE_BYTES)];
            bytes += data.len() as u64;
            give(Event::Packet(SourcePacket {
                ts_ns,
                wire_len: packet.header.len,
                link,
                data,
                offset_after: delivered,
            }));
        });
        (self.delivered, self.delivered_bytes) = (delivered, bytes);
        self.watch.tell(&self.meter);
        let taken = match taken {
            Ok(taken) => taken,
            Err(pcap::Error::TimeoutExpired) => 0,
            Err(error) => return Err(self.error(error)),
        };
        self.look(give)?;
        if taken == 0 {
            thread::sleep(IDLE_SLEEP);
            return Ok(Progress::Idle);
        }
        Ok(Progress::More)
    }

    fn wait(&mut self, give: &mut dyn FnMut(Event<'_>)) -> Result<(), SourceError> {
        thread::sleep(IDLE_SLEEP);
        self.look(give)
    }

    /// What was in the ring when capture was told to stop, and no more: a busy link would never be empty.
    fn finish(&mut self, give: &mut dyn FnMut(Event<'_>)) -> Result<(), SourceError> {
        self.count()?;
        let (until, mut progress_at) = (self.counts.kept(), Instant::now());
        // A block that is not full comes late.
        while self.delivered < until && progress_at.elapsed() < 2 * RETIRE_TIMEOUT {
            if self.read(give)? == Progress::More {
                progress_at = Instant::now();
            }
        }
        self.count()?;
        self.losses().into_iter().for_each(|gap| give(Event::Gap(gap)));
        Ok(())
    }

    fn is_live(&self) -> bool {
        true
    }

    fn has_ring(&self) -> bool {
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
