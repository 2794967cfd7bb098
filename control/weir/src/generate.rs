//! Material generated from the code: schema, completions, manual pages.

use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::client::ClientError;
use crate::verbs::print;

/// The JSON Schema (draft-07) of the configuration.
pub(crate) fn schema() -> Result<(), ClientError> {
    let schema = weir_control::config::schema();
    let text = serde_json::to_string_pretty(&schema).context("the schema is JSON")?;
    print(&format!("{text}\n"));
    Ok(())
}

/// Completions for a shell.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<(), ClientError> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "weir", &mut text);
    print(&String::from_utf8_lossy(&text));
    Ok(())
}

/// The manual: one page to the terminal, or a page per verb into `dir`.
pub(crate) fn man(dir: Option<&Path>) -> Result<(), ClientError> {
    match dir {
        Some(dir) => {
            std::fs::create_dir_all(dir)
                .with_context(|| format!("cannot create {}", dir.display()))?;
            clap_mangen::generate_to(Cli::command(), dir)
                .with_context(|| format!("cannot write into {}", dir.display()))?;
        }
        None => {
            let mut text = Vec::new();
            clap_mangen::Man::new(Cli::command())
                .render(&mut text)
                .context("cannot render the manual")?;
            print(&String::from_utf8_lossy(&text));
        }
    }
    Ok(())
}
