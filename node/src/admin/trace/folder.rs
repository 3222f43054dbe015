//! The trace folder of a node, opened for its operator: segments by age and, where wanted and at hand, the
//! keys that open them. Must never change a file.

use std::fs::File;
use std::path::{Path, PathBuf};

use como_keys::keyring::{Keyring, Section};

use crate::admin::events::running_supervisor;
use crate::admin::{AdminError, root_secret};
use crate::config::{Config, Layout};
use crate::ring::{FileKind, Manifest, RingError, SegmentFile, segment_files};
use crate::trace::{ReadKeys, SegmentReader, TraceError};

/// Whether the node's keys are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin) enum Access {
    /// As far as they can be had.
    WithKeys,
    /// Not even where they can be had.
    WithoutKeys,
}

/// The trace of a node.
pub(in crate::admin) struct Folder {
    pub config: Config,
    pub layout: Layout,
    /// The node's keys; none: not wanted, or not to be had.
    pub keyring: Option<Keyring>,
    /// Why there are none although they were wanted, and what to do.
    pub no_keys_because: Option<String>,
    /// Whether the node runs: its open segment grows, its oldest may go.
    pub is_running: bool,
}

/// An opened segment.
pub(super) struct Segment {
    pub reader: SegmentReader,
    /// The node's identities of its day do not open it.
    pub wrong_keys: Option<TraceError>,
}

impl Folder {
    pub fn open(node: &Path, access: Access) -> Result<Self, AdminError> {
        let config = Config::load(node)?;
        let layout = config.layout();
        let (keyring, no_keys_because) = match access {
            Access::WithoutKeys => (None, None),
            Access::WithKeys => match load_keys(&config, &layout) {
                Ok(keyring) => (Some(keyring), None),
                Err(error) => (None, Some(error.to_string())),
            },
        };
        Ok(Self {
            keyring,
            no_keys_because,
            is_running: running_supervisor(&layout).is_some(),
            config,
            layout,
        })
    }

    /// The segment files by age; none where the node never ran.
    pub fn files(&self) -> Result<Vec<SegmentFile>, AdminError> {
        match segment_files(&self.layout.trace()) {
            Err(RingError::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Vec::new())
            }
            files => Ok(files?),
        }
    }

    /// What the ring has removed; a manifest that does not read tells nothing.
    pub fn manifest(&self) -> Result<Manifest, RingError> {
        Manifest::load(&self.layout.trace()).map(|(manifest, _)| manifest)
    }

    /// Opens a segment with the keys at hand; `None`: it expired meanwhile. Keys that do not open it are told
    /// beside, and leave it closed.
    pub(super) fn segment(&self, file: &SegmentFile) -> Result<Option<Segment>, TraceError> {
        let Some(opened) = still_there(file)? else {
            return Ok(None);
        };
        let reader = SegmentReader::open(opened)?;
        let header = reader.header();
        let keys = self.keyring.as_ref().map_or_else(
            || Ok(ReadKeys::default()),
            |keyring| {
                header.unwrap_keys(|section| keyring.trace_identity_if_present(header.sealing_epoch, section))
            },
        );
        Ok(Some(match keys {
            Ok(keys) => Segment {
                reader: reader.with_keys(&keys),
                wrong_keys: None,
            },
            Err(error) => Segment {
                reader,
                wrong_keys: Some(error),
            },
        }))
    }

    /// Whether the identity of section A of a day is there; `None`: nobody looked.
    pub fn has_keys_of(&self, sealing_epoch: u32) -> Option<bool> {
        let keyring = self.keyring.as_ref()?;
        Some(
            keyring
                .trace_identity_if_present(sealing_epoch, Section::A)
                .is_some(),
        )
    }
}

fn load_keys(config: &Config, layout: &Layout) -> Result<Keyring, AdminError> {
    Ok(Keyring::load(&layout.keyring(), &root_secret(config)?)?)
}

/// The file under its present name: an open segment may have ended since the folder was read. `None`: it
/// expired.
fn still_there(file: &SegmentFile) -> Result<Option<File>, TraceError> {
    let mut names: Vec<PathBuf> = vec![file.path.clone()];
    if file.kind == FileKind::Open {
        names.extend(["seg", "cut"].map(|extension| file.path.with_extension(extension)));
    }
    for name in names {
        match File::open(&name) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            opened => return Ok(Some(opened?)),
        }
    }
    Ok(None)
}

/// A file's name without its folder.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
