//! [`Stage`] is the place in which mistakes are made: a local hub on free ports with one device, and the programs, run
//! as a reader runs them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use iothub_auth::{AdjustableClock, DeviceConnectionString, DeviceCredential};
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_models::DeviceId;
use iothub_programs::program::Program;
use iothub_programs::workspace;
use tempfile::TempDir;
use tokio::process::Command;

use super::plain::Plain;
use crate::variables;
pub(super) use crate::variables::{DEVICE_ID, DEVICE_STRING, SERVICE_STRING};

/// The device that every page registers.
pub(super) const MY_DEVICE: &str = "my-device";

/// The longest wait for a program; it tells of some mistakes only after a deadline of its own.
pub(super) const SOON: Duration = Duration::from_secs(90);

/// A hub with the device [`MY_DEVICE`], and the replacements for its messages.
pub(super) struct Stage {
    pub(super) hub: RunningHub,
    pub(super) hands: AdjustableClock,
    pub(super) plain: Plain,
    /// A folder of its own, which the page calls the current one.
    pub(super) folder: TempDir,
    /// The connection string of the device.
    pub(super) device: String,
}

impl Stage {
    pub(super) async fn new() -> Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let hands = AdjustableClock::new();
        let hub =
            LocalHub::builder().clock(hands.clock()).state_dir(folder.path().join("state")).start().await?;
        let device = hub.create_device(&MY_DEVICE.parse()?).await?;
        let mut plain = Plain::default();
        plain.text(folder.path().join("state").display().to_string(), "target/local-hub");
        plain.text(format!("{}/", folder.path().display()), "");
        add_ports(&mut plain, &hub);
        plain.secret(&key_of(&device)?);
        Ok(Self { hub, hands, plain, folder, device })
    }

    /// Returns the hub's string of this policy.
    pub(super) fn service(&self, policy: PolicyName) -> String {
        self.hub.connection_string(policy)
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns a command for a program of ours, with these variables and none of the user's.
    pub(super) fn command(&self, program: &str, set: &[(&str, &str)]) -> Command {
        let mut command = Command::new(workspace::program(program));
        variables::set(&mut command, set);
        command.current_dir(self.path());
        command
    }

    /// Runs a program to its end, which must be a failure, and returns its output behind the command line `shown`.
    pub(super) async fn fails(&self, shown: &str, command: Command) -> Result<String> {
        let mut program = Program::start(shown, command)?;
        let status = program.read_to_end(SOON).await?;
        if status.success() || status.code().is_none() {
            bail!(program.complaint(format!("should have failed, and ended with {status}")));
        }
        self.told(shown, &program)
    }

    /// Runs a sample that must fail, as its reader runs it, and returns its output.
    pub(super) async fn sample_fails(&self, sample: &str, variables: &[(&str, &str)]) -> Result<String> {
        self.fails(&format!("cargo run -p {sample}"), self.command(sample, variables)).await
    }

    /// Runs `iothub` with this connection string, which must fail, and returns its output.
    pub(super) async fn iothub_fails(&self, string: &str, arguments: &str) -> Result<String> {
        let mut command = self.command("iothub", &[(SERVICE_STRING, string)]);
        command.args(arguments.split(' '));
        self.fails(&format!("cargo iothub {arguments}"), command).await
    }

    /// Runs `local-hub` on free ports and with these arguments, which must fail, and returns its output.
    pub(super) async fn hub_fails(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command("local-hub", &[]);
        command.args(workspace::ON_FREE_PORTS);
        command.arg("--state-dir").arg(self.path().join("another-hub")).args(arguments);
        let shown: Vec<&str> = ["cargo", "xtask", "hub"].iter().chain(arguments).copied().collect();
        self.fails(&shown.join(" "), command).await
    }

    /// Returns the command line and all that a program printed: its results, then its errors, since nobody can tell
    /// which of the two came first.
    pub(super) fn told(&self, shown: &str, program: &Program) -> Result<String> {
        let lines = program.lines().into_iter().chain(program.errors());
        self.plain(shown, &lines.collect::<Vec<_>>().join("\n"))
    }

    /// Returns the command line and a text, as the page shows them.
    pub(super) fn plain(&self, shown: &str, text: &str) -> Result<String> {
        self.plain.of(&format!("$ {shown}\n{text}")).with_context(|| shown.to_owned())
    }

    /// Returns the string of the device with another id or another key.
    pub(super) fn altered(&self, change: impl FnOnce(&mut DeviceConnectionString)) -> Result<String> {
        let mut string: DeviceConnectionString = self.device.parse()?;
        change(&mut string);
        Ok(string.reveal())
    }

    pub(super) async fn end(self) {
        self.hub.shutdown().await;
    }
}

/// Shows the standard ports in the place of this hub's.
pub(super) fn add_ports(plain: &mut Plain, hub: &RunningHub) {
    let ports = hub.ports();
    let standard = iothub_local_hub::Ports::STANDARD;
    plain.number(ports.mqtts, standard.mqtts);
    plain.number(ports.amqps, standard.amqps);
    plain.number(ports.amqp, standard.amqp);
    plain.number(ports.https, standard.https);
}

/// Returns the key in the connection string of a device.
pub(super) fn key_of(string: &str) -> Result<String> {
    let string: DeviceConnectionString = string.parse()?;
    match string.credential {
        DeviceCredential::SharedAccessKey { key, .. } => Ok(key.reveal().to_owned()),
        _ => bail!("the device has no key"),
    }
}

/// Parses the id of a device.
pub(super) fn id(text: &str) -> Result<DeviceId> {
    Ok(text.parse()?)
}
