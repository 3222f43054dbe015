//! Reads stored records: rows that were computed before are never computed again.

use std::fs::File;
use std::io::BufReader;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, channel};

use super::request::{RecordRequest, Request};
use super::{Part, ReaderError};
use crate::feed;
use crate::records::{self, Block, HEAD_BYTES, RecordError};

/// Sends the intervals of the window, stretch by stretch.
pub(super) fn read(request: &Request, parts: &SyncSender<Receiver<Part>>) {
    let mut reached = request.window.from_ns;
    for wanted in &request.records {
        if let Err(source) = read_stretch(request, wanted, &mut reached, parts) {
            let failed = Part::Failed(ReaderError::Records {
                file: wanted.file.clone(),
                source,
            });
            send(parts, failed);
            return;
        }
    }
}

fn read_stretch(
    request: &Request,
    wanted: &RecordRequest,
    reached: &mut u64,
    parts: &SyncSender<Receiver<Part>>,
) -> Result<(), RecordError> {
    let mut file = BufReader::new(File::open(request.directory.join(&wanted.file))?);
    records::Header::read(&mut file)?;
    let cipher = wanted.key.cipher();
    let end_ns = wanted.stretch.to_ns.min(request.window.to_ns);
    while let Some(block) = Block::read(&mut file)? {
        let bytes = HEAD_BYTES as u64 + block.sealed.len() as u64;
        request.read_bytes.fetch_add(bytes, Ordering::Relaxed);
        let head = block.head;
        // Two files may hold the same interval where storage was restarted; the first one counts.
        if head.from_ns >= end_ns {
            return Ok(());
        }
        let starts_ns = wanted.stretch.from_ns.max(*reached);
        if !head.complete || head.from_ns < starts_ns || head.to_ns > end_ns {
            continue;
        }
        let (head, rows) = records::open(&cipher, block)?;
        *reached = head.to_ns;
        let message = feed::encode_rows(head.from_ns, head.to_ns, head.complete, &rows);
        if !send(parts, Part::message(message, bytes)) {
            return Ok(());
        }
    }
    Ok(())
}

fn send(parts: &SyncSender<Receiver<Part>>, part: Part) -> bool {
    let (sender, receiver) = channel();
    sender.send(part).is_ok() && parts.send(receiver).is_ok()
}
