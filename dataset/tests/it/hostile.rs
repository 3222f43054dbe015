//! Any altered bit, any cut, any noise: an error, never a panic, never much memory.

use std::{
    io::{Cursor, Read, Seek, SeekFrom},
    sync::OnceLock,
};

use como_dataset::{DatasetError, DatasetReader, Head, format::MAX_CHUNKS, verify};
use proptest::prelude::*;

use crate::make::*;

fn good() -> &'static [Vec<u8>; 2] {
    static GOOD: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    GOOD.get_or_init(|| [table_file(), packets_file()])
}

/// Everything that reads, with hostile input: no error is a pass, a panic is a failure.
fn read_every_way(file: &[u8]) -> bool {
    let verified = verified(file).is_ok();
    let opened = read_all(file, &partner(), None).is_ok();
    if let Ok(mut reader) = DatasetReader::open_provisional(Cursor::new(file), &partner()) {
        let mut chunks = 0u64;
        while let Ok(Some(_)) = reader.next_chunk() {
            chunks += 1;
            assert!(chunks <= MAX_CHUNKS);
        }
    }
    verified && opened
}

#[test]
fn any_flipped_bit_in_the_frame_of_the_file_is_found_by_verify() {
    // Every bit outside of chunk bodies and stanzas' ciphertext: magic, lengths, header, MAC, index, footer.
    let file = &good()[0];
    let head = Head::read(&mut file.as_slice()).unwrap().bytes as usize;
    let trailer = file.len() - 112 - 4 * 36 - 4;
    let mut altered = file.clone();
    for byte in (0..head)
        .step_by(3)
        .chain(head..head + 6)
        .chain(trailer..file.len())
    {
        let bit = 1 << (byte % 8);
        altered[byte] ^= bit;
        assert!(verified(&altered).is_err(), "bit {bit} of byte {byte}");
        altered[byte] ^= bit;
    }
    assert!(verified(&altered).is_ok());
}

#[test]
fn every_cut_at_a_structural_boundary_is_found() {
    for file in good() {
        let head = Head::read(&mut file.as_slice()).unwrap().bytes as usize;
        let mut cuts = vec![0, 1, 4, 8, 15, 16, 17, head - 64, head - 32, head - 1, head];
        let mut at = head;
        loop {
            let length = u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
            cuts.extend([at + 2, at + 4, at + 4 + length / 2]);
            at += 4 + length;
            cuts.push(at);
            if length == 0 {
                break;
            }
        }
        cuts.extend([
            at + 36,
            file.len() - 112,
            file.len() - 104,
            file.len() - 72,
            file.len() - 8,
            file.len() - 1,
        ]);
        for cut in cuts.into_iter().filter(|&cut| cut < file.len()) {
            let part = &file[..cut];
            assert!(
                verified(part).is_err() && read_all(part, &partner(), None).is_err(),
                "cut at {cut}"
            );
            read_every_way(part);
        }
    }
}

#[test]
fn bytes_after_the_end_are_not_overlooked() {
    for file in good() {
        for more in [&b"\0"[..], b"CDS1END\n", &file[..], &file[file.len() - 112..]] {
            let longer = [&file[..], more].concat();
            assert!(verified(&longer).is_err() && read_all(&longer, &partner(), None).is_err());
        }
    }
}

/// A file of claimed lengths that counts how much is read from it.
struct Counting<R>(R, u64);

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.0.read(buffer)?;
        self.1 += n as u64;
        Ok(n)
    }
}

impl<R: Seek> Seek for Counting<R> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn enormous_claims_are_refused_by_their_limit_before_anything_is_read() {
    let file = &good()[0];
    let claim = |at: usize, bytes: &[u8]| {
        let mut altered = file.clone();
        altered[at..at + bytes.len()].copy_from_slice(bytes);
        altered
    };
    for at in [8, 12] {
        let altered = claim(at, &u32::MAX.to_le_bytes());
        let mut counting = Counting(Cursor::new(altered), 0);
        let error = verify(&mut counting, &node().verifying_key()).unwrap_err();
        assert!(
            matches!(
                error,
                DatasetError::TooLarge {
                    by_file: true,
                    claimed: 0xffff_ffff,
                    ..
                }
            ),
            "{error}"
        );
        assert!(
            counting.1 <= 16,
            "{} bytes were read for a claim that is refused",
            counting.1
        );
    }
    let count = file.len() - 112;
    assert!(matches!(
        verified(&claim(count, &u64::MAX.to_le_bytes())),
        Err(DatasetError::TooLarge {
            claimed: u64::MAX,
            ..
        })
    ));
    assert!(matches!(
        verified(&claim(count, &MAX_CHUNKS.to_le_bytes())),
        Err(DatasetError::TrailerTampered { .. })
    ));
    assert!(matches!(
        verified(&claim(count, &0u64.to_le_bytes())),
        Err(DatasetError::TrailerTampered { .. })
    ));
    // A chunk that claims 4 GiB, read as it comes in.
    let head = Head::read(&mut file.as_slice()).unwrap().bytes as usize;
    let altered = claim(head, &u32::MAX.to_le_bytes());
    let mut reader = DatasetReader::open_provisional(Cursor::new(altered), &partner()).unwrap();
    assert!(matches!(
        reader.next_chunk(),
        Err(DatasetError::ChunkCorrupt { chunk: 0, .. })
    ));
}

