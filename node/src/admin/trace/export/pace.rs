//! An export keeps to what a running node allows: capture comes first. Must never wait for a node that does not run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::admin::events::running_supervisor;
use crate::allowance::told;
use crate::allowance::{Bucket, UNLIMITED};
use crate::config::Layout;

/// How often the node is asked.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// What an export may read, and has read.
#[derive(Default)]
pub(super) struct Pace {
    bucket: Bucket,
    /// Bytes of the trace that were read so far.
    pub read_bytes: Arc<AtomicU64>,
}

impl Pace {
    /// Hears what the node allows, again and again until nobody holds the other end of `ended`.
    pub fn listen(&self, layout: &Layout, ended: &Receiver<()>) {
        while ended.recv_timeout(ASK_EVERY) == Err(RecvTimeoutError::Timeout) {
            self.hear(layout);
        }
        // Workers may still wait, for nobody.
        self.bucket.set_rate(UNLIMITED);
    }

    /// Waits until what was read so far is allowed.
    pub fn settle(&self) {
        self.bucket.settle(self.read_bytes.load(Ordering::Relaxed));
    }

    /// For how long the export's threads waited together.
    pub fn paused(&self) -> Duration {
        Duration::from_nanos(self.bucket.paused_ns())
    }

    /// Hears what the node allows now.
    pub fn hear(&self, layout: &Layout) {
        let allowed = told::rate(&layout.pressure());
        let holds = allowed != UNLIMITED && running_supervisor(layout).is_some();
        self.bucket.set_rate(if holds { allowed } else { UNLIMITED });
    }
}
