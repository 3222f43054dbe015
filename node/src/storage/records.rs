//! Record files on the disk: append, recover, expire. Knows their clear heads, never their rows.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Cursor, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::records::{self, Block, Header, Recovered, Stretch};

/// Longest name of a record file, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// How long and how much of records is kept. A file goes as a whole, and only once it has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordRetention {
    /// All files together have at most this many bytes, besides those that are being written.
    pub max_bytes: u64,
    /// A file is kept for at most this long after it ended, wall time; `None`: as long as there is room.
    pub max_age: Option<Duration>,
}

/// What the supervisor is told of a file that changed.
pub(super) struct Change {
    pub file: String,
    pub header: Vec<u8>,
    pub stretch: Stretch,
    pub new_stretch: bool,
    pub bytes: u64,
}

struct RecordFile {
    file: File,
    header: Vec<u8>,
    held: Recovered,
    dirty: bool,
}

/// All record files.
pub(super) struct Records {
    folder: PathBuf,
    retention: RecordRetention,
    /// Files that are being written.
    open: BTreeMap<String, RecordFile>,
    /// Bytes of ended files, by name.
    ended: BTreeMap<String, (SystemTime, u64)>,
}

impl Records {
    /// Opens the folder and recovers every file: torn tails are cut. Changes name all that is there.
    pub fn open(folder: &Path, retention: RecordRetention) -> std::io::Result<(Self, Vec<Change>)> {
        std::fs::create_dir_all(folder)?;
        let mut records = Self {
            folder: folder.to_owned(),
            retention,
            open: BTreeMap::new(),
            ended: BTreeMap::new(),
        };
        let mut changes = Vec::new();
        for entry in std::fs::read_dir(folder)?.flatten() {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            match records.recover(&name) {
                Ok((header, held)) => {
                    for stretch in &held.stretches {
                        changes.push(Change {
                            file: name.clone(),
                            header: header.clone(),
                            stretch: *stretch,
                            new_stretch: true,
                            bytes: held.valid_bytes,
                        });
                    }
                    let modified = entry.metadata()?.modified()?;
                    records.ended.insert(name, (modified, held.valid_bytes));
                }
                Err(error) => {
                    tracing::warn!("record file {name} is set aside: {error}");
                }
            }
        }
        Ok((records, changes))
    }

