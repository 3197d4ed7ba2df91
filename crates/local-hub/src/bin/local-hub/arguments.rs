//! This file reads the command line of `local-hub`, and the configuration file that may say the same.
//!
//! `main` calls it once. What the options are is in `settings`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Parser;

use crate::places::{place, routes};
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

/// The part of the help that explains the output.
const LOGS: &str = "\
Output: first how to get in, then a line for each thing that happens, on standard output. With --log json
every line is a JSON object, and the connection strings are in the ready file only. NO_COLOR=1 switches
colours off. The hub's own log goes to standard error: warnings and errors, or what RUST_LOG asks for
(RUST_LOG=debug, RUST_LOG=iothub_local_hub=trace). docs/logs.md has it all.";

impl Arguments {
    /// Returns the settings that were given on the command line or else in the file.
    pub(crate) fn settings(self) -> anyhow::Result<Settings> {
        let Some(path) = self.config else { return Ok(self.settings) };
        let text = read(&path)?;
        match toml::from_str::<Settings>(&text) {
            Ok(mut file) => {
                file.place_routes(routes(&path, &text));
                Ok(self.settings.or(file))
            }
            Err(error) => {
                let (line, column) = place(&text, error.span().map_or(0, |span| span.start));
                // Its own form takes several lines, and quotes the file, which may hold a key.
                let what = error.message().lines().collect::<Vec<_>>().join(", ");
                bail!("the configuration file {path:?}, line {line}, column {column}: {what}")
            }
        }
    }
}

/// Reads the file as UTF-8 text, which TOML is, without the mark that some editors write before it.
fn read(path: &Path) -> anyhow::Result<String> {
    let bytes =
        std::fs::read(path).with_context(|| format!("the configuration file {path:?} cannot be read"))?;
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        bail!("the configuration file {path:?} begins with the byte order mark of UTF-16: save it as UTF-8")
    }
    let Ok(text) = String::from_utf8(bytes) else {
        bail!("the configuration file {path:?} is not UTF-8 text: save it as UTF-8")
    };
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}
