//! Reads stored records: rows that were computed before are never computed again.

use std::fs::File;
use std::io::BufReader;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, channel};

use como_keys::aead::DataKey;

use super::request::Request;
use super::{Part, ReaderError, Totals};
use crate::feed;
use crate::records::{self, Block, HEAD_BYTES, RecordError};

/// Sends the intervals of the window, file by file.
pub(super) fn read(request: &Request, parts: &SyncSender<Receiver<Part>>) {
    let mut reached = request.window.from_ns;
    for (file, key) in &request.records {
        if let Err(source) = read_file(request, file, key, &mut reached, parts) {
            let failed = Part::Failed(ReaderError::Records {
                file: file.clone(),
                source,
            });
            send(parts, failed);
            return;
        }
    }
}

fn read_file(
    request: &Request,
    name: &str,
    key: &DataKey,
    reached: &mut u64,
    parts: &SyncSender<Receiver<Part>>,
) -> Result<(), RecordError> {
    let mut file = BufReader::new(File::open(request.directory.join(name))?);
    records::Header::read(&mut file)?;
    let cipher = key.cipher();
    while let Some(block) = Block::read(&mut file)? {
        let bytes = HEAD_BYTES as u64 + block.sealed.len() as u64;
        request.read_bytes.fetch_add(bytes, Ordering::Relaxed);
        let head = block.head;
        // Two files may hold the same interval where storage was restarted; the first one counts.
        let wanted = head.complete && head.from_ns >= *reached && head.to_ns <= request.window.to_ns;
        if !wanted {
            continue;
        }
        let (head, rows) = records::open(&cipher, block)?;
        *reached = head.to_ns;
        let message = feed::encode_rows(head.from_ns, head.to_ns, head.complete, &rows);
        if !send(parts, Part::Feed(vec![message], bytes, Totals::default())) {
            return Ok(());
        }
    }
    Ok(())
}

fn send(parts: &SyncSender<Receiver<Part>>, part: Part) -> bool {
    let (sender, receiver) = channel();
    sender.send(part).is_ok() && parts.send(receiver).is_ok()
}
