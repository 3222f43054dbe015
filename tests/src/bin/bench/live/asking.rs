//! A partner who asks for everything in the trace, again and again, while something else is measured.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use como_tests::trial::{self, Person};

use super::{POLL, Reaped};

/// The questions, until they are ended.
pub struct Asking {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<trial::Result<u32>>,
}

impl Asking {
    /// Asks from now on; answers go to a file, each over the one before.
    pub fn start(person: &Person, out: &Path) -> trial::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, out) = (stop.clone(), out.to_owned());
        let program = person.como()?;
        let arguments: Vec<_> = program.get_args().map(ToOwned::to_owned).collect();
        let program = program.get_program().to_owned();
        let ask = move || {
            let mut answers = 0;
            while !told.load(Ordering::Relaxed) {
                let _ = std::fs::remove_file(&out);
                let mut command = Command::new(&program);
                command
                    .args(&arguments)
                    .args(["trace", "--all", "--level", "payload"]);
                command.arg("-o").arg(&out).stdin(Stdio::null());
                command.stdout(Stdio::null()).stderr(Stdio::null());
                let child = command.spawn().map_err(|e| format!("como does not start: {e}"))?;
                let mut child = Reaped(child);
                // The last question is not waited for.
                while !told.load(Ordering::Relaxed) {
                    if let Ok(Some(status)) = child.0.try_wait() {
                        answers += u32::from(status.success());
                        break;
                    }
                    std::thread::sleep(POLL);
                }
            }
            Ok(answers)
        };
        Ok(Self {
            stop,
            thread: std::thread::spawn(ask),
        })
    }

    /// Ends it: how many answers came whole.
    pub fn stop(self) -> trial::Result<u32> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .unwrap_or_else(|_| Err("the asking thread failed".into()))
    }
}
