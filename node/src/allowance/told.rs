//! How commands of the operator that read the trace learn what they may read, of the node that runs on the same folder: a
//! file with the pressure of capture and the number of readers, which is there only while readers are held back. Must
//! never hold anybody back for a node that does not run any more: who reads it asks first whether one does.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{FULL, UNLIMITED, of_pressure};

/// What a running supervisor tells.
#[derive(Debug)]
pub struct Told {
    path: PathBuf,
    /// What stands in the file; `None`: there is none.
    last: Option<(u16, usize)>,
}

impl Told {
    /// Nothing is told at first: what another supervisor left is taken away.
    pub fn at(path: PathBuf) -> io::Result<Self> {
        absent_is_fine(fs::remove_file(&path))?;
        Ok(Self { path, last: None })
    }

    /// Tells a pressure that holds so many readers back, or with `None` that nobody is held back.
    pub fn tell(&mut self, holding: Option<(u16, usize)>) -> io::Result<()> {
        if holding == self.last {
            return Ok(());
        }
        match holding {
            Some((pressure, readers)) => {
                // Renamed, so that nobody reads half of it. Not synced: it is of no use to another start.
                let new = self.path.with_extension("new");
                fs::write(&new, format!("{pressure} {readers}\n"))?;
                fs::rename(&new, &self.path)?;
            }
            None => absent_is_fine(fs::remove_file(&self.path))?,
        }
        self.last = holding;
        Ok(())
    }
}

/// What one more reader may read, bytes/s, by what stands in the file. What cannot be read holds nobody back.
pub fn rate(path: &Path) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let told = text.trim().split_once(' ').and_then(|(pressure, readers)| {
        Some((pressure.parse::<u16>().ok()?, readers.parse::<usize>().ok()?))
    });
    match told {
        Some((pressure, readers)) => of_pressure(pressure.min(FULL), readers.saturating_add(1)),
        None => UNLIMITED,
    }
}

fn absent_is_fine(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_heard_until_it_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pressure");
        fs::write(&path, "1000 0\n").unwrap();
        let mut told = Told::at(path.clone()).unwrap();
        assert_eq!(rate(&path), UNLIMITED, "another supervisor's");
        told.tell(Some((FULL, 2))).unwrap();
        assert_eq!(rate(&path), of_pressure(FULL, 3));
        told.tell(Some((600, 0))).unwrap();
        assert_eq!(rate(&path), of_pressure(600, 1));
        told.tell(None).unwrap();
        told.tell(None).unwrap();
        assert_eq!(rate(&path), UNLIMITED);
        for noise in ["", "1000", "a b", "-1 0", "1000 0 0", "70000 1"] {
            fs::write(&path, noise).unwrap();
            assert_eq!(rate(&path), UNLIMITED, "{noise}");
        }
        fs::write(&path, format!("65535 {}", usize::MAX)).unwrap();
        assert!(rate(&path) < UNLIMITED);
    }
}
