//! The pipeline's threads: whichever fails, by an error or a panic, ends them all. Must never leave one waiting for what
//! will not come, nor let the end of the items be seen before the failure.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::PipelineError;
use super::control::Control;
use super::permits::Permits;

pub(super) struct Threads {
    control: Arc<Control>,
    permits: Permits,
    running: Vec<JoinHandle<Result<(), PipelineError>>>,
}

impl Threads {
    pub fn new(control: &Arc<Control>, permits: &Permits) -> Self {
        Self {
            control: control.clone(),
            permits: permits.clone(),
            running: Vec::new(),
        }
    }

    /// Starts one. `output` is a copy of its channel's end: the next thread sees no end before a failure is known.
    pub fn spawn(
        &mut self,
        name: &str,
        output: impl Send + 'static,
        run: impl FnOnce() -> Result<(), PipelineError> + Send + 'static,
    ) {
        let ending = Ending {
            control: self.control.clone(),
            permits: self.permits.clone(),
            well: false,
            _output: output,
        };
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || ending.after(run));
        self.running
            .push(thread.expect("the system starts a few threads"));
    }

    /// Waits for all, and gives the first error of any.
    pub fn join(self) -> Result<(), PipelineError> {
        let mut result = Ok(());
        for thread in self.running {
            let ended = thread.join().unwrap_or(Err(PipelineError::ThreadDied));
            if result.is_ok() {
                result = ended;
            }
        }
        result
    }
}

/// What happens when a thread ends.
struct Ending<O> {
    control: Arc<Control>,
    permits: Permits,
    well: bool,
    /// Dropped after all else.
    _output: O,
}

impl<O> Ending<O> {
    fn after(mut self, run: impl FnOnce() -> Result<(), PipelineError>) -> Result<(), PipelineError> {
        let result = run();
        self.well = result.is_ok();
        result
    }
}

impl<O> Drop for Ending<O> {
    fn drop(&mut self) {
        if !self.well {
            self.control.fail();
            self.control.stop();
            // A block that is missing keeps its place, and those behind it theirs.
            self.permits.close();
        }
    }
}
