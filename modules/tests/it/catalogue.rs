//! The standard modules, each as compiled guest and as the same code run natively. Owns the one list of their types; a
//! test compares it with what lies in modules/standard.

use como_anonymize::{Column, View};
use como_kit::{ColumnId, Kind, Module, native};

/// A standard module.
pub struct Standard {
    pub name: &'static str,
    pub columns: &'static [ColumnId],
    pub schema: &'static [Kind],
    pub wants_frames: bool,
    /// Starts it natively.
    pub native: fn(&[i64]) -> Box<dyn Native>,
}

/// A module that runs natively.
pub trait Native {
    fn update(&mut self, view: &View);
    /// The values of each row, printed.
    fn store(&mut self) -> Vec<Vec<String>>;
}

/// All of them.
pub fn all() -> Vec<Standard> {
    vec![
        of::<como_autofocus::AutoFocus>("autofocus"),
        of::<como_dns::Dns>("dns"),
        of::<como_flow::Flow>("flow"),
        of::<como_flowcount::FlowCount>("flowcount"),
        of::<como_packet_sizes::PacketSizes>("packet-sizes"),
        of::<como_pattern_search::PatternSearch>("pattern-search"),
        of::<como_protocol::Protocol>("protocol"),
        of::<como_scanner_detector::ScannerDetector>("scanner-detector"),
        of::<como_superaddr::SuperAddr>("superaddr"),
        of::<como_syn_flood::SynFlood>("syn-flood"),
        of::<como_topaddr::TopAddr>("topaddr"),
        of::<como_topas::TopAs>("topas"),
        of::<como_topports::TopPorts>("topports"),
        of::<como_traffic::Traffic>("traffic"),
    ]
}

fn of<M: Module + Send>(name: &'static str) -> Standard {
    Standard {
        name,
        columns: M::COLUMNS,
        schema: M::SCHEMA,
        wants_frames: M::WANTS_FRAMES,
        native: |args| Box::new(native::Guest::<M>::new(args)),
    }
}

impl<M: Module + Send> Native for native::Guest<M> {
    fn update(&mut self, view: &View) {
        let mut packets = native::Packets::new(view.len());
        for id in M::COLUMNS {
            let column = Column::from_id(id.number).expect("a column");
            let mut bytes = Vec::new();
            view.columns.write_le(column, 0, view.len(), &mut bytes);
            packets = packets.set_bytes(*id, bytes);
        }
        let frames: Vec<&[u8]> = (0..view.len())
            .map(|at| view.frames.get(at).expect("a frame"))
            .collect();
        native::Guest::update(self, packets.frames(&frames));
    }

    fn store(&mut self) -> Vec<Vec<String>> {
        let table = native::Guest::store(self);
        let row = |row| table.row(row).iter().map(|value| format!("{value:?}")).collect();
        (0..table.rows()).map(row).collect()
    }
}

#[test]
fn the_list_of_types_is_the_folder_of_standard_modules() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("standard");
    let entries = std::fs::read_dir(folder).expect("modules/standard");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert_eq!(all().iter().map(|m| m.name).collect::<Vec<_>>(), names);
}
