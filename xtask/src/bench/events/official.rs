//! Microsoft's clients, where `cargo xtask interop` has installed them: programs that read so many events
//! and say how long it took.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use iothub_programs::workspace;
use tokio::process::Command;

use crate::bench::server::Server;

pub(super) struct Official {
    pub(super) name: &'static str,
    /// What runs it, and what must be there, in the folder of installed packages.
    runs: fn(PathBuf) -> (PathBuf, PathBuf),
    program: &'static str,
}

pub(super) const ALL: [Official; 2] = [
    Official {
        name: "read by Python azure-eventhub, without TLS",
        runs: |installed| (installed.join("py/bin/python"), installed.join("py/bin/python")),
        program: "python/count_events.py",
    },
    Official {
        name: "read by Node @azure/event-hubs, without TLS",
        runs: |installed| (PathBuf::from("node"), installed.join("node/node_modules/@azure/event-hubs")),
        program: "node/count_events.js",
    },
];

impl Official {
    /// Events a second; `None` where the client is not installed.
    pub(super) async fn read(&self, server: &Server, count: usize) -> Result<Option<f64>> {
        let installed = workspace::target_dir().join("interop");
        let (run, needed) = (self.runs)(installed.clone());
        if !needed.exists() {
            return Ok(None);
        }
        let mut command = Command::new(run);
        command.arg(workspace::root().join("tests/interop").join(self.program)).arg(count.to_string());
        command.env("EVENTHUB_CONNECTION_STRING", server.event_hubs_string("plainConnectionString")?);
        command.env("NODE_PATH", installed.join("node/node_modules")).kill_on_drop(true);
        let output = command.output().await.with_context(|| format!("{} cannot be run", self.program))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let Ok(seconds) = said.trim().parse::<f64>() else {
            bail!("{} failed: {said}{}", self.program, String::from_utf8_lossy(&output.stderr));
        };
        Ok(Some(count as f64 / seconds))
    }
}
