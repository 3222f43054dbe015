//! Records on their way to storage: seals them, keeps them until storage has them on disk.

use std::collections::{BTreeMap, VecDeque};

use como_capnp::wire_capnp as wire;
use como_keys::sealing::Recipient;
use como_modules::IntervalRows;
use como_policies::AccessLevel;

use super::instance::{Live, OpenFile};
use crate::link::LinkSender;
use crate::records::{Header, Sealer, Stretch, metric};
use crate::wire as messages;

/// Items that wait for storage's acknowledgement; beyond it export takes no more packets.
const MAX_UNACKNOWLEDGED_ITEMS: usize = 1024;
/// Size from which on a record file is ended and another begun, bytes: files expire as a whole, and the oldest of a
/// ring of records must be able to go.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Epochs whose record keys are remembered.
const MAX_EPOCHS: usize = 8;

/// Public record keys, by sealing epoch and output level.
#[derive(Default)]
pub(super) struct RecordKeys(BTreeMap<u32, Vec<Recipient>>);

impl RecordKeys {
    /// Takes the keys that the supervisor sent.
    pub fn put(&mut self, keys: wire::epoch_keys::Reader<'_>) -> capnp::Result<()> {
        let list = keys.get_records()?;
        let recipients = list
            .iter()
            .map(|bytes| Recipient::from_bytes(bytes?).map_err(|e| capnp::Error::failed(e.to_string())))
            .collect::<capnp::Result<_>>()?;
        self.0.insert(keys.get_sealing_epoch(), recipients);
        while self.0.len() > MAX_EPOCHS {
            self.0.pop_first();
        }
        Ok(())
    }

    /// Whether the keys of an epoch are here.
    pub fn has(&self, epoch: u32) -> bool {
        self.0.contains_key(&epoch)
    }

    fn get(&self, epoch: u32, level: AccessLevel) -> Option<&Recipient> {
        self.0.get(&epoch)?.get(usize::from(level.as_u8()))
    }
}

/// Where records go.
#[derive(Default)]
pub(super) struct RecordSink {
    link: Option<LinkSender>,
    waiting: VecDeque<Vec<u8>>,
    acknowledged: u64,
}

impl RecordSink {
    /// A new link: everything that was not acknowledged is sent again; storage drops what it has.
    pub fn connect(&mut self, link: LinkSender) {
        self.link = Some(link);
        self.acknowledged = 0;
        for at in 0..self.waiting.len() {
            self.transmit(at);
        }
    }

    /// Storage is away; items wait.
    pub fn disconnect(&mut self) {
        self.link = None;
    }

    /// Whether too much waits.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_UNACKNOWLEDGED_ITEMS
    }

    /// Storage has taken items of this link onto the disk.
    pub fn acknowledged(&mut self, message: &[u8]) -> capnp::Result<()> {
        let message = como_capnp::read_message(message)?;
        let ack: wire::store_ack::Reader<'_> = message.get_root()?;
        if let wire::store_ack::Which::RecordsAcknowledged(count) = ack.which()? {
            let new = count
                .saturating_sub(self.acknowledged)
                .min(self.waiting.len() as u64);
            self.waiting.drain(..new as usize);
            self.acknowledged = count;
        }
        Ok(())
    }

    /// Seals one interval into the instance's record file of its epoch, and sends it. Where the records of an earlier run
    /// end before it, the stretch between is marked: one incomplete block without rows.
    pub fn store(&mut self, live: &mut Live, keys: &RecordKeys, epoch: u32, interval: &IntervalRows) {
        let fits = |file: &OpenFile| file.epoch == epoch && file.bytes < MAX_FILE_BYTES;
        if !live.file.as_ref().is_some_and(fits) {
            self.close(live);
            self.open(live, keys, epoch);
        }
        let (from, to) = (interval.interval_start_ns, interval.interval_end_ns);
        // Between these and the records of an earlier run nothing was computed.
        if let Some(end_ns) = live.stored_to_ns.take().filter(|end_ns| *end_ns < from) {
            let gap = Stretch {
                from_ns: end_ns,
                to_ns: from,
                one_in: 1,
            };
            self.put(live, gap, false, b"");
        }
        let rows = como_dataset::encode_rows(&interval.rows);
        let of = Stretch {
            from_ns: from,
            to_ns: to,
            one_in: interval.sampled,
        };
        self.put(live, of, interval.complete, &rows);
    }

    fn put(&mut self, live: &mut Live, of: Stretch, complete: bool, rows: &[u8]) {
        let Some(file) = &mut live.file else { return };
        let block = file.sealer.seal(of, complete, rows);
        file.bytes += block.len() as u64;
        live.stored_bytes += block.len() as u64;
        let item = messages::store_item(|item| {
            let mut to = item.init_record_block();
            to.set_file(&file.name);
            to.set_bytes(&block);
        });
        self.send(item);
    }

    /// No more blocks come to the instance's file.
    pub fn close(&mut self, live: &mut Live) {
        if let Some(file) = live.file.take() {
            self.send(messages::store_item(|item| {
                item.init_record_close().set_file(&file.name)
            }));
        }
    }

    fn open(&mut self, live: &mut Live, keys: &RecordKeys, epoch: u32) {
        let manifest = &live.manifest;
        let Some(recipient) = keys.get(epoch, manifest.output_level) else {
            return;
        };
        let metric = metric(
            &manifest.wasm_sha256,
            &manifest.filter,
            &live.arguments,
            &live.audience,
            manifest.level,
            manifest.interval_ns,
        );
        let (key, wrapped) = Header::wrap_key(&metric, recipient);
        let header = Header {
            metric,
            name: manifest.name.clone(),
            release: manifest.release,
            wasm_sha256: manifest.wasm_sha256,
            arguments: live.arguments.clone(),
            audience: live.audience.clone(),
            level: manifest.level,
            output_level: manifest.output_level,
            interval_ns: manifest.interval_ns,
            sealing_epoch: epoch,
            key: wrapped,
            instance: live.id,
        };
        let name = format!(
            "{}-{}-{:x}.rec",
            live.id,
            epoch,
            u64::from_le_bytes(como_keys::random())
        );
        let item = messages::store_item(|item| {
            let mut to = item.init_record_open();
            to.set_file(&name);
            to.set_header(&header.to_message());
        });
        live.file = Some(OpenFile {
            name,
            epoch,
            sealer: Sealer::new(&key),
            bytes: 0,
        });
        self.send(item);
    }

    fn send(&mut self, item: Vec<u8>) {
        self.waiting.push_back(item);
        self.transmit(self.waiting.len() - 1);
    }

    fn transmit(&mut self, at: usize) {
        if let (Some(link), Some(item)) = (&mut self.link, self.waiting.get(at))
            && link.send_bytes(item, &[]).is_err()
        {
            self.link = None;
        }
    }
}
