//! What the pipeline's threads and its owner share: the stop flag, the acknowledged sequence, counters.
//! Must never hold packets.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::trace::GapCause;

/// How often a wait looks at the stop flag.
const WAKE: Duration = Duration::from_millis(50);

#[derive(Default)]
pub(super) struct Control {
    stop: AtomicBool,
    failed: AtomicBool,
    /// One more than the highest acknowledged sequence.
    acknowledged: Mutex<u64>,
    changed: Condvar,
    /// Why a file source did not read to its end.
    pub damage: OnceLock<GapCause>,
    pub counters: Counters,
    pub newest: Newest,
    pub losses: Losses,
}

/// Packets lost, by cause.
#[derive(Default)]
pub(super) struct Losses(Mutex<BTreeMap<&'static str, u64>>);

impl Losses {
    pub fn add(&self, cause: GapCause, packets: u64) {
        let mut causes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *causes.entry(cause.as_str()).or_default() += packets;
    }

    pub fn get(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The time up to which all is seen, ns: not a counter, but told beside them.
#[derive(Default)]
pub(super) struct Newest(AtomicU64);

impl Newest {
    pub fn raise(&self, ts_ns: u64) {
        self.0.fetch_max(ts_ns, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        /// Counters that only grow.
        #[derive(Default)]
        pub struct Counters { $($(#[$doc])* pub $name: AtomicU64,)* }

        /// The counters at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Snapshot { $($(#[$doc])* pub $name: u64,)* }

        impl Counters {
            /// Their present values.
            pub fn snapshot(&self) -> Snapshot {
                Snapshot { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}
counters! {
    /// Packets that the source gave.
    received_packets;
    /// Packets in sealed blocks.
    stored_packets;
    /// Their captured bytes.
    stored_bytes;
    /// Bytes of sealed blocks.
    sealed_bytes;
    /// Packets dropped because the queue was full.
    dropped_packets;
    /// Packets that the source says were lost before it: by the kernel, by the interface.
    lost_packets;
    /// Packets without a view below `payload`.
    denied_packets;
    /// Packets whose dissection panicked or that were set aside.
    undissected_packets;
    /// Packets that live modules did not get.
    shed_packets;
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

impl Control {
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A thread ended with an error.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    pub fn acknowledge(&self, sequence: u64) {
        let mut acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        *acknowledged = (*acknowledged).max(sequence + 1);
        self.changed.notify_all();
    }

    /// Waits until a sequence is acknowledged; false: told to stop meanwhile.
    pub fn wait_acknowledged(&self, sequence: u64) -> bool {
        let mut acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        while *acknowledged <= sequence {
            if self.stopped() {
                return false;
            }
            acknowledged = self
                .changed
                .wait_timeout(acknowledged, WAKE)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}
