//! Reads stored records: rows that were computed before are never computed again.

use std::fs::File;
use std::io::BufReader;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, channel};

use super::request::{RecordRequest, Request};
use super::{Part, ReaderError};
use crate::feed;
use crate::records::{self, Block, HEAD_BYTES, RecordError, Stretch};

/// Sends the intervals of one stretch.
pub(super) fn read(request: &Request, wanted: &RecordRequest, parts: &SyncSender<Receiver<Part>>) {
    if let Err(source) = read_stretch(request, wanted, parts) {
        let failed = Part::Failed(ReaderError::Records {
            file: wanted.file.clone(),
            source,
        });
        send(parts, failed);
    }
}

fn read_stretch(
    request: &Request,
    wanted: &RecordRequest,
    parts: &SyncSender<Receiver<Part>>,
) -> Result<(), RecordError> {
    let mut file = BufReader::new(File::open(request.records_directory.join(&wanted.file))?);
    records::Header::read(&mut file)?;
    let cipher = wanted.key.cipher();
    while let Some(block) = Block::read(&mut file)? {
        let bytes = HEAD_BYTES as u64 + block.sealed.len() as u64;
        request.read_bytes.fetch_add(bytes, Ordering::Relaxed);
        let head = block.head;
        if head.from_ns >= wanted.stretch.to_ns {
            return Ok(());
        }
        if !head.complete || head.from_ns < wanted.stretch.from_ns || head.to_ns > wanted.stretch.to_ns {
            continue;
        }
        let (head, rows) = records::open(&cipher, block)?;
        let interval = Stretch {
            from_ns: head.from_ns,
            to_ns: head.to_ns,
            one_in: head.one_in,
        };
        let message = feed::encode_rows(interval, head.complete, &rows);
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
