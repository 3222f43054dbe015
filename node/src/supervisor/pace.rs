//! Readers go slower while capture is under pressure: what capture reports becomes what each reader may read, and what
//! commands that read the trace are told. Must never be what capture waits for.

use super::Supervisor;
use super::children::ChildId;
use crate::allowance::{UNLIMITED, of_pressure};
use crate::process::Role;
use crate::wire::down;

impl Supervisor {
    /// What each reader may read now, bytes/s; `None`: as fast as it can.
    pub(super) fn reading_rate(&self) -> Option<u64> {
        let rate = of_pressure(self.roles.capture.pressure, self.readers().len());
        (rate != UNLIMITED).then_some(rate)
    }

    /// Tells every reader, where there is anything to tell: with each report of capture, and to a reader that starts.
    pub(super) fn pace_readers(&mut self) {
        let rate = self.reading_rate();
        let holding = rate.map(|_| (self.roles.capture.pressure, self.readers().len()));
        if let Err(error) = self.told_pressure.tell(holding) {
            tracing::warn!("an export of the trace may read as fast as it can: {error}");
        }
        if rate.is_none() && !self.readers_are_paced {
            return;
        }
        self.readers_are_paced = rate.is_some();
        let message = down(|mut down| down.set_allowance(rate.unwrap_or(UNLIMITED)));
        for reader in self.readers() {
            self.children.send(reader, message.clone());
        }
    }

    fn readers(&self) -> Vec<ChildId> {
        let running = self.children.iter();
        running
            .filter(|(_, child)| child.role == Role::Reader)
            .map(|(id, _)| id)
            .collect()
    }
}
