//! `como completions` and `como man`: generated from the command tree, so that they cannot lie.

use std::fs;
use std::path::Path;

use clap::CommandFactory as _;
use serde_json::json;

use super::Context;
use crate::cli::Cli;
use crate::error::{ClientError, Result};

pub fn completions(shell: clap_complete::Shell) -> Result<()> {
    clap_complete::generate(shell, &mut Cli::command(), "como", &mut std::io::stdout());
    Ok(())
}

pub fn man(context: &Context, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(|error| ClientError::write(dir, error))?;
    clap_mangen::generate_to(Cli::command(), dir).map_err(|error| ClientError::write(dir, error))?;
    let text = format!(
        "Wrote the man pages to {}; read one with `man {}/como.1`.\n",
        dir.display(),
        dir.display()
    );
    context.output.result(&json!({ "dir": dir }), &text);
    Ok(())
}