    fn recover(&self, name: &str) -> Result<(Vec<u8>, Recovered), records::RecordError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.folder.join(name))?;
        let (header, start) = Header::read(&mut file)?;
        let held = records::recover(&mut file, start)?;
        if file.metadata()?.len() > held.valid_bytes {
            file.set_len(held.valid_bytes)?;
            file.sync_all()?;
        }
        Ok((header.to_message(), held))
    }

    /// Begins a file; one that is there already is continued (its writer sends again after a break).
    pub fn begin(&mut self, name: &str, header: &[u8]) -> std::io::Result<()> {
        if !is_name(name) {
            return Err(std::io::Error::other("not a name for a record file"));
        }
        if self.open.contains_key(name) {
            return Ok(());
        }
        Header::from_message(header).map_err(std::io::Error::other)?;
        if self.ended.contains_key(name) {
            return self.reopen(name);
        }
        let start = records::file_start(header);
        let path = self.folder.join(name);
        // What stands there has no whole header, or it would be known: a crash or a full disk left it.
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        file.write_all(&start)?;
        let held = Recovered {
            valid_bytes: start.len() as u64,
            ..Recovered::default()
        };
        self.keep_open(name, header.to_vec(), held)
    }

    /// Continues a file that was there when storage started.
    fn reopen(&mut self, name: &str) -> std::io::Result<()> {
        let (header, held) = self.recover(name).map_err(std::io::Error::other)?;
        self.keep_open(name, header, held)?;
        self.ended.remove(name);
        Ok(())
    }

    fn keep_open(&mut self, name: &str, header: Vec<u8>, held: Recovered) -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.folder.join(name))?;
        file.seek(SeekFrom::Start(held.valid_bytes))?;
        let record = RecordFile {
            file,
            header,
            held,
            dirty: true,
        };
        self.open.insert(name.to_owned(), record);
        Ok(())
    }

    /// Appends a block; one that is there already is dropped. A change of coverage comes out.
    pub fn append(&mut self, name: &str, bytes: &[u8]) -> std::io::Result<Option<Change>> {
        let unknown = || std::io::Error::other("a block for a record file that is not open");
        // Storage restarted: the file's opening was acknowledged, so that it is not sent again.
        if self.ended.contains_key(name) {
            self.reopen(name)?;
        }
        let record = self.open.get_mut(name).ok_or_else(unknown)?;
        let mut rest = Cursor::new(bytes);
        let block = Block::read(&mut rest)
            .map_err(std::io::Error::other)?
            .filter(|_| rest.position() == bytes.len() as u64)
            .ok_or_else(|| std::io::Error::other("not one whole record block"))?;
        if block.head.number < record.held.blocks {
            return Ok(None);
        }
        if block.head.number > record.held.blocks {
            return Err(std::io::Error::other("a record block is missing before this one"));
        }
        if let Err(error) = record.file.write_all(bytes) {
            // Half a block must not stand before the next try.
            record.file.set_len(record.held.valid_bytes)?;
            record.file.seek(SeekFrom::Start(record.held.valid_bytes))?;
            return Err(error);
        }
        record.dirty = true;
        let new_stretch = record.held.add(&block.head);
        Ok(record
            .held
            .stretches
            .last()
            .filter(|_| block.head.complete)
            .map(|stretch| Change {
                file: name.to_owned(),
                header: record.header.clone(),
                stretch: *stretch,
                new_stretch,
                bytes: record.held.valid_bytes,
            }))
    }

    /// Brings everything that was appended to the disk.
    pub fn sync(&mut self) -> std::io::Result<()> {
        for record in self.open.values_mut().filter(|r| r.dirty) {
            record.file.sync_data()?;
            record.dirty = false;
        }
        Ok(())
    }

    /// No more blocks come to a file.
    pub fn end(&mut self, name: &str) -> std::io::Result<()> {
        if let Some(record) = self.open.remove(name) {
            record.file.sync_all()?;
            self.ended
                .insert(name.to_owned(), (SystemTime::now(), record.held.valid_bytes));
        }
        Ok(())
    }

    /// Removes the oldest ended files until all fit and none is too old; their names come out.
    pub fn expire(&mut self) -> std::io::Result<Vec<String>> {
        let mut gone = Vec::new();
        while let Some((oldest, ended)) = self
            .ended
            .iter()
            .min_by_key(|(_, (ended, _))| *ended)
            .map(|(name, (ended, _))| (name.clone(), *ended))
        {
            let age = ended.elapsed().unwrap_or_default();
            let too_old = self.retention.max_age.is_some_and(|max| age > max);
            if !too_old && self.bytes() <= self.retention.max_bytes {
                break;
            }
            std::fs::remove_file(self.folder.join(&oldest))?;
            self.ended.remove(&oldest);
            gone.push(oldest);
        }
        Ok(gone)
    }

    /// Number of files.
    pub fn files(&self) -> usize {
        self.open.len() + self.ended.len()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        let open: u64 = self.open.values().map(|r| r.held.valid_bytes).sum();
        open + self.ended.values().map(|(_, bytes)| bytes).sum::<u64>()
    }
}

