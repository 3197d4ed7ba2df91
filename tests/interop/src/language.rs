//! [`Language`] names the client of a program, ours or one of Microsoft's, and [`command`] starts a program on one of
//! Microsoft's clients with the surroundings that it needs.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use iothub_programs::workspace;
use serde::Deserialize;
use tokio::process::Command;

/// A client: ours, or Microsoft's in one of three languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Language {
    /// Ours.
    Rust,
    Python,
    Node,
    /// Microsoft's in Rust, which knows Event Hubs only.
    AzureRust,
}

impl Language {
    /// The clients of devices and back ends.
    pub(super) const ALL: [Self; 3] = [Self::Rust, Self::Python, Self::Node];
    /// The clients whose packages [`install`](super::install) installs.
    pub(super) const INSTALLED: [Self; 3] = [Self::Python, Self::Node, Self::AzureRust];
    /// Microsoft's clients of devices and back ends.
    pub(super) const OFFICIAL: [Self; 2] = [Self::Python, Self::Node];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::Node => "node",
            Self::AzureRust => "azure-rust",
        }
    }

    /// Returns the language of a program, from its path in `tests/interop`.
    pub(super) fn of_program(program: &str) -> Option<Self> {
        Self::INSTALLED.into_iter().find(|language| program.starts_with(language.name()))
    }

    /// Returns the tools that must be on the machine.
    pub(super) const fn tools(self) -> &'static [&'static str] {
        match self {
            // Whoever runs this has cargo.
            Self::Rust | Self::AzureRust => &[],
            Self::Python => &["python3"],
            Self::Node => &["node", "npm"],
        }
    }

    /// Returns the path of a program for [`command`]: `device` becomes `python/device.py` or `node/device.js`.
    pub(super) fn program(self, name: &str) -> String {
        match self {
            Self::Rust => name.to_owned(),
            Self::Python => format!("python/{name}.py"),
            Self::Node => format!("node/{name}.js"),
            Self::AzureRust => format!("azure-rust/{name}"),
        }
    }
}

/// Returns the folder of the programs.
pub(super) fn folder() -> PathBuf {
    workspace::root().join("tests/interop")
}

/// The seconds after which a program ends by itself; the deadline of a case is later.
const PROGRAM_DEADLINE_S: &str = "120";

/// Returns the command of a program, which lacks its arguments and its connection string. `ca` is the hub's CA: each
/// client looks for it in a variable of its own.
pub(super) fn command(program: &str, installed: &Path, ca: &Path) -> Command {
    let mut command = match Language::of_program(program) {
        Some(Language::Python) => Command::new(installed.join("py/bin/python")),
        Some(Language::AzureRust) => Command::new(installed.join("azure-rust/debug").join("read_events")),
        _ => Command::new("node"),
    };
    if Language::of_program(program) != Some(Language::AzureRust) {
        command.arg(folder().join(program));
    }
    for variable in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"] {
        command.env(variable, ca);
    }
    command.env("NODE_PATH", installed.join("node/node_modules"));
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("INTEROP_DEADLINE_S", PROGRAM_DEADLINE_S);
    for variable in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(variable);
    }
    for variable in
        ["IOTHUB_CONNECTION_STRING", "IOTHUB_DEVICE_CONNECTION_STRING", "IOTHUB_TRANSPORT", "NODE_OPTIONS"]
    {
        command.env_remove(variable);
    }
    command
}
