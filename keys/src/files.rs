//! Secret files: created with mode 0600, refused when others can read them. Must never print or log
//! what they hold.

use crate::KeyError;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use zeroize::Zeroizing;

/// Largest secret file that is read, bytes.
pub const MAX_SECRET_BYTES: u64 = 64 << 20;

/// Creates `path` with mode 0600 and writes `secret`; refuses to overwrite.
pub fn write_secret(path: &Path, secret: &[u8]) -> Result<(), KeyError> {
    let failed = |source| KeyError::File {
        path: path.to_owned(),
        doing: "written",
        source,
        fix: "choose a path that does not exist yet, in a folder you may write to",
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.write_all(secret)
        .and_then(|()| file.sync_all())
        .map_err(failed)
}

/// Reads a secret file; refuses one that group or others may read or write.
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let failed = |source| KeyError::File {
        path: path.to_owned(),
        doing: "read",
        source,
        fix: "check the path, and that this user owns the file",
    };
    let file = File::open(path).map_err(failed)?;
    // The mode of the opened file, not of the path: nobody can swap it in between.
    let metadata = file.metadata().map_err(failed)?;
    check_mode(path, &metadata)?;
    let mut secret = Zeroizing::new(Vec::with_capacity(
        metadata.len().min(MAX_SECRET_BYTES) as usize + 1,
    ));
    file.take(MAX_SECRET_BYTES + 1)
        .read_to_end(&mut secret)
        .map_err(failed)?;
    if secret.len() as u64 > MAX_SECRET_BYTES {
        return Err(KeyError::Malformed {
            what: path.display().to_string(),
            why: format!("it is larger than {MAX_SECRET_BYTES} bytes"),
            fix: "check that it is the key file you mean",
        });
    }
    Ok(secret)
}

/// Replaces `path` at once: a new file of mode 0600 beside it, synced, renamed over it, folder synced.
/// An existing file that others can read is refused first.
pub fn replace_secret(path: &Path, secret: &[u8]) -> Result<(), KeyError> {
    let failed = |source| KeyError::File {
        path: path.to_owned(),
        doing: "replaced",
        source,
        fix: "check that the folder exists, is writable and has space left",
    };
    if let Ok(metadata) = fs::metadata(path) {
        check_mode(path, &metadata)?;
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = folder.join(name);
    // A leftover of a killed process: it was never renamed, so it holds nothing that counts.
    match fs::remove_file(&beside) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    write_secret(&beside, secret)?;
    fs::rename(&beside, path).map_err(failed)?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed)
}

fn check_mode(path: &Path, metadata: &fs::Metadata) -> Result<(), KeyError> {
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::FileMode {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_secret_is_written_0600_and_never_over_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        write_secret(&path, b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(&read_secret(&path).unwrap()[..], b"one");
        assert!(write_secret(&path, b"two").is_err());
        replace_secret(&path, b"two").unwrap();
        assert_eq!(&read_secret(&path).unwrap()[..], b"two");
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused_with_the_fix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        write_secret(&path, b"one").unwrap();
        for mode in [0o640, 0o604, 0o620, 0o610, 0o666] {
            chmod(&path, mode);
            let error = read_secret(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("(mode {mode:04o})")), "{error}");
            assert!(
                error.ends_with(&format!("run: chmod 600 {}", path.display())),
                "{error}"
            );
        }
        for mode in [0o600, 0o400] {
            chmod(&path, mode);
            assert!(read_secret(&path).is_ok());
        }
    }

    #[test]
    fn a_leftover_of_a_killed_writer_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(folder.path().join("secret.new"), b"half").unwrap();
        replace_secret(&path, b"whole").unwrap();
        assert_eq!(&read_secret(&path).unwrap()[..], b"whole");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn absent_and_enormous_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        assert!(matches!(read_secret(&path), Err(KeyError::File { .. })));
        File::create(&path)
            .unwrap()
            .set_len(MAX_SECRET_BYTES + 1)
            .unwrap();
        chmod(&path, 0o600);
        assert!(matches!(read_secret(&path), Err(KeyError::Malformed { .. })));
        assert!(replace_secret(&folder.path().join("absent/secret"), b"x").is_err());
    }
}
