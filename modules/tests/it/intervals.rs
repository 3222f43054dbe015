//! Intervals: where they begin and end, what makes one complete, and that nothing but the packets and their
//! order decides a result.

use como_anonymize::{Bitmap, Filter, PacketRow, View};
use como_dataset::ColumnData;
use como_modules::{Instance, IntervalRows, IntervalRunner, Manifest, limits};
use proptest::prelude::*;

use crate::support::{Guest, SECOND_NS, manifest, start, view};

/// Stores a number that depends on every packet, its place and the edges of its batch.
pub const MIX: &str = "(local $i i32) (local $h i64)
    (local.set $h (i64.mul (i64.xor (i64.load (i32.const 65552)) (i64.extend_i32_u (local.get 0)))
        (i64.const 0x100000001b3)))
    (loop $l
        (local.set $h (i64.mul (i64.xor (local.get $h)
            (i64.load32_u offset=1088 (i32.shl (local.get $i) (i32.const 2)))) (i64.const 0x100000001b3)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $i) (i32.const 1024))))
    (i64.store (i32.const 65552) (local.get $h)) i32.const 0";

/// Stores the packets of the interval.
const COUNT: &str = "(i64.store (i32.const 70000)
    (i64.add (i64.load (i32.const 70000)) (i64.extend_i32_u (local.get 0)))) i32.const 0";
const COUNT_STORE: &str = "(i64.store (i32.const 65552) (i64.load (i32.const 70000)))
    (i64.store (i32.const 70000) (i64.const 0))
    (i32.store (i32.const 65536) (i32.const 1))
    i32.const 32";

fn counter() -> Instance {
    let wasm = Guest {
        update: COUNT,
        store: COUNT_STORE,
        ..Guest::default()
    };
    start(&manifest(), &wasm.wasm()).unwrap()
}

fn mixer(manifest: &Manifest) -> Instance {
    start(
        manifest,
        &Guest {
            update: MIX,
            ..Guest::default()
        }
        .wasm(),
    )
    .unwrap()
}

fn at(times_ns: &[u64]) -> View {
    let rows: Vec<_> = times_ns
        .iter()
        .enumerate()
        .map(|(i, ts_ns)| PacketRow {
            ts_ns: *ts_ns,
            wire_len: 60 + i as u32,
            weight: 1,
            ..PacketRow::default()
        })
        .collect();
    view(&rows)
}

fn value(rows: &IntervalRows) -> u64 {
    let ColumnData::U64(values) = &rows.rows.columns[0] else {
        panic!("not u64")
    };
    values[0]
}

fn run(instance: Instance, window: (u64, u64), views: &[View], end_ns: u64) -> Vec<IntervalRows> {
    let mut out = Vec::new();
    let mut runner = IntervalRunner::new(instance, Filter::any(), window.0, window.1);
    for view in views {
        runner.push(view, None, &mut |rows| out.push(rows)).unwrap();
    }
    runner.finish(end_ns, &mut |rows| out.push(rows)).unwrap();
    out
}

const S: u64 = SECOND_NS;

#[test]
fn intervals_are_aligned_and_empty_ones_are_stored_too() {
    let views = [at(&[10 * S + 5, 10 * S + 6]), at(&[13 * S])];
    let out = run(counter(), (10 * S, u64::MAX), &views, 14 * S);
    let seen: Vec<_> = out
        .iter()
        .map(|r| (r.interval_start_ns / S, r.packets, r.complete))
        .collect();
    assert_eq!(seen, [(10, 2, true), (11, 0, true), (12, 0, true), (13, 1, true)]);
    assert!(out.iter().all(|r| r.interval_end_ns - r.interval_start_ns == S));
}

#[test]
fn a_window_that_cuts_an_interval_makes_it_incomplete() {
    let views = [at(&[10 * S + 1, 10 * S + 700, 11 * S, 12 * S + 1, 12 * S + 900])];
    let out = run(counter(), (10 * S + 500, 12 * S + 500), &views, 20 * S);
    let seen: Vec<_> = out
        .iter()
        .map(|r| (r.interval_start_ns / S, r.packets, r.complete))
        .collect();
    assert_eq!(seen, [(10, 1, false), (11, 1, true), (12, 1, false)]);
}

