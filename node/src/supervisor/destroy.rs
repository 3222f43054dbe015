//! Keys that the operator destroys while the node runs: gone from the key file first, then from every process
//! that holds them. Must never make or hand out such a key again.

use como_keys::keyring::{Destroy, SEALING_EPOCH_NS};
use como_policies::Window;

use super::Supervisor;
use super::children::{ChildId, Purpose};
use super::jobs::State;
use crate::admin::DestroyOrder;
use crate::process::Role;

impl Supervisor {
    /// Ends the processes that hold keys of a destroyed day. What they had read is gone with them; a window over that
    /// day has a gap there from now on.
    pub(super) fn end_holders(&mut self, order: DestroyOrder) {
        self.opened.forget_all();
        let day = |epoch: u32| u64::from(epoch) * SEALING_EPOCH_NS;
        if let Ok(day) = Window::new(day(order.epoch), day(order.epoch.saturating_add(1))) {
            for id in self.jobs.running_over(day) {
                let what = "the keys of a day of its window were destroyed";
                self.end_job(&id, State::Failed, what, "Ask again: that day is a gap now.");
            }
        }
        // Who writes that day holds its data keys; it starts again with what it may still have.
        if self.capture_epoch == Some(order.epoch) {
            let trace = order.what() != Destroy::Records;
            let writers: Vec<ChildId> = self
                .children
                .iter()
                .filter(|(_, child)| match &child.purpose {
                    Purpose::Core => trace && child.role == Role::Capture,
                    Purpose::Export(_) => true,
                    Purpose::Job(_) => false,
                })
                .map(|(id, _)| id)
                .collect();
            writers.into_iter().for_each(|id| self.children.kill(id));
        }
    }
}
