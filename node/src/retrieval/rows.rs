//! Which packets of a block may pass, from the columns of section A alone: those that cannot are never put together. Must
//! never leave out a packet that passes at the asker's level.

use como_anonymize::bitmap::Bitmap;
use como_policies::AccessLevel;

use super::Search;
use crate::trace::{BlockRef, ColumnGroup, GroupSet, Sections, SegmentReader, TraceError, Wanted};

/// The rows of a block of packets that may pass what the index was asked for. A packet that the level `anonymized` denies
/// may show more above: it always may pass there.
pub fn candidates(
    reader: &SegmentReader,
    sections: &mut Sections,
    block: &BlockRef,
    search: &Search<'_>,
) -> Result<Bitmap, TraceError> {
    let groups = GroupSet::of(search.filter.columns()).with(ColumnGroup::Size);
    let known = reader.view_in(sections, block, &Wanted::all(AccessLevel::Anonymized, groups))?;
    let mut rows = search.filter.flows_that_may_pass(&known.columns);
    if search.above {
        rows.or(&Bitmap::of(&known.columns.deny, |deny| *deny != 0));
    }
    Ok(rows)
}
