//! Whose programs run, and what each needs from its surroundings.

use std::path::{Path, PathBuf};

use iothub_programs::workspace;
use clap::ValueEnum;
use tokio::process::Command;

/// Whose client: ours, or Microsoft's in one of three languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Language {
    Rust,
    Python,
    Node,
    /// Microsoft's, which has a client of Event Hubs only.
    AzureRust,
}

impl Language {
    /// Those that have devices and back ends.
    pub(super) const ALL: [Self; 3] = [Self::Rust, Self::Python, Self::Node];
    /// Those whose packages are installed.
    pub(super) const INSTALLED: [Self; 3] = [Self::Python, Self::Node, Self::AzureRust];
    pub(super) const OFFICIAL: [Self; 2] = [Self::Python, Self::Node];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::Node => "node",
            Self::AzureRust => "azure-rust",
        }
    }

    /// The language of a program, from its path in `tests/interop`.
    pub(super) fn of_program(program: &str) -> Option<Self> {
        Self::INSTALLED.into_iter().find(|language| program.starts_with(language.name()))
    }

    /// What must be installed on the machine.
    pub(super) const fn tools(self) -> &'static [&'static str] {
        match self {
            // Whoever runs this has cargo.
            Self::Rust | Self::AzureRust => &[],
            Self::Python => &["python3"],
            Self::Node => &["node", "npm"],
        }
    }

    /// A path for [`command`]: `device` becomes `python/device.py` or `node/device.js`.
    pub(super) fn program(self, name: &str) -> String {
        match self {
            Self::Rust => name.to_owned(),
            Self::Python => format!("python/{name}.py"),
            Self::Node => format!("node/{name}.js"),
            Self::AzureRust => format!("azure-rust/{name}"),
        }
    }
}

/// The folder of the programs.
pub(super) fn folder() -> PathBuf {
    workspace::root().join("tests/interop")
}

/// One of the programs, ready but for its arguments, input and connection string. `ca` is the hub's CA:
/// each client looks for it in a variable of its own.
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
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    for variable in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(variable);
    }
    for variable in ["IOTHUB_CONNECTION_STRING", "IOTHUB_DEVICE_CONNECTION_STRING", "NODE_OPTIONS"] {
        command.env_remove(variable);
    }
    command
}
