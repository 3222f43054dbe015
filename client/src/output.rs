//! Where `como` speaks: results to stdout, progress and errors to stderr, JSON for scripts.
//!
//! Must never decide what is said; and never print a progress bar where no person looks.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::answer::State;
use crate::client::Event;
use crate::error::ClientError;

/// Whether a person or a script reads.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// A script reads.
    pub json: bool,
}

impl Output {
    /// Prints a result: one JSON document, or the text for a person.
    pub fn result(self, value: &Value, text: &str) {
        let mut out = std::io::stdout().lock();
        // A closed pipe (`como status | head`) is the reader's wish, not an error.
        let _ = if self.json {
            writeln!(out, "{value}")
        } else {
            write!(out, "{text}")
        };
    }

    /// Tells a person something on the way.
    pub fn note(self, text: &str) {
        if !self.json {
            eprintln!("{text}");
        }
    }

    /// Prints an error: what is wrong, and what to do.
    pub fn error(self, error: &ClientError) {
        let (what, fix) = error.lines();
        if self.json {
            let code = error.exit() as u8;
            eprintln!("{}", json!({ "error": what, "fix": fix, "exit": code }));
        } else {
            eprintln!("error: {what}\n  fix: {fix}");
        }
    }

    /// A progress bar, invisible where stderr is no terminal or a script reads.
    pub fn progress(self) -> Bar {
        let visible = !self.json && std::io::stderr().is_terminal();
        let bar = if visible {
            ProgressBar::no_length()
        } else {
            ProgressBar::hidden()
        };
        bar.enable_steady_tick(Duration::from_millis(120));
        Bar { bar, stage: "" }
    }
}

/// Shows what happens while one waits.
pub struct Bar {
    bar: ProgressBar,
    stage: &'static str,
}

impl Bar {
    /// Takes an event of the client.
    pub fn on(&mut self, event: Event<'_>) {
        match event {
            Event::State(state) => {
                let stage = if state.state == State::Queued {
                    "queued"
                } else {
                    "running at the node"
                };
                self.to(stage, state.progress.done, state.progress.total, false);
            }
            Event::Fetched { done, total } => self.to("fetching", done, total, true),
            Event::Retrying(error) => self.bar.set_message(format!("trying again: {}", error.lines().0)),
        }
    }

    /// Shows `done` of `total` in a stage; a total of 0 is not known.
    pub fn to(&mut self, stage: &'static str, done: u64, total: u64, in_bytes: bool) {
        if self.stage != stage {
            self.stage = stage;
            self.bar.set_style(style(total > 0, in_bytes));
            self.bar.set_message(stage);
            self.bar.reset_eta();
        }
        if total > 0 {
            self.bar.set_style(style(true, in_bytes));
            self.bar.set_length(total);
        }
        self.bar.set_position(done);
    }

    /// Removes the bar.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(length_known: bool, in_bytes: bool) -> ProgressStyle {
    let template = match (length_known, in_bytes) {
        (false, _) => "{spinner} {msg} {elapsed}",
        (true, true) => "{spinner} {msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        (true, false) => "{spinner} {msg} [{bar:30}] {percent}% {eta}",
    };
    ProgressStyle::with_template(template)
        .expect("the templates above are valid")
        .progress_chars("=> ")
}
