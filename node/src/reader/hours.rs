//! The levels below packets: flows of whole hours, gathered from section A and released when an hour is over. Owns
//! what a request at `coarse` or `aggregate` gets; must never send a row that the thresholds held back.

use std::collections::HashMap;

use como_anonymize::View;
use como_anonymize::aggregate;
use como_anonymize::coarse::{self, Bin, Bins, FlowKey, FlowSums};
use como_dataset::Gap;
use como_keys::keyring::mapping_epoch;
use como_modules::tables;
use como_policies::AccessLevel;

use super::request::Request;
use crate::feed;
use crate::records::Stretch;
use crate::trace::TraceError;

/// What one block of the trace adds to its hours.
pub(super) struct Flows {
    flows: HashMap<(u64, FlowKey), FlowSums>,
    last_ns: u64,
}

/// Gathers the flows of a view at `anonymized` whose hours lie in the window.
pub(super) fn gather(request: &Request, view: &View) -> Flows {
    let mut flows = coarse::gather(&view.columns);
    flows.retain(|(bin_ns, _), _| request.window.contains(*bin_ns));
    Flows {
        flows,
        last_ns: view.columns.ts_ns.iter().copied().max().unwrap_or(0),
    }
}

/// The hours of a request.
pub(super) struct Hours<'a> {
    request: &'a Request,
    bins: Bins,
}

impl<'a> Hours<'a> {
    pub fn new(request: &'a Request) -> Self {
        Self {
            request,
            bins: Bins::default(),
        }
    }

    /// Takes the next block, in the order of the trace; the messages of hours that are over come out.
    pub fn take(&mut self, block: Flows) -> Result<Vec<Vec<u8>>, TraceError> {
        self.bins.add(block.flows, block.last_ns);
        let mut messages = Vec::new();
        while let Some(bin) = self.bins.pop_over() {
            messages.extend(self.release(&bin)?);
        }
        Ok(messages)
    }

    /// The trace of the window is read: its last hours, and what came too late for its own.
    pub fn finish(mut self) -> Result<Vec<Vec<u8>>, TraceError> {
        let mut messages = Vec::new();
        while let Some(bin) = self.bins.pop() {
            messages.extend(self.release(&bin)?);
        }
        if self.bins.late_packets() > 0 {
            messages.push(feed::encode_gap(&Gap {
                from_ns: self.request.window.from_ns,
                to_ns: self.request.window.to_ns,
                cause: "came too late for its hour".into(),
                count: Some(self.bins.late_packets()),
            }));
        }
        Ok(messages)
    }

    fn release(&self, bin: &Bin) -> Result<Vec<Vec<u8>>, TraceError> {
        let rows = |batch| {
            let hour = Stretch {
                from_ns: bin.start_ns,
                to_ns: bin.start_ns.saturating_add(coarse::BIN_NS),
                one_in: 1,
            };
            feed::encode_rows(hour, true, &como_dataset::encode_rows(&batch))
        };
        if self.request.view_level == AccessLevel::Aggregate {
            return Ok(vec![rows(tables::counter_rows(&aggregate::count(bin)))]);
        }
        let audience = self.request.anonymizer(mapping_epoch(bin.start_ns))?;
        let views = bin.release(audience).into_iter().map(|view| self.filtered(view));
        Ok(views
            .filter(|view| !view.is_empty())
            .map(|view| match self.request.tables {
                true => rows(tables::flow_rows(&view)),
                false => feed::encode_view(&view, false, Some(&self.request.sent)),
            })
            .collect())
    }

    /// The asker's filter sees what is released, and nothing before it.
    fn filtered(&self, view: View) -> View {
        match &self.request.filter {
            Some(filter) => view.select(&filter.eval(&view.columns)),
            None => view,
        }
    }
}
