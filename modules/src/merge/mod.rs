//! Tables of several intervals, or of several nodes, become one. Owns who does it: the rules that the schema declares, or
//! the module's own `merge` where a column says `guest`. Must never mix tables of different schemas.

mod rules;
#[cfg(test)]
mod tests;

use como_dataset::Field;

pub use rules::MergeColumn;
use rules::RuleMerger;

use crate::admit::{AdmittedModule, StartError};
use crate::fault::Fault;
use crate::limits::MERGED_MAX_ROWS;
use crate::manifest::{Manifest, Merge};
use crate::output::Rows;
use crate::runtime::{Instance, Usage};

/// Why tables do not become one.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// The module's own `merge` failed.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The module does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A column says `guest`, and the module is not at hand, or has no `merge`.
    #[error(
        "these rows are merged by their module's own `merge`, which is missing\ngive the module, in the release that made the rows"
    )]
    NoModule,
    /// A rule that does not fit its column, or that is not known.
    #[error(
        "column `{column}` cannot be merged by `{rule}`\nit was made by another version: take the como of that version"
    )]
    Rule {
        /// The column.
        column: String,
        /// The rule's name.
        rule: String,
    },
    /// A table of other columns.
    #[error("a table has other columns than the first\nmerge tables of one module and release only")]
    Schema,
    /// HyperLogLog registers of different sizes.
    #[error("sketches have different numbers of registers\nmerge tables of one module and release only")]
    Registers,
    /// The result does not fit.
    #[error(
        "the tables together have more than {MERGED_MAX_ROWS} different keys\nmerge fewer of them, or into shorter intervals"
    )]
    TooManyRows,
}

/// A stretch of time that rows are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Its start, ns since the Unix epoch.
    pub start_ns: u64,
    /// Its length, ns.
    pub length_ns: u64,
}

/// The columns of a module's rows, as merging sees them.
pub fn columns_of(manifest: &Manifest) -> Vec<MergeColumn> {
    let schema = manifest.schema.iter();
    schema
        .map(|column| MergeColumn {
            kind: column.kind,
            merge: column.merge,
        })
        .collect()
}

/// The same of the columns of a dataset, whose rules are names; empty is a key.
pub fn columns_of_fields(fields: &[Field]) -> Result<Vec<MergeColumn>, MergeError> {
    let column = |field: &Field| {
        let merge = match field.merge.as_str() {
            "" => Some(Merge::Key),
            name => Merge::from_name(name),
        };
        let merge = merge.filter(|merge| merge.fits(field.kind));
        let kind = field.kind;
        merge
            .map(|merge| MergeColumn { kind, merge })
            .ok_or_else(|| MergeError::Rule {
                column: field.name.clone(),
                rule: field.merge.clone(),
            })
    };
    fields.iter().map(column).collect()
}

/// Makes one table of several, again and again.
pub struct TableMerger {
    columns: Vec<MergeColumn>,
    how: How,
}

enum How {
    Rules(RuleMerger),
    /// Its `store` gives what its `merge` was given.
    Guest(Box<Instance>),
}

impl TableMerger {
    /// For tables of these columns. `module`, with the arguments that the tables were computed with, is needed where a
    /// column says `guest`.
    pub fn new(
        columns: &[MergeColumn],
        module: Option<(&AdmittedModule, &[(String, i64)])>,
    ) -> Result<Self, MergeError> {
        let how = if columns.iter().any(|column| column.merge == Merge::Guest) {
            let (module, args) = module.ok_or(MergeError::NoModule)?;
            if columns_of(module.manifest()) != columns {
                return Err(MergeError::Schema);
            }
            How::Guest(Box::new(module.recorder(args)?))
        } else {
            How::Rules(RuleMerger::new(columns))
        };
        Ok(Self {
            columns: columns.to_vec(),
            how,
        })
    }

    /// Takes a table: of a later interval, or of another node.
    pub fn add(&mut self, interval: Interval, table: &Rows) -> Result<(), MergeError> {
        let kinds = self.columns.iter().map(|column| column.kind);
        if !kinds.eq(table.columns.iter().map(|column| column.kind()))
            || table.columns.iter().any(|column| column.len() != table.rows())
        {
            return Err(MergeError::Schema);
        }
        match &mut self.how {
            How::Rules(rules) => rules.add(table),
            How::Guest(guest) => Ok(guest.merge(interval, table)?),
        }
    }

    /// The one table, which is of `interval`; begins afresh.
    pub fn take(&mut self, interval: Interval) -> Result<Rows, MergeError> {
        match &mut self.how {
            How::Rules(rules) => Ok(rules.take()),
            How::Guest(guest) => Ok(guest.store_of(interval)?),
        }
    }

    /// What the guest used, where one merges.
    pub fn usage(&self) -> Usage {
        match &self.how {
            How::Rules(_) => Usage::default(),
            How::Guest(guest) => guest.usage(),
        }
    }
}
