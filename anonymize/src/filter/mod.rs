//! Filters: a documented subset of pcap-filter, parsed by our own code and evaluated on the columns of the
//! asker's view. Never sees a packet, never resolves a name.

use thiserror::Error;

use crate::bitmap::Bitmap;
use crate::columns::Columns;

/// A parsed filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {}

/// Why a text is not a filter.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct FilterError {
    /// Byte offset of the word in question.
    pub position: usize,
    message: String,
}

impl Filter {
    /// The filter that every packet passes.
    pub fn any() -> Self {
        todo!()
    }
    /// Parses a filter.
    pub fn parse(_text: &str) -> Result<Self, FilterError> {
        todo!()
    }
    /// The rows that pass.
    pub fn eval(&self, _columns: &Columns) -> Bitmap {
        todo!()
    }
    /// The one spelling of this filter.
    pub fn canonical(&self) -> String {
        todo!()
    }
    /// Whether it names values that are pseudonyms below `headers`.
    pub fn names_pseudonyms(&self) -> bool {
        todo!()
    }
}
