//! What a module costs a packet, beside one that does nothing. Packets are held in memory and treated before the clock
//! starts: reading and anonymizing are not the module's. Must never be asked for a verdict: times are of this machine.

use std::io::Read;
use std::ops::ControlFlow;

use como_anonymize::{Frames, View};
use como_modules::AdmittedModule;
use como_savefile::Reader;

use super::run::{Pass, Report};
use super::views::{Seen, Sight, each};
use super::{idle, module};
use crate::error::{ClientError, Result};

/// Packets that are held, at most: their columns take about 150 bytes each.
pub const MAX_KEPT_PACKETS: usize = 1 << 20;
/// Bytes of frames that are held for a module that asks for frames, at most.
pub const MAX_KEPT_BYTES: usize = 256 << 20;
/// Rounds over the packets; the fastest counts, because whatever else the machine does only adds.
pub const ROUNDS: usize = 7;

/// What was measured.
#[derive(Clone, Debug)]
pub struct Figures {
    /// What was in the capture.
    pub seen: Seen,
    /// Packets held; fewer than seen where the limits were reached.
    pub kept: usize,
    /// The module's fastest round.
    pub module: Report,
    /// The fastest round of a module that does nothing, with the same filter, columns and intervals.
    pub idle: Report,
}

/// Runs a module [`ROUNDS`] times over the packets of a capture, in turns with one that does nothing.
pub fn bench<R: Read>(
    module: &AdmittedModule,
    args: &[(String, i64)],
    input: Reader<R>,
    sight: Sight<'_>,
) -> Result<Figures> {
    let (seen, views) = keep(module, input, sight)?;
    let kept = views.iter().map(View::len).sum();
    if kept == 0 {
        return Err(ClientError::input(
            "the capture shows no packet at this level",
            "take a capture with packets, or another --level",
        ));
    }
    let idle = idle::manifest(module.manifest());
    let idle = module::admit(&idle, &idle::wasm(&idle)).map_err(ClientError::of_input)?;
    let mut fastest = Figures {
        module: round(module, args, &views, &seen)?,
        idle: round(&idle, args, &views, &seen)?,
        seen,
        kept,
    };
    for _ in 1..ROUNDS {
        faster(&mut fastest.module, round(module, args, &views, &fastest.seen)?);
        faster(&mut fastest.idle, round(&idle, args, &views, &fastest.seen)?);
    }
    Ok(fastest)
}

/// The views of a capture, without what the module does not look at.
fn keep<R: Read>(module: &AdmittedModule, input: Reader<R>, sight: Sight<'_>) -> Result<(Seen, Vec<View>)> {
    let manifest = module.manifest();
    let (mut views, mut packets, mut bytes) = (Vec::new(), 0, 0);
    let seen = each(input, manifest.level, sight, &mut |mut view| {
        if !manifest.wants_frames {
            view.frames = Frames::default();
        }
        packets += view.len();
        bytes += view.frames.bytes.len();
        views.push(view);
        if packets >= MAX_KEPT_PACKETS || bytes >= MAX_KEPT_BYTES {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    Ok((seen, views))
}

fn faster(fastest: &mut Report, other: Report) {
    if other.sandbox_ns < fastest.sandbox_ns {
        *fastest = other;
    }
}

fn round(module: &AdmittedModule, args: &[(String, i64)], views: &[View], seen: &Seen) -> Result<Report> {
    let mut pass = Pass::new(module, args)?;
    for view in views {
        if pass.push(view, &mut |_| ()).is_break() {
            break;
        }
    }
    let report = pass.finish(seen.clone(), &mut |_| ());
    match report.fault {
        Some(fault) => Err(ClientError::of_input(fault)),
        None => Ok(report),
    }
}
