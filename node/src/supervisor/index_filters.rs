//! A question's filter in the names of the index. The index of the trace is written under the node's own pseudonyms; the
//! reader gets the few that the filter names, and never a key that would make others.

use std::collections::BTreeMap;

use como_anonymize::Anonymizer;
use como_anonymize::filter::{Filter, Names};
use como_keys::mapping::MappingKey;
use como_policies::AccessLevel;

use super::Supervisor;
use super::grants::SegmentGrant;
use super::jobs::{Job, Work};

/// Packets of the index's blocks have times to this, ns.
const INDEX_GRAIN_NS: u64 = 1_000_000;

/// What the index of the trace is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct IndexQuestion {
    /// A filter under the node's pseudonyms, for each mapping epoch in which it can be said: canonical text, which passes
    /// all that the asker's filter passes, or the module's, and perhaps more. An epoch that is missing is scanned.
    pub filters: BTreeMap<u32, String>,
    /// Length of the module's intervals where the filter is the module's own; else 0.
    pub module_interval_ns: u64,
}

impl Supervisor {
    /// What the index is asked for a job whose packets lie in these segments.
    pub(super) fn index_question(
        &self,
        job: &Job,
        grants: &[SegmentGrant],
        audience: &[(u32, MappingKey)],
    ) -> IndexQuestion {
        let Some((filter, level, module_interval_ns)) = selective_filter(job) else {
            return IndexQuestion::default();
        };
        let epochs = grants.iter().map(|grant| grant.segment.mapping_epoch);
        let in_epoch = |epoch| {
            let key = match level {
                AccessLevel::Anonymized => audience.iter().find(|(of, _)| *of == epoch).map(|(_, key)| key),
                _ => self.keyring.mapping_key_if_present(epoch),
            };
            translated(&filter, level, key, !audience.is_empty()).map(|filter| filter.canonical())
        };
        let mut found: BTreeMap<u32, Option<String>> = BTreeMap::new();
        for epoch in epochs {
            found.entry(epoch).or_insert_with(|| in_epoch(epoch));
        }
        IndexQuestion {
            filters: found
                .into_iter()
                .filter_map(|(epoch, filter)| Some((epoch, filter?)))
                .collect(),
            module_interval_ns,
        }
    }
}

/// The filter of a job that blocks may be left out for, the level of the view that it is evaluated on, and the length of
/// the module's intervals where it is the module's own.
///
/// Packets that pass the asker's filter take a module's time along, whether or not they pass its own: beside an asker's
/// filter the module's leaves nothing out.
fn selective_filter(job: &Job) -> Option<(Filter, AccessLevel, u64)> {
    let selective = |filter: &str, level| {
        let filter = Filter::parse(filter).ok().filter(|filter| !filter.is_any())?;
        (level >= AccessLevel::Anonymized).then_some((filter, level))
    };
    if !job.filter.is_empty() {
        return selective(&job.filter, job.filter_level()).map(|(filter, level)| (filter, level, 0));
    }
    let Work::Query { module, .. } = &job.work else {
        return None;
    };
    let manifest = &module.manifest;
    // The index knows times to the millisecond: they decide as the packets' own do where all borders are of whole ones.
    let borders = [job.window.from_ns, job.window.to_ns, manifest.interval_ns];
    if !borders.iter().all(|border| border.is_multiple_of(INDEX_GRAIN_NS)) {
        return None;
    }
    let (filter, level) = selective(&manifest.filter, manifest.level)?;
    Some((filter, level, manifest.interval_ns))
}

/// `key` is the audience's at `anonymized`, the node's above.
fn translated(
    filter: &Filter,
    level: AccessLevel,
    key: Option<&MappingKey>,
    has_audience: bool,
) -> Option<Filter> {
    if !filter.names_pseudonyms_at(AccessLevel::Anonymized) {
        return Some(filter.clone()); // It means the same in all names.
    }
    match (level, key) {
        (AccessLevel::Anonymized, None) if !has_audience => Some(filter.clone()),
        (AccessLevel::Anonymized, Some(key)) => filter.under_node(Names::Audience(&Anonymizer::new(key))),
        (_, Some(key)) => filter.under_node(Names::Real(&Anonymizer::new(key))),
        (_, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_translated_where_a_key_says_how_and_else_nothing_is_looked_up() {
        let key = MappingKey::from_bytes(&[3; 32]);
        let host = Filter::parse("host 192.0.2.1").unwrap();
        let tcp = Filter::parse("tcp and port 443").unwrap();
        use AccessLevel::{Anonymized, Headers};
        for level in [Anonymized, Headers] {
            assert_eq!(translated(&tcp, level, None, true), Some(tcp.clone()), "{level}");
            assert_eq!(translated(&host, level, None, true), None, "{level}");
            assert_ne!(
                translated(&host, level, Some(&key), true),
                Some(host.clone()),
                "{level}"
            );
        }
        assert_eq!(translated(&host, Anonymized, None, false), Some(host.clone()));
        // What the audience is shown leads back to what the node stores.
        let map = Anonymizer::new(&key);
        let stored = translated(&host, Headers, Some(&key), true).unwrap();
        assert_eq!(stored.under_node(Names::Audience(&map)), Some(host));
    }
}
