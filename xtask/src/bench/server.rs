//! [`Server`] is the hub's release program on free ports. Every measurement starts one, connects its clients with the
//! strings of the ready file, and stops it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use iothub_programs::program::Program;
use iothub_programs::workspace;

/// The time within which the hub must be ready after its start, and ended after a stop.
const DEADLINE: Duration = Duration::from_secs(20);
/// The id of the device that exists from the start.
pub(super) const DEVICE: &str = "bench-device";

pub(super) struct Server {
    pub(super) program: Program,
    ready: Value,
    _state: Option<TempDir>,
}

pub(super) fn build() -> Result<()> {
    let mut build = workspace::cargo();
    build.args(["build", "--release", "--bins", "--package", "xtask", "--package", "iothub-local-hub"]);
    workspace::run(&mut build)
}

pub(super) fn path() -> PathBuf {
    workspace::target_dir().join("release").join(format!("local-hub{}", std::env::consts::EXE_SUFFIX))
}

impl Server {
    /// Starts a hub with a state folder of its own.
    pub(super) async fn start() -> Result<Self> {
        let state = tempfile::tempdir().context("no temporary folder")?;
        let server = Self::start_in(state.path()).await?;
        Ok(Self { _state: Some(state), ..server })
    }

    /// Starts a hub like [`Server::start`], in a process that may open this many file descriptors and no more.
    pub(super) async fn start_with_file_descriptors(limit: u32) -> Result<Self> {
        let state = tempfile::tempdir().context("no temporary folder")?;
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("ulimit -n {limit} && exec \"$0\" \"$@\"")).arg(path());
        let server = Self::start_as(shell, state.path()).await?;
        Ok(Self { _state: Some(state), ..server })
    }

    /// Starts the program at this path, which may be of another version, with a state folder of its own. It prints
    /// refusals and failures only, so that no processor time is spent on lines about each operation.
    pub(super) async fn start_quietly(program: &Path) -> Result<Self> {
        let state = tempfile::tempdir().context("no temporary folder")?;
        let mut command = Command::new(program);
        command.arg("--quiet");
        let server = Self::start_as(command, state.path()).await?;
        Ok(Self { _state: Some(state), ..server })
    }

    /// Starts a hub with this state folder. Returns once all its ports accept.
    pub(super) async fn start_in(state: &Path) -> Result<Self> {
        Self::start_as(Command::new(path()), state).await
    }

    async fn start_as(mut command: Command, state: &Path) -> Result<Self> {
        let ready_file = state.join("ready.json");
        // The file of an earlier start in this folder would be taken for that of this one.
        if ready_file.exists() {
            std::fs::remove_file(&ready_file)?;
        }
        command.arg("--state-dir").arg(state).arg("--ready-file").arg(&ready_file);
        command.args(["--device", DEVICE]).args(workspace::ON_FREE_PORTS);
        let program = Program::start("local-hub", command)?;
        let written = async {
            loop {
                if let Ok(text) = tokio::fs::read_to_string(&ready_file).await {
                    return text;
                }
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
        };
        let Ok(text) = tokio::time::timeout(DEADLINE, written).await else {
            bail!(program.complaint("was not ready in time".to_owned()));
        };
        let ready = serde_json::from_str(&text).context("the ready file is not JSON")?;
        Ok(Self { program, ready, _state: None })
    }

    pub(super) fn owner_string(&self) -> Result<&str> {
        self.ready["connectionStrings"]["iothubowner"].as_str().context("the ready file lacks iothubowner")
    }

    pub(super) fn device_string(&self) -> Result<&str> {
        self.ready["devices"][DEVICE].as_str().with_context(|| format!("the ready file lacks {DEVICE}"))
    }

    /// Returns one of its ports, by the port's name in the ready file.
    pub(super) fn port(&self, name: &str) -> Result<u16> {
        let port = self.ready["ports"][name].as_u64().and_then(|port| port.try_into().ok());
        port.with_context(|| format!("the ready file lacks ports.{name}"))
    }

    /// Returns the path of the file with the CA to trust.
    pub(super) fn ca_file(&self) -> Result<&str> {
        self.ready["caFile"].as_str().context("the ready file lacks caFile")
    }

    /// Returns one of the strings for reading events, by the string's name in the ready file.
    pub(super) fn event_hubs_string(&self, name: &str) -> Result<&str> {
        self.ready["eventHubs"][name]
            .as_str()
            .with_context(|| format!("the ready file lacks eventHubs.{name}"))
    }

    pub(super) async fn stop(mut self) -> Result<()> {
        self.program.interrupt()?;
        self.program.end_well(DEADLINE).await
    }
}
