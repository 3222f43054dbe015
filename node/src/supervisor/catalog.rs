//! What the node has: segments of the trace and stored records, as storage reports them.
//! Holds metadata only; must never open a segment.

use std::collections::BTreeMap;

use como_policies::Window;

/// How a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentEnd {
    /// Still being written.
    Open,
    /// Its footer is there, signed by capture.
    Sealed,
    /// Its writer died: the trace says so wherever this segment is read.
    Unsealed,
}

/// One segment.
#[derive(Clone, Debug)]
pub struct Segment {
    /// File name in the segments directory.
    pub file: String,
    /// How it ended.
    pub end: SegmentEnd,
    /// Day of packet time whose identities wrap its keys.
    pub sealing_epoch: u32,
    /// Epoch of its pseudonyms.
    pub mapping_epoch: u32,
    /// Packet time of its start, ns.
    pub first_ns: u64,
    /// Packet time of its last packet, ns; `None` while unknown.
    pub last_ns: Option<u64>,
    /// Packets, where known.
    pub packets: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes that were captured.
    pub captured_bytes: u64,
    /// Bytes on disk of sections A, R and P, where a footer tells.
    pub section_bytes: [Option<u64>; 3],
    /// Packets lost, as recorded in gaps.
    pub lost: u64,
}

/// Packet times that a record file holds without a hole, sampled alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// Its file name.
    pub file: String,
    /// The covered window.
    pub window: Window,
    /// One packet in so many was looked at; 1: all.
    pub one_in: u32,
}

/// Identifies what records were computed by: module hash, filter, arguments, audience, level.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricKey(pub [u8; 32]);

/// All segments and records.
#[derive(Default)]
pub struct Catalog {
    segments: BTreeMap<[u8; 16], Segment>,
    records: BTreeMap<MetricKey, Vec<Coverage>>,
    /// Newest packet time that capture reported, ns.
    pub now_ns: u64,
}

impl Catalog {
    /// Takes the state of a segment as storage reports it.
    pub fn put_segment(&mut self, id: [u8; 16], segment: Segment) {
        if let Some(last) = segment.last_ns {
            self.now_ns = self.now_ns.max(last);
        }
        self.segments.insert(id, segment);
    }

    /// Forgets an expired segment.
    pub fn remove_segment(&mut self, id: &[u8; 16]) {
        self.segments.remove(id);
    }

    /// Forgets everything; storage reports it all again when it starts.
    pub fn clear(&mut self) {
        self.segments.clear();
        self.records.clear();
    }

    /// All segments by id.
    pub fn segments(&self) -> impl Iterator<Item = (&[u8; 16], &Segment)> {
        self.segments.iter()
    }

    /// Segments that may hold packets of a window, in order of time. A segment whose end is unknown may
    /// reach up to the newest packet time.
    pub fn segments_in(&self, window: Window) -> Vec<([u8; 16], Segment)> {
        let mut found: Vec<_> = self
            .segments
            .iter()
            .filter(|(_, s)| s.first_ns < window.to_ns && self.end_of(s) >= window.from_ns)
            .map(|(id, s)| (*id, s.clone()))
            .collect();
        found.sort_by_key(|(id, s)| (s.first_ns, *id));
        found
    }

    fn end_of(&self, segment: &Segment) -> u64 {
        segment.last_ns.unwrap_or(self.now_ns.max(segment.first_ns))
    }

    /// The share of a segment's `total` that falls into a window, if it is spread evenly over its time; rounded up.
    pub fn share(&self, segment: &Segment, window: Window, total: u64) -> u64 {
        let (first, end) = (segment.first_ns, self.end_of(segment).saturating_add(1));
        let overlap = window.to_ns.min(end).saturating_sub(window.from_ns.max(first));
        let span = u128::from(end.saturating_sub(first).max(1));
        let share = (u128::from(total) * u128::from(overlap)).div_ceil(span);
        u64::try_from(share).unwrap_or(total).min(total)
    }

    /// Packet times that the trace reaches from and to, `None` where it is empty.
    pub fn coverage(&self) -> Option<Window> {
        let from = self.segments.values().map(|s| s.first_ns).min()?;
        let to = self
            .segments
            .values()
            .map(|s| self.end_of(s))
            .max()?
            .saturating_add(1);
        Window::new(from, to).ok()
    }

    /// Takes what a record file covers now.
    pub fn put_records(&mut self, metric: MetricKey, coverage: Coverage, new_stretch: bool) {
        let list = self.records.entry(metric).or_default();
        match list.iter_mut().rev().find(|c| c.file == coverage.file) {
            Some(known) if !new_stretch => *known = coverage,
            _ => list.push(coverage),
        }
    }

    /// Forgets an expired record file.
    pub fn remove_records(&mut self, file: &str) {
        for list in self.records.values_mut() {
            list.retain(|c| c.file != file);
        }
        self.records.retain(|_, list| !list.is_empty());
    }

