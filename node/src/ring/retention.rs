//! What the ring keeps: so many bytes, so long, and so much free space on the disk. The oldest go first. Must
//! never touch an open segment, and never remove anything before it is written down.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Ring, RingError};

/// When the oldest segment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// All segments together have at most this many bytes.
    pub max_bytes: u64,
    /// A segment is kept for at most this long after it was begun, wall time; `None`: as long as there is room.
    pub max_age: Option<Duration>,
    /// The disk keeps at least this many bytes free, whoever uses the others.
    pub keep_free_bytes: u64,
}

impl From<u64> for Retention {
    /// By bytes alone.
    fn from(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            max_age: None,
            keep_free_bytes: 0,
        }
    }
}

impl Ring {
    /// Removes the oldest ended segments until the ring is as its retention says. Age needs it to be called
    /// now and then; the ring itself calls it at every segment.
    pub fn expire(&mut self) -> Result<(), RingError> {
        loop {
            let stored = self.stored.first_key_value().map(|(ordinal, _)| *ordinal);
            let foreign = self.foreign.first_key_value().map(|(ordinal, _)| *ordinal);
            let Some(ordinal) = stored.into_iter().chain(foreign).min() else {
                return Ok(());
            };
            if !(self.is_too_large() || self.is_too_old(ordinal)) {
                return Ok(());
            }
            self.settle_open()?;
            if stored == Some(ordinal) {
                self.expire_stored(ordinal)?;
            } else if let Some(oldest) = self.foreign.get(&ordinal) {
                self.manifest.expire_foreign(ordinal, &oldest.path);
                self.manifest.save(&self.dir)?;
                oldest.destroy()?;
                self.foreign.remove(&ordinal);
            }
        }
    }

    fn expire_stored(&mut self, ordinal: u64) -> Result<(), RingError> {
        if let Some(oldest) = self.stored.get(&ordinal) {
            // Written down first: an expiry that is not recorded would be an unexplained hole.
            self.manifest.expire(ordinal, &oldest.info);
            self.manifest.save(&self.dir)?;
            oldest.destroy()?;
            self.stored.remove(&ordinal);
        }
        Ok(())
    }

    fn is_too_large(&self) -> bool {
        let keep_free = self.retention.keep_free_bytes;
        self.bytes() > self.retention.max_bytes
            // A disk that does not tell is no reason to delete.
            || (keep_free > 0 && free_bytes(&self.dir).is_some_and(|free| free < keep_free))
    }

    /// A clock that went back makes everything young: nothing is deleted because of it.
    fn is_too_old(&self, ordinal: u64) -> bool {
        let Some(max_age) = self.retention.max_age else {
            return false;
        };
        let begun = match (self.stored.get(&ordinal), self.foreign.get(&ordinal)) {
            (Some(stored), _) => {
                SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(stored.info.header.created_ns))
            }
            (None, Some(foreign)) => Some(foreign.modified),
            (None, None) => None,
        };
        begun
            .and_then(|begun| SystemTime::now().duration_since(begun).ok())
            .is_some_and(|age| age > max_age)
    }
}

/// Bytes of the file system that are free for its users; `None`: it does not tell.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}