#[test]
fn an_insider_who_knows_the_data_key_cannot_pass_for_the_node() {
    // A recipient makes a dataset with the node's header, and signs it with a key of its own.
    let own = como_keys::signing::SigningKey::from_bytes(&[9; 32]);
    let mut writer = como_dataset::DatasetWriter::create(Vec::new(), &table_header(), &recipients()).unwrap();
    writer.write_table(&rows(3)).unwrap();
    let forged = signed(writer, &own);
    assert!(matches!(verified(&forged), Err(DatasetError::BadSignature)));
    assert!(matches!(
        read_all(&forged, &partner(), Some(&node().verifying_key())),
        Err(DatasetError::BadSignature)
    ));
    assert!(matches!(
        verify(Cursor::new(&forged), &own.verifying_key()),
        Err(DatasetError::WrongSigner { .. })
    ));
    // Without the node's key it opens, and says that origin was not checked.
    let reader = DatasetReader::open(Cursor::new(&forged), &partner(), None).unwrap();
    assert!(!reader.origin_checked());
}

#[test]
fn every_message_has_two_lines_and_quotes_no_content() {
    let file = &good()[0];
    let mut errors = vec![
        verified(b"").unwrap_err(),
        verified(&file[..file.len() - 1]).unwrap_err(),
        read_all(file, &stranger(), None).unwrap_err(),
        DatasetReader::open(Cursor::new(file), &partner(), None)
            .unwrap()
            .chunk(9)
            .unwrap_err(),
    ];
    for at in [4, 6, 8, 40, file.len() - 112, file.len() - 90] {
        let mut altered = file.clone();
        altered[at] ^= 0x80;
        errors.push(verified(&altered).unwrap_err());
    }
    for error in errors {
        let text = error.to_string();
        assert_eq!(text.lines().count(), 2, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_flipped_bit_anywhere_makes_verify_fail_and_never_changes_what_opens(
        which in 0..2usize, at in any::<prop::sample::Index>(), bit in 0..8u8)
    {
        let file = &good()[which];
        let mut altered = file.clone();
        altered[at.index(file.len())] ^= 1 << bit;
        prop_assert!(verified(&altered).is_err());
        let with_key = read_all(&altered, &partner(), Some(&node().verifying_key()));
        prop_assert!(with_key.is_err());
        // Without the node's key only the signature itself may differ: content never does.
        if let Ok(chunks) = read_all(&altered, &partner(), None) {
            prop_assert_eq!(chunks, read_all(file, &partner(), None).unwrap());
        }
        read_every_way(&altered);
    }

    #[test]
    fn any_truncation_fails(which in 0..2usize, at in any::<prop::sample::Index>()) {
        let file = &good()[which];
        let cut = &file[..at.index(file.len())];
        prop_assert!(verified(cut).is_err());
        prop_assert!(read_all(cut, &partner(), None).is_err());
        // Provisional chunks of a cut file are a prefix of the whole.
        if let Ok(mut reader) = DatasetReader::open_provisional(Cursor::new(cut), &partner()) {
            let whole = read_all(file, &partner(), None).unwrap();
            let mut number = 0;
            while let Ok(Some(chunk)) = reader.next_chunk() {
                prop_assert_eq!(&chunk, &whole[number]);
                number += 1;
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(noise in proptest::collection::vec(any::<u8>(), 0..4000), magic in any::<bool>()) {
        let mut file = noise;
        if magic {
            file.splice(0..0, *b"CDS1\x01\x00\x01\x00");
        }
        prop_assert!(!read_every_way(&file));
    }

    #[test]
    fn mutated_good_files_never_panic(
        which in 0..2usize,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u32>(), 0..4u8), 1..6))
    {
        let mut file = good()[which].clone();
        for (at, value, edit) in edits {
            let at = at.index(file.len().max(1)).min(file.len().saturating_sub(4));
            if file.len() < 8 { break; }
            match edit {
                0 => file[at..at + 4].copy_from_slice(&value.to_le_bytes()),
                1 => { file.drain(at..(at + 1 + value as usize % 64).min(file.len())); }
                2 => { file.splice(at..at, value.to_le_bytes()); }
                _ => { let b = file[at]; file[at] = b.wrapping_add(value as u8 | 1); }
            }
        }
        if !good().contains(&file) {
            prop_assert!(!read_every_way(&file));
        }
    }
}