#[test]
fn an_end_in_the_middle_makes_the_last_interval_incomplete() {
    let out = run(
        counter(),
        (10 * S, u64::MAX),
        &[at(&[10 * S, 11 * S + 1])],
        11 * S + 2,
    );
    assert_eq!(out.iter().map(|r| r.complete).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn a_late_packet_counts_in_the_open_interval_and_is_counted() {
    let out = run(
        counter(),
        (10 * S, u64::MAX),
        &[at(&[10 * S, 11 * S, 10 * S + 7, 9 * S, 11 * S + 1])],
        12 * S,
    );
    let seen: Vec<_> = out.iter().map(|r| (r.packets, r.late_packets)).collect();
    assert_eq!(seen, [(1, 0), (4, 2)]);
}

#[test]
fn a_gap_makes_every_interval_incomplete_that_it_touches() {
    let mut out = Vec::new();
    let mut runner = IntervalRunner::new(counter(), Filter::any(), 10 * S, u64::MAX);
    runner.push(&at(&[10 * S]), None, &mut |r| out.push(r)).unwrap();
    runner.gap(11 * S + 5, 12 * S);
    runner.gap(14 * S, 14 * S + 1);
    runner.push(&at(&[15 * S]), None, &mut |r| out.push(r)).unwrap();
    runner.finish(16 * S, &mut |r| out.push(r)).unwrap();
    assert_eq!(
        out.iter().map(|r| r.complete).collect::<Vec<_>>(),
        [true, false, true, true, false, true]
    );
}

#[test]
fn a_jump_of_years_is_one_step() {
    let out = run(
        counter(),
        (10 * S, u64::MAX),
        &[at(&[10 * S, u64::MAX / 2])],
        u64::MAX / 2,
    );
    assert_eq!(out.len(), 2);
    assert!(out[1].skipped_before > limits::EMPTY_INTERVALS_MAX);
    let out = run(counter(), (0, u64::MAX), &[at(&[u64::MAX])], u64::MAX);
    assert!(out.len() <= 2, "the end of time is an end too");
}

#[test]
fn idle_time_closes_intervals() {
    let mut out = Vec::new();
    let mut runner = IntervalRunner::new(counter(), Filter::any(), 10 * S, u64::MAX);
    runner
        .push(&at(&[10 * S + 1]), None, &mut |r| out.push(r))
        .unwrap();
    runner.advance(11 * S, &mut |r| out.push(r)).unwrap();
    assert_eq!(out.len(), 1);
    assert_eq!((value(&out[0]), out[0].complete), (1, true));
}

#[test]
fn the_requesters_filter_narrows_the_modules() {
    let views = at(&[10 * S, 10 * S + 1, 10 * S + 2]);
    let only_second = Bitmap::of(&[0, 1, 2], |i| *i == 1);
    let mut out = Vec::new();
    let mut runner = IntervalRunner::new(counter(), Filter::any(), 10 * S, u64::MAX);
    runner
        .push(&views, Some(&only_second), &mut |r| out.push(r))
        .unwrap();
    runner.finish(11 * S, &mut |r| out.push(r)).unwrap();
    assert_eq!((out[0].packets, value(&out[0])), (1, 1));
}

#[test]
fn several_runners_share_a_view() {
    let shared = at(&[10 * S, 10 * S + 1]);
    let one = run(
        counter(),
        (10 * S, u64::MAX),
        std::slice::from_ref(&shared),
        11 * S,
    );
    let two = run(
        counter(),
        (10 * S, u64::MAX),
        std::slice::from_ref(&shared),
        11 * S,
    );
    assert_eq!(one, two);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Live, views are small and come as packets come; in the past they are as large as blocks. A guest that
    /// depends on every batch edge must not see the difference.
    #[test]
    fn the_size_of_views_never_changes_a_result(
        steps in prop::collection::vec(0u64..3_000_000, 1..6000),
        cuts in prop::collection::vec(1usize..2500, 1..12),
    ) {
        let mut now = 10 * S;
        let times: Vec<u64> = steps.iter().map(|step| { now += step; now }).collect();
        let whole = at(&times);
        let mut parts = Vec::new();
        let mut from = 0;
        for len in cuts.iter().cycle() {
            let to = (from + len).min(times.len());
            let keep: Vec<usize> = (0..times.len()).collect();
            let mut part = whole.clone();
            part.columns = whole.columns.select(&Bitmap::of(&keep, |i| (from..to).contains(i)));
            parts.push(part);
            from = to;
            if from == times.len() { break; }
        }
        let manifest = manifest();
        let once = run(mixer(&manifest), (10 * S, u64::MAX), &[whole], now + 1);
        let often = run(mixer(&manifest), (10 * S, u64::MAX), &parts, now + 1);
        prop_assert_eq!(once, often);
    }

    /// Whatever the times, every packet of the window counts once, and intervals come in order.
    #[test]
    fn no_packet_is_lost_or_counted_twice(
        times in prop::collection::vec(10 * S..16 * S, 1..400),
        from in 10 * S..11 * S,
    ) {
        let out = run(counter(), (from, u64::MAX), &[at(&times)], 17 * S);
        let first = times.iter().position(|t| *t >= from).unwrap_or(times.len());
        let expected = (times.len() - first) as u64;
        prop_assert_eq!(out.iter().map(|r| r.packets).sum::<u64>(), expected);
        prop_assert_eq!(out.iter().map(value).sum::<u64>(), expected);
        prop_assert!(out.windows(2).all(|w| w[0].interval_end_ns == w[1].interval_start_ns));
    }

    /// A query computes holes in the records one by one, each with an instance of its own: whatever the times, their
    /// order, and the borders of whole intervals, they give the rows of a run over all.
    #[test]
    fn a_window_in_pieces_gives_the_rows_of_the_whole(
        steps in prop::collection::vec(prop_oneof![
            30 => 0..S,
            5 => S..40 * S,
            2 => 3000 * S..20_000 * S,
        ], 1..200),
        late in prop::collection::vec((0usize..200, 0..4 * S), 0..20),
        borders in prop::collection::vec(0.0..1.0f64, 0..6),
        ends in (0..3 * S, 0..3 * S),
        view_packets in 1usize..50,
    ) {
        let mut now = 10 * S;
        let mut times: Vec<u64> = steps.iter().map(|step| { now += step; now }).collect();
        for (at, by) in late {
            let at = at % times.len();
            times[at] = times[at].saturating_sub(by).max(7 * S);
        }
        let from = 9 * S + ends.0;
        let to = now.max(from) + 1 + ends.1;
        let views: Vec<View> = times.chunks(view_packets).map(at).collect();
        let rows = |window: (u64, u64)| {
            let found = run(counter(), window, &views, window.1);
            found.into_iter().filter(|interval| interval.rows.rows() > 0).collect::<Vec<_>>()
        };
        // Where live records have a hole that is a long pause, it begins and ends with what was left out.
        let mut reached = from - from % S;
        let mut pauses = Vec::new();
        for time in times.iter().skip_while(|time| **time < from) {
            let (pause, end) = (reached, time - time % S);
            if end.saturating_sub(pause) / S > limits::EMPTY_INTERVALS_MAX {
                pauses.push((pause, end));
            }
            reached = reached.max(end + S);
        }
        let outside = |cut: u64| {
            let inside = pauses.iter().find(|(pause, end)| (*pause..*end).contains(&cut));
            inside.map_or(cut, |(pause, end)| if cut.is_multiple_of(2 * S) { *pause } else { *end })
        };
        let mut cuts: Vec<u64> = borders
            .iter()
            .map(|share| ((from as f64 + (to - from) as f64 * share) as u64).next_multiple_of(S))
            .map(outside)
            .filter(|cut| (from + 1..to).contains(cut))
            .chain([from, to])
            .collect();
        cuts.sort_unstable();
        cuts.dedup();
        let pieces: Vec<IntervalRows> = cuts.windows(2).flat_map(|cut| rows((cut[0], cut[1]))).collect();
        let plain = |intervals: &[IntervalRows]| {
            let of = |i: &IntervalRows| (i.interval_start_ns, value(i), i.packets, i.complete);
            intervals.iter().map(of).collect::<Vec<_>>()
        };
        let (pieces, whole) = (plain(&pieces), plain(&rows((from, to))));
        let differs = pieces.iter().zip(&whole).find(|(piece, whole)| piece != whole);
        prop_assert!(pieces.len() == whole.len() && differs.is_none(), "{differs:?}, cut at {cuts:?}");
    }
}

/// Views of ten packets a second, some of them samples: which interval each says to be of samples.
#[test]
fn an_interval_of_which_any_packet_stood_for_others_says_so_at_its_worst() {
    let mut runner = IntervalRunner::new(counter(), Filter::any(), 0, u64::MAX);
    let mut intervals = Vec::new();
    let mut emit = |rows: IntervalRows| intervals.push((rows.interval_start_ns / SECOND_NS, rows.sampled));
    let half = SECOND_NS / 2;
    let views: [(u64, u64, u32, &[u64]); 7] = [
        (0, half, 1, &[1, 2]),
        // Over a border: of both intervals. One of which no packet was chosen counts too.
        (half, SECOND_NS + half, 4, &[]),
        (SECOND_NS + half, 2 * SECOND_NS, 8, &[SECOND_NS + half]),
        (2 * SECOND_NS, 3 * SECOND_NS, 1, &[2 * SECOND_NS]),
        // Late packets count in the interval that is open.
        (SECOND_NS, SECOND_NS + 5, 16, &[SECOND_NS]),
        (3 * SECOND_NS, 4 * SECOND_NS, 1, &[3 * SECOND_NS]),
        (4 * SECOND_NS, 9 * SECOND_NS, 2, &[8 * SECOND_NS]),
    ];
    for (from, to, one_in, times) in views {
        runner.sampled(from, to, one_in);
        runner.push(&at(times), None, &mut emit).unwrap();
    }
    runner.finish(10 * SECOND_NS, &mut emit).unwrap();
    let expected: Vec<(u64, u32)> = [4, 8, 16, 1, 2, 2, 2, 2, 2, 1]
        .into_iter()
        .enumerate()
        .map(|(second, one_in)| (second as u64, one_in))
        .collect();
    assert_eq!(intervals, expected);
}
