//! What modules use: packets, fuel, time, memory, bytes stored, by module and since this start of the node. Counts
//! only; must never decide what becomes of a module.

use std::collections::BTreeMap;

use como_capnp::wire_capnp as wire;
use serde::Serialize;

/// What one run of a module used. All but the memory only grows while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Usage {
    /// Packets handed to it: those that its filter selects.
    pub packets: u64,
    /// Units of fuel.
    pub fuel: u64,
    /// Time inside the guest, ns of wall time.
    pub wall_ns: u64,
    /// Rows that it gave.
    pub rows: u64,
    /// Intervals that it finished.
    pub intervals: u64,
    /// The guest's memory, bytes.
    pub memory_bytes: u64,
    /// Its sealed records, bytes.
    pub stored_bytes: u64,
}

impl Usage {
    /// What export reports of an instance.
    pub fn reported(usage: wire::module_usage::Reader<'_>) -> Self {
        Self {
            packets: usage.get_packets(),
            fuel: usage.get_fuel(),
            wall_ns: usage.get_wall_ns(),
            rows: usage.get_rows(),
            intervals: usage.get_intervals(),
            memory_bytes: usage.get_memory_bytes(),
            stored_bytes: usage.get_stored_bytes(),
        }
    }

    /// What a runner reports of a query; what it stored is a dataset, which is not the node's.
    pub fn of_query(finished: wire::finished::Reader<'_>) -> Self {
        Self {
            packets: finished.get_packets(),
            fuel: finished.get_fuel(),
            wall_ns: finished.get_wall_ns(),
            rows: finished.get_rows(),
            memory_bytes: finished.get_memory_bytes(),
            ..Self::default()
        }
    }

    /// Both together, of runs one after the other: memory is that of the larger.
    pub fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets.saturating_add(other.packets),
            fuel: self.fuel.saturating_add(other.fuel),
            wall_ns: self.wall_ns.saturating_add(other.wall_ns),
            rows: self.rows.saturating_add(other.rows),
            intervals: self.intervals.saturating_add(other.intervals),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
            stored_bytes: self.stored_bytes.saturating_add(other.stored_bytes),
        }
    }

    /// What came since an earlier report of the same run.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(earlier.packets),
            fuel: self.fuel.saturating_sub(earlier.fuel),
            wall_ns: self.wall_ns.saturating_sub(earlier.wall_ns),
            rows: self.rows.saturating_sub(earlier.rows),
            intervals: self.intervals.saturating_sub(earlier.intervals),
            memory_bytes: self.memory_bytes,
            stored_bytes: self.stored_bytes.saturating_sub(earlier.stored_bytes),
        }
    }
}

/// The account of one module.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Account {
    /// Runs on the live stream that ended.
    pub live: Usage,
    /// Queries over the past trace.
    pub on_demand: Usage,
    /// How many of these.
    pub queries: u64,
}

/// The accounts of all modules, by the hash of their code.
#[derive(Default)]
pub(super) struct Accounts(BTreeMap<[u8; 32], Account>);

impl Accounts {
    /// The account of a module.
    pub fn of(&self, hash: &[u8; 32]) -> Account {
        self.0.get(hash).copied().unwrap_or_default()
    }

    /// A run on the live stream ended, or said more after its end.
    pub fn add_live(&mut self, hash: &[u8; 32], usage: Usage) {
        let account = self.0.entry(*hash).or_default();
        account.live = account.live.plus(usage);
    }

    /// A query ended; `ran` tells whether it was computed over the past trace. From records, only the module's `merge` and
    /// `load` had something to do.
    pub fn add_query(&mut self, hash: &[u8; 32], usage: Usage, ran: bool) {
        let account = self.0.entry(*hash).or_default();
        account.on_demand = account.on_demand.plus(usage);
        account.queries += u64::from(ran);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_add_up_and_memory_is_that_of_the_largest() {
        let one = Usage {
            packets: 10,
            fuel: 100,
            memory_bytes: 64,
            ..Usage::default()
        };
        let later = Usage { packets: 15, ..one };
        let mut accounts = Accounts::default();
        accounts.add_live(&[1; 32], one);
        accounts.add_live(&[1; 32], later.since(one));
        accounts.add_query(&[1; 32], one, true);
        let account = accounts.of(&[1; 32]);
        assert_eq!(
            (account.live.packets, account.live.fuel, account.live.memory_bytes),
            (15, 100, 64)
        );
        assert_eq!((account.on_demand.packets, account.queries), (10, 1));
        assert_eq!(accounts.of(&[2; 32]).live, Usage::default());
    }
}
