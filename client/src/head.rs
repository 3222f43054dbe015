//! The first rows of a table, as text. Holds that many rows and a count, never the table.

use como_dataset::{Batch, Field};

use crate::plot::text;
use crate::render;

/// What is kept of a table's beginning.
pub struct Head {
    fields: Vec<Field>,
    kept: Vec<Vec<String>>,
    most: usize,
    rows: u64,
}

impl Head {
    /// Keeps the first `most` rows.
    pub fn new(fields: &[Field], most: usize) -> Self {
        Self {
            fields: fields.to_vec(),
            kept: Vec::new(),
            most,
            rows: 0,
        }
    }

    /// Takes a batch of rows.
    pub fn add(&mut self, batch: &Batch) {
        let wanted = self.most.saturating_sub(self.kept.len()).min(batch.rows());
        let row = |row: usize| {
            batch
                .columns
                .iter()
                .map(|column| text(column.value(row)))
                .collect()
        };
        self.kept.extend((0..wanted).map(row));
        self.rows += batch.rows() as u64;
    }

    /// Rows seen.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The table, its units in the header, and how many rows are not shown; nothing where nobody wanted a row.
    pub fn render(&self) -> String {
        if self.most == 0 {
            return String::new();
        }
        let header: Vec<String> = self.fields.iter().map(titled).collect();
        let mut page = render::table(&header, &self.kept);
        let hidden = self.rows - self.kept.len() as u64;
        if hidden > 0 {
            page.push_str(&format!("… and {} more rows\n", render::count(hidden)));
        }
        page
    }
}

/// A column's name and unit.
pub fn titled(field: &Field) -> String {
    match field.unit.as_str() {
        "" => field.name.clone(),
        unit => format!("{} [{unit}]", field.name),
    }
}
