//! This file makes mistakes with the local hub itself: it does not run, runs anew, cannot have its ports, or is told
//! nonsense.

use std::process::Stdio;

use anyhow::{Context, Result};
use iothub_local_hub::{LocalHub, PolicyName};
use iothub_programs::program::Program;
use iothub_programs::workspace;
use tokio::process::Command;

use crate::mistakes::stage::{DEVICE_STRING, SOON, Stage};

pub(super) async fn not_running() -> Result<String> {
    let mut stage = Stage::new().await?;
    stage.stop_hub().await?;
    stage.sample_fails("simulated_device", &[(DEVICE_STRING, &stage.device)]).await
}

pub(super) async fn not_running_for_a_back_end() -> Result<String> {
    let mut stage = Stage::new().await?;
    let string = stage.service(PolicyName::IotHubOwner);
    stage.stop_hub().await?;
    stage.iothub_fails(&string, "device list").await
}

/// Starts the hub again on the same ports with the same keys: it does not know the device any more.
pub(super) async fn started_anew() -> Result<String> {
    let mut stage = Stage::new().await?;
    stage.start_hub_anew().await?;
    let told = stage.sample_fails("simulated_device", &[(DEVICE_STRING, &stage.device)]).await;
    stage.end().await;
    told
}

pub(super) async fn port_in_use(stage: &Stage) -> Result<String> {
    let taken = stage.hub.ports().mqtts.to_string();
    let mut command = stage.command("local-hub", &[]);
    command.arg("--state-dir").arg(stage.path().join("another-hub"));
    command.args(["--mqtts-port", &taken, "--amqps-port", "0", "--amqp-port", "0", "--https-port", "0"]);
    stage.fails("cargo xtask hub", command).await
}

pub(super) async fn missing_configuration(stage: &Stage) -> Result<String> {
    stage.hub_fails(&["--config", "hub.tml"]).await
}

pub(super) async fn typo_in_a_configuration(stage: &Stage) -> Result<String> {
    std::fs::write(stage.path().join("hub.toml"), "name = \"my-hub\"\ndevices = [\"my-device\"]\n")?;
    stage.hub_fails(&["--config", "hub.toml"]).await
}

pub(super) async fn unknown_route(stage: &Stage) -> Result<String> {
    stage.hub_fails(&["--route", "TwinChanges"]).await
}

/// Runs the hub where port 443 needs a privilege, whatever this machine says of it: in a network of its own. Returns
/// the lines about 443, which are one paragraph of its output, or less.
pub(super) async fn port_443(stage: &Stage) -> Result<String> {
    const INSIDE: &str = "ip link set lo up && exec setpriv --bounding-set -net_bind_service --inh-caps -net_bind_service \"$@\"";
    let hub = workspace::program("local-hub");
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "sh", "-c", INSIDE, "sh"]).arg(&hub);
    command.arg("--state-dir").arg(stage.path().join("another-hub")).stdin(Stdio::null());
    let mut program = Program::start("cargo xtask hub", command)?;
    program.until("its last line", SOON, |line| line.contains("Press Ctrl-C")).await?;
    let lines = program.lines();
    program.interrupt_and_wait(SOON).await?;
    let says_443 = |line: &&String| line.split(|c: char| !c.is_ascii_digit()).any(|number| number == "443");
    let first = lines.iter().position(|line| says_443(&line)).context("the hub says nothing of port 443")?;
    let told: Vec<String> = lines[first..]
        .iter()
        .take_while(|line| !line.trim().is_empty() && !line.contains("SharedAccessKey="))
        .map(|line| line.replace(&hub.display().to_string(), "target/debug/local-hub"))
        .collect();
    stage.plain("cargo xtask hub", &told.join("\n"))
}

impl Stage {
    /// Ends the hub, after which its ports are free.
    async fn stop_hub(&mut self) -> Result<()> {
        let other = LocalHub::builder().start().await?;
        std::mem::replace(&mut self.hub, other).shutdown().await;
        Ok(())
    }

    /// Ends the hub and starts another one with its keys.
    async fn start_hub_anew(&mut self) -> Result<()> {
        let ports = self.hub.ports();
        self.stop_hub().await?;
        let hub = LocalHub::builder().ports(ports).state_dir(self.path().join("state")).start().await?;
        std::mem::replace(&mut self.hub, hub).shutdown().await;
        Ok(())
    }
}
