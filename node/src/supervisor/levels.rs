//! Which level's view answers a question: what a filter is evaluated on, what is read for it, what may be asked
//! at all. Decides nothing about rights.

use como_policies::AccessLevel;

use super::answers::Refusal;

/// The level of the view that an asker's filter sees: the asker's own, but never finer than the rows of hours
/// where the answer is made of these.
pub(super) fn filter_level(view_level: AccessLevel, ask_level: AccessLevel) -> AccessLevel {
    if has_packets(view_level) {
        ask_level
    } else {
        view_level
    }
}

/// The level whose sections are read: that of the views, or of the asker's filter where it is higher.
pub(super) fn read_level(view_level: AccessLevel, ask_level: AccessLevel, filter: &str) -> AccessLevel {
    if filter.is_empty() {
        view_level
    } else {
        view_level.max(filter_level(view_level, ask_level))
    }
}

/// Whether views of this level show packets; below, an answer is made of whole hours.
pub(super) fn has_packets(view_level: AccessLevel) -> bool {
    view_level > AccessLevel::Coarse
}

/// Below packets a filter selects released rows, so it cannot choose among the packets that a module reads; and
/// answers at `aggregate` must not be subtractable (privacy.md, P19).
pub(super) fn check_filterable(
    view_level: AccessLevel,
    ask_level: AccessLevel,
    filter: &str,
) -> Result<(), Refusal> {
    if filter.is_empty() {
        return Ok(());
    }
    let refused = |why: &str| Err(Refusal::BadFilter(why.into()));
    match ask_level {
        AccessLevel::Aggregate => {
            refused("at aggregate there is no filter: everybody gets the same answer\nAsk without one.")
        }
        AccessLevel::Coarse if has_packets(view_level) => refused(
            "at coarse a filter selects flow rows, and this module reads packets\n\
             Ask without one, or at a higher level.",
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use como_policies::Window;

    use super::*;
    use AccessLevel::*;

    #[test]
    fn a_filter_never_sees_more_than_the_asker_or_the_rows() {
        assert_eq!(filter_level(Anonymized, Payload), Payload);
        assert_eq!(filter_level(Payload, Anonymized), Anonymized);
        assert_eq!(filter_level(Coarse, Payload), Coarse);
        assert_eq!(read_level(Anonymized, Payload, ""), Anonymized);
        assert_eq!(read_level(Anonymized, Headers, "tcp"), Headers);
        assert_eq!(read_level(Payload, Anonymized, "tcp"), Payload);
        assert_eq!(read_level(Coarse, Payload, "tcp"), Coarse);
    }

    #[test]
    fn below_packets_a_filter_selects_rows_or_nothing() {
        assert!(check_filterable(Anonymized, Aggregate, "").is_ok());
        assert!(check_filterable(Aggregate, Aggregate, "tcp").is_err());
        assert!(check_filterable(Anonymized, Coarse, "tcp").is_err());
        assert!(check_filterable(Coarse, Coarse, "tcp").is_ok());
        assert!(check_filterable(Coarse, Headers, "tcp").is_ok());
    }

    /// Two questions at `aggregate` that differ by one host, or by a moment, have the same answer: no filter chooses
    /// among packets or rows, whoever reads what, and windows are whole hours.
    #[test]
    fn p19_answers_at_aggregate_cannot_be_subtracted() {
        const HOUR_NS: u64 = 3_600_000_000_000;
        for view_level in AccessLevel::ALL {
            for filter in ["not host 10.0.0.1", "tcp", "port 53"] {
                assert!(check_filterable(view_level, Aggregate, filter).is_err());
            }
            assert!(check_filterable(view_level, Aggregate, "").is_ok());
        }
        let all = Window::new(7 * HOUR_NS, 9 * HOUR_NS).unwrap();
        for (from_ns, to_ns) in [(1, 0), (0, 1), (HOUR_NS - 1, HOUR_NS - 1), (999, 60_000_000_000)] {
            let asked = Window::new(all.from_ns + from_ns, all.to_ns - to_ns).unwrap();
            assert_eq!(asked.snap(Aggregate), all);
        }
    }
}