/// Names come from export, which runs guests: nothing but a plain file name in our folder.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    name.len() <= MAX_NAME_BYTES
        && name.ends_with(".rec")
        && !name.starts_with('.')
        && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use como_keys::aead::DataKey;
    use como_keys::sealing::Identity;
    use como_policies::AccessLevel;

    fn keep(max_bytes: u64) -> RecordRetention {
        RecordRetention {
            max_bytes,
            max_age: None,
        }
    }

    fn stretch(from_ns: u64, to_ns: u64) -> Stretch {
        Stretch {
            from_ns,
            to_ns,
            one_in: 1,
        }
    }

    fn header() -> Vec<u8> {
        let (_, key) = Header::wrap_key(&[3; 32], &Identity::generate().recipient());
        Header {
            metric: [3; 32],
            name: "traffic".into(),
            release: 1,
            wasm_sha256: [1; 32],
            arguments: vec![],
            audience: String::new(),
            level: AccessLevel::Anonymized,
            output_level: AccessLevel::Anonymized,
            interval_ns: 10,
            sealing_epoch: 1,
            key,
            instance: 1,
        }
        .to_message()
    }

    #[test]
    fn blocks_sent_again_are_dropped_and_a_torn_tail_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let mut sealer = records::Sealer::new(&DataKey::generate());
        let blocks: Vec<_> = (0..3u64)
            .map(|i| sealer.seal(stretch(i * 10, i * 10 + 10), true, b"rows"))
            .collect();
        let (mut store, found) = Records::open(folder.path(), keep(1 << 20)).unwrap();
        assert!(found.is_empty());
        store.begin("1.rec", &header()).unwrap();
        assert!(store.append("1.rec", &blocks[0]).unwrap().unwrap().new_stretch);
        assert!(store.append("1.rec", &blocks[2]).is_err(), "a hole");
        assert!(!store.append("1.rec", &blocks[1]).unwrap().unwrap().new_stretch);
        assert!(store.append("1.rec", &blocks[0]).unwrap().is_none(), "sent again");
        store.sync().unwrap();
        drop(store); // killed
        let path = folder.path().join("1.rec");
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], b"torn"].concat()).unwrap();
        let (mut store, found) = Records::open(folder.path(), keep(1 << 20)).unwrap();
        assert_eq!(
            found.iter().map(|c| c.stretch).collect::<Vec<_>>(),
            [stretch(0, 20)]
        );
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        // Its opening was acknowledged before: only blocks come again.
        assert!(store.append("1.rec", &blocks[1]).unwrap().is_none());
        assert_eq!(
            store.append("1.rec", &blocks[2]).unwrap().unwrap().stretch,
            stretch(0, 30)
        );
    }

    #[test]
    fn a_file_without_a_whole_header_is_begun_again() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("1.rec"), b"COMO").unwrap();
        let (mut store, found) = Records::open(folder.path(), keep(1 << 20)).unwrap();
        assert!(found.is_empty());
        store.begin("1.rec", &header()).unwrap();
        let block = records::Sealer::new(&DataKey::generate()).seal(stretch(0, 10), true, b"rows");
        assert!(store.append("1.rec", &block).unwrap().is_some());
        drop(store);
        let (_, found) = Records::open(folder.path(), keep(1 << 20)).unwrap();
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Records::open(folder.path(), keep(1 << 20)).unwrap();
        for name in ["../x.rec", "/etc/x.rec", ".rec", "a/b.rec", "x", ""] {
            assert!(store.begin(name, &header()).is_err(), "{name}");
        }
    }

    #[test]
    fn the_oldest_ended_files_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Records::open(folder.path(), keep(4000)).unwrap();
        for name in ["a.rec", "b.rec", "c.rec"] {
            store.begin(name, &header()).unwrap();
            store.end(name).unwrap();
        }
        let gone = store.expire().unwrap();
        assert_eq!(gone.first().map(String::as_str), Some("a.rec"));
        assert!(folder.path().join("c.rec").exists());
    }
    #[test]
    fn files_that_ended_too_long_ago_go_and_those_being_written_stay() {
        let folder = tempfile::tempdir().unwrap();
        let day = Duration::from_secs(86_400);
        let retention = RecordRetention {
            max_bytes: 1 << 20,
            max_age: Some(day),
        };
        let (mut store, _) = Records::open(folder.path(), retention).unwrap();
        for name in ["old.rec", "new.rec", "open.rec"] {
            store.begin(name, &header()).unwrap();
        }
        store.end("old.rec").unwrap();
        store.end("new.rec").unwrap();
        assert!(store.expire().unwrap().is_empty());
        drop(store);
        let file = File::options()
            .write(true)
            .open(folder.path().join("old.rec"))
            .unwrap();
        file.set_modified(SystemTime::now() - 2 * day).unwrap();
        let file = File::options()
            .write(true)
            .open(folder.path().join("open.rec"))
            .unwrap();
        file.set_modified(SystemTime::now() - 2 * day).unwrap();
        let (mut store, _) = Records::open(folder.path(), retention).unwrap();
        let block = records::Sealer::new(&DataKey::generate()).seal(stretch(0, 10), true, b"rows");
        store.append("open.rec", &block).unwrap();
        assert_eq!(store.expire().unwrap(), ["old.rec"]);
        assert_eq!(store.files(), 2);
    }
}