    /// Stretches of records within a window, cut to it, in order of time, and what they leave out. `samples`: whether
    /// those count of which only some of the packets were looked at.
    pub fn records_within(
        &self,
        metric: &MetricKey,
        window: Window,
        samples: bool,
    ) -> (Vec<Coverage>, Vec<Window>) {
        let mut list: Vec<&Coverage> = self
            .records
            .get(metric)
            .into_iter()
            .flatten()
            .filter(|c| c.window.overlaps(window) && (samples || c.one_in == 1))
            .collect();
        list.sort_by_key(|c| c.window.from_ns);
        let (mut reached, mut stretches, mut holes) = (window.from_ns, Vec::new(), Vec::new());
        for coverage in list {
            if coverage.window.to_ns <= reached {
                continue; // Computed twice: the first counts.
            }
            holes.extend(Window::new(reached, coverage.window.from_ns));
            let (from_ns, to_ns) = (
                coverage.window.from_ns.max(reached),
                coverage.window.to_ns.min(window.to_ns),
            );
            reached = coverage.window.to_ns;
            stretches.extend(Window::new(from_ns, to_ns).map(|window| Coverage {
                window,
                ..coverage.clone()
            }));
        }
        holes.extend(Window::new(reached, window.to_ns));
        (stretches, holes)
    }

    /// End of the newest complete interval that is stored of a metric, ns.
    pub fn records_reach(&self, metric: &MetricKey) -> Option<u64> {
        self.records.get(metric)?.iter().map(|c| c.window.to_ns).max()
    }

    /// Number of record files.
    pub fn record_files(&self) -> usize {
        self.records.values().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(from: u64, to: u64) -> Window {
        Window::new(from, to).unwrap()
    }

    fn segment(first: u64, last: Option<u64>) -> Segment {
        Segment {
            file: format!("{first}.seg"),
            end: if last.is_some() {
                SegmentEnd::Sealed
            } else {
                SegmentEnd::Open
            },
            sealing_epoch: 0,
            mapping_epoch: 0,
            first_ns: first,
            last_ns: last,
            packets: 1,
            bytes: 1,
            captured_bytes: 1,
            section_bytes: [None; 3],
            lost: 0,
        }
    }

    fn coverage(file: &str, from: u64, to: u64) -> Coverage {
        Coverage {
            file: file.into(),
            window: window(from, to),
            one_in: 1,
        }
    }

    #[test]
    fn a_window_finds_the_segments_it_touches_and_no_other() {
        let mut catalog = Catalog::default();
        catalog.put_segment([1; 16], segment(100, Some(199)));
        catalog.put_segment([2; 16], segment(200, Some(299)));
        catalog.put_segment([3; 16], segment(300, None));
        catalog.now_ns = 350;
        let found = |from, to| {
            catalog
                .segments_in(window(from, to))
                .iter()
                .map(|(id, _)| id[0])
                .collect::<Vec<_>>()
        };
        assert_eq!(found(150, 160), [1]);
        assert_eq!(found(199, 201), [1, 2]);
        assert_eq!(found(0, 100), Vec::<u8>::new());
        assert_eq!(found(340, 400), [3]);
        assert_eq!(found(351, 400), Vec::<u8>::new());
        assert_eq!(catalog.coverage().unwrap(), window(100, 351));
    }

    #[test]
    fn a_window_takes_its_share_of_a_segment() {
        let catalog = Catalog {
            now_ns: 350,
            ..Catalog::default()
        };
        let share = |first, last, from, to| catalog.share(&segment(first, last), window(from, to), 1000);
        assert_eq!(share(100, Some(199), 0, 500), 1000);
        assert_eq!(share(100, Some(199), 100, 110), 100);
        assert_eq!(share(100, Some(199), 190, 500), 100);
        assert_eq!(share(100, Some(199), 0, 100), 0);
        assert_eq!(share(300, None, 340, 400), 216, "11 of 51 ns, rounded up");
        assert_eq!(share(100, Some(100), 0, 500), 1000);
    }

    #[test]
    fn records_are_reused_only_where_they_cover_the_whole_window() {
        let metric = MetricKey([7; 32]);
        let mut catalog = Catalog::default();
        catalog.put_records(metric.clone(), coverage("a", 0, 10), true);
        catalog.put_records(metric.clone(), coverage("a", 0, 20), false);
        catalog.put_records(metric.clone(), coverage("b", 20, 30), true);
        catalog.put_records(metric.clone(), coverage("b", 31, 40), true);
        let files = |from, to| {
            let (stretches, holes) = catalog.records_within(&metric, window(from, to), false);
            let names = stretches.iter().map(|c| c.file.clone()).collect::<Vec<_>>();
            holes.is_empty().then_some(names)
        };
        assert_eq!(files(5, 25), Some(vec!["a".into(), "b".into()]));
        assert_eq!(files(25, 35), None, "30..31 was never computed");
        assert_eq!(files(31, 40), Some(vec!["b".into()]));
        assert_eq!(files(35, 41), None);
        let (within, holes) = catalog.records_within(&metric, window(15, 45), false);
        let cut: Vec<Window> = within.iter().map(|c| c.window).collect();
        assert_eq!(cut, [window(15, 20), window(20, 30), window(31, 40)]);
        assert_eq!(holes, [window(30, 31), window(40, 45)]);
        let (other, _) = catalog.records_within(&MetricKey([8; 32]), window(0, 10), true);
        assert!(other.is_empty());
        // A sample counts where nothing better is there.
        let sample = Coverage {
            one_in: 8,
            ..coverage("b", 30, 31)
        };
        catalog.put_records(metric.clone(), sample, true);
        let (_, holes) = catalog.records_within(&metric, window(15, 45), false);
        assert_eq!(holes, [window(30, 31), window(40, 45)]);
        let (_, holes) = catalog.records_within(&metric, window(15, 45), true);
        assert_eq!(holes, [window(40, 45)]);
    }
}
