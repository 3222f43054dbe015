//! The field table: what each level shows of each field. Its rows stand next to the code that applies them; this
//! file only puts them together, for `como anonymize --explain` and for docs/privacy.md. Must never hold a rule
//! of its own: a row without its code beside it would be a promise that nobody keeps.

use como_policies::AccessLevel;

/// What becomes of one field at each level. One treatment per field and level, never two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldRule {
    /// The header, or "packet" for what belongs to no header.
    pub layer: &'static str,
    /// The field, in the words of its standard.
    pub field: &'static str,
    /// The treatment, by `AccessLevel as u8`: aggregate, coarse, anonymized, headers, payload.
    pub rules: [&'static str; 5],
}

/// Shown by no level below `headers`.
pub(crate) const NONE: &str = "none";
/// Shown at `headers` as it is.
pub(crate) const REAL: &str = "real";
/// Every level but the highest treats the field; the highest shows what was captured.
const AS_CAPTURED: &str = "as captured";

impl FieldRule {
    /// A row; `rules` are those of aggregate, coarse, anonymized and headers.
    pub(crate) const fn new(layer: &'static str, field: &'static str, rules: [&'static str; 4]) -> Self {
        let [aggregate, coarse, anonymized, headers] = rules;
        FieldRule {
            layer,
            field,
            rules: [aggregate, coarse, anonymized, headers, AS_CAPTURED],
        }
    }

    /// A row of what no level shows, `payload` neither: it is not read in the first place.
    pub(crate) const fn nowhere(layer: &'static str, field: &'static str) -> Self {
        FieldRule {
            layer,
            field,
            rules: [NONE; 5],
        }
    }
}

/// Every row, from the packet as a whole to the innermost header.
pub fn table() -> impl Iterator<Item = &'static FieldRule> {
    let packet = [crate::view::RULES, crate::tunnel::RULES, crate::checksum::RULES];
    packet
        .into_iter()
        .chain(crate::treat::RULES.iter().copied())
        .flatten()
}

/// The table as docs/privacy.md has it.
pub fn markdown() -> String {
    let levels = AccessLevel::ALL.map(AccessLevel::name).join(" | ");
    let mut text = format!("| layer | field | {levels} |\n|---|---|---|---|---|---|---|\n");
    for row in table() {
        text.push_str(&format!(
            "| {} | {} | {} |\n",
            row.layer,
            row.field,
            row.rules.join(" | ")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/privacy.md");
    const BEGIN: &str = "<!-- field table: generated, do not edit -->\n";
    const END: &str = "<!-- end of field table -->\n";

    fn page() -> [String; 3] {
        let page = fs::read_to_string(PAGE).unwrap();
        let (before, rest) = page.split_once(BEGIN).expect("a begin mark");
        let (table, after) = rest.split_once(END).expect("an end mark");
        [before, table, after].map(str::to_owned)
    }

    #[test]
    fn the_privacy_page_has_the_table_that_the_code_applies() {
        assert!(
            page()[1] == markdown(),
            "docs/privacy.md is not what the code says; run `como-regenerate fields`"
        );
    }

    #[test]
    fn every_field_has_one_rule_and_every_rule_says_something() {
        let mut seen = BTreeSet::new();
        for row in table() {
            assert!(
                seen.insert((row.layer, row.field)),
                "{} {} twice",
                row.layer,
                row.field
            );
            assert!(
                row.rules
                    .iter()
                    .all(|rule| !rule.is_empty() && !rule.contains('|'))
            );
        }
    }
}
