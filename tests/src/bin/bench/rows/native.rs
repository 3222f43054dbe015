//! The functions of three standard modules built natively, over the very packets that the sandbox gets: what the sandbox
//! itself costs. Must never look at more or fewer packets than `como module bench` does.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::Instant;

use como_anonymize::{Anonymizer, Column, Filter, View};
use como_client::local;
use como_keys::mapping::MappingKey;
use como_kit::Module;
use como_kit::native::{Guest, Packets};
use como_modules::Manifest;
use como_tests::standard;
use como_tests::trial;

use super::Bench;

/// A module's columns of a stretch of packets that pass its filter.
pub struct Native {
    parts: Vec<Packets>,
    packets: usize,
}

impl Native {
    /// The packets of the trace at the module's level, as `como module bench` holds them.
    pub fn prepare<M: Module>(bench: &Bench, name: &str) -> trial::Result<Self> {
        let manifest = manifest(name)?;
        let filter = Filter::parse(&manifest.filter).map_err(|e| e.to_string())?;
        let key = Anonymizer::new(&MappingKey::generate());
        let sight = local::Sight {
            anonymizer: Some(&key),
            networks: None,
        };
        let file = std::fs::File::open(&bench.trace.path).map_err(|e| e.to_string())?;
        let input = como_savefile::Reader::new(file).map_err(|e| e.to_string())?;
        let mut native = Self {
            parts: Vec::new(),
            packets: 0,
        };
        let mut kept = 0;
        local::each(input, manifest.level, sight, &mut |view| {
            kept += view.len();
            native.add::<M>(&view.select(&filter.eval(&view.columns)));
            match kept >= local::MAX_KEPT_PACKETS {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })
        .map_err(|e| e.to_string())?;
        Ok(native)
    }

    fn add<M: Module>(&mut self, view: &View) {
        let mut packets = Packets::new(view.len());
        for id in M::COLUMNS {
            let column = Column::ALL.iter().find(|column| column.id() == id.number);
            let mut bytes = Vec::new();
            if let Some(column) = column {
                view.columns.write_le(*column, 0, view.len(), &mut bytes);
            }
            packets = packets.set_bytes(*id, bytes);
        }
        self.packets += view.len();
        self.parts.push(packets);
    }

    /// Time a packet, ns: laying columns down as the node does, and the function. The fastest of some rounds, by the
    /// clock: a round is shorter than the ticks in which the system counts processor time.
    pub fn ns<M: Module + Send>(&self, args: &[i64]) -> f64 {
        let mut guest = Guest::<M>::new(args);
        let mut fastest = f64::INFINITY;
        for _ in 0..local::ROUNDS {
            let parts = self.parts.clone();
            let started = Instant::now();
            for packets in parts {
                guest.update(packets);
            }
            black_box(guest.store().rows());
            let spent = started.elapsed().as_secs_f64();
            fastest = fastest.min(spent * 1e9 / self.packets.max(1) as f64);
        }
        fastest
    }
}

fn manifest(name: &str) -> trial::Result<Manifest> {
    let all = standard::manifests();
    let found = all.into_iter().find(|manifest| manifest.name == name);
    found.ok_or_else(|| format!("there is no standard module {name}"))
}
