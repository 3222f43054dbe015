//! Signals to events, and the process id file that keeps a second supervisor out.

use std::io::{Read, Seek, Write};
use std::sync::mpsc::Sender;

use rustix::fs::{FlockOperation, flock};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{Event, SupervisorError};
use crate::config::Layout;

/// Held for as long as the supervisor runs: the kernel drops the lock however it ends.
pub(super) struct PidFile {
    _file: std::fs::File,
}

impl PidFile {
    /// Takes the lock, or says who has it.
    pub fn take(layout: &Layout) -> Result<Self, SupervisorError> {
        let path = layout.pid_file();
        let fail = |e| SupervisorError::Io(path.display().to_string(), e);
        let mut file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(fail)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            let pid = pid.trim().parse().unwrap_or(0);
            return Err(SupervisorError::AlreadyRunning(
                layout.root().display().to_string(),
                pid,
            ));
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(fail)?;
        writeln!(file, "{}", std::process::id()).map_err(fail)?;
        Ok(Self { _file: file })
    }
}

/// Sends an event for every signal that means something to the supervisor.
pub(super) fn forward(events: Sender<Event>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let event = if signal == SIGHUP {
                Event::Reload
            } else {
                Event::Stop
            };
            if events.send(event).is_err() {
                return;
            }
        }
    });
    Ok(())
}
