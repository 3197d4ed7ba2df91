//! The command line of `local-hub`, and the file that may say the same.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Parser;

use crate::settings::Settings;

/// An Azure IoT Hub on your own machine, for development and tests.
///
/// It listens on this machine only, and on the ports that official clients expect. Its CA, its keys
/// and those of --device are kept in the state folder; devices created otherwise, waiting messages and
/// sessions are forgotten when it ends.
#[derive(Debug, Parser)]
#[command(name = "local-hub", version, args_override_self = true, after_help = LOGS)]
pub(crate) struct Arguments {
    /// A TOML file with options of the same names, and tables of routes; what the command line says wins
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// What the help says about output.
const LOGS: &str = "\
Output: first how to get in, then a line for each thing that happens, on standard output. With --log json
every line is a JSON object, and the connection strings are in the ready file only. NO_COLOR=1 switches
colours off. The hub's own log goes to standard error: warnings and errors, or what RUST_LOG asks for
(RUST_LOG=debug, RUST_LOG=iothub_local_hub=trace). docs/logs.md has it all.";

impl Arguments {
    /// What was asked for, on the command line or else in the file.
    pub(crate) fn settings(self) -> anyhow::Result<Settings> {
        let Some(path) = self.config else { return Ok(self.settings) };
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("the configuration file {path:?} cannot be read"))?;
        match toml::from_str(&text) {
            Ok(file) => Ok(self.settings.or(file)),
            Err(error) => {
                let (line, column) = place(&text, error.span().map_or(0, |span| span.start));
                // Its own form takes several lines, and quotes the file, which may hold a key.
                let what = error.message().lines().collect::<Vec<_>>().join(", ");
                bail!("the configuration file {path:?}, line {line}, column {column}: {what}")
            }
        }
    }
}

/// Line and character in it, from 1.
fn place(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or(before);
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}
