//! Checks that each program ends quietly when nobody reads its output any more, as in `read_events | head`: without a
//! panic, and with an exit code that fits. Here nobody reads from the start, so that no program is a line ahead.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use iothub_local_hub::PolicyName;
use iothub_programs::program::{self, Program};
use iothub_programs::workspace;
use tokio::process::Command;

use super::stage::{DEVICE_ID, DEVICE_STRING, MY_DEVICE, SERVICE_STRING, SOON, Stage};

/// The end of a program whose reader has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// The program reports success, since its reader has seen enough.
    Well,
    /// The program reports failure: it was to check something, and has not checked all.
    Badly,
}

pub(super) async fn check() -> Result<()> {
    let stage = Stage::new().await?;
    let service = stage.service(PolicyName::IotHubOwner);
    let variables =
        [(DEVICE_STRING, stage.device.as_str()), (SERVICE_STRING, &service), (DEVICE_ID, MY_DEVICE)];
    for sample in workspace::samples()? {
        let mut command = stage.command(&sample, &variables);
        command.args(arguments(&sample));
        ends(&sample, command, Ends::Well).await?;
    }
    let mut iothub = stage.command("iothub", &variables);
    iothub.args(["device", "list"]);
    ends("iothub", iothub, Ends::Well).await?;
    let mut xtask = stage.command("xtask", &[]);
    xtask.args(["docs", "--check"]);
    ends("xtask", xtask, Ends::Badly).await?;
    hub_goes_on(&stage).await?;
    stage.end().await;
    Ok(())
}

/// The arguments with which each sample prints something.
fn arguments(sample: &str) -> &'static [&'static str] {
    match sample {
        "pnp_service" => &["twin"],
        "pnp_digital_twin" => &["get"],
        "sample_device" | "sample_service" => &["--plain"],
        _ => &[],
    }
}

async fn ends(name: &str, mut command: Command, how: Ends) -> Result<()> {
    command.stdin(Stdio::null()).stdout(closed()?).stderr(Stdio::piped()).kill_on_drop(true);
    // Not `output()`, which takes both outputs into its own hands.
    let child = command.spawn().with_context(|| format!("{name} could not be started"))?;
    let output = tokio::time::timeout(SOON, child.wait_with_output()).await;
    let output = output.with_context(|| format!("{name} goes on though nobody reads its output"))??;
    let said = String::from_utf8_lossy(&output.stderr);
    let as_expected = match how {
        Ends::Well => output.status.success(),
        Ends::Badly => output.status.code() == Some(1),
    };
    if !as_expected || said.contains("panicked") || said.contains("os error") {
        bail!(
            "{name} should end {how:?} and quietly when nobody reads its output; {}:\n{said}",
            output.status
        );
    }
    Ok(())
}

/// Checks that the hub serves whether anybody reads its output or not: it starts, makes a device, which it logs, and
/// ends well.
async fn hub_goes_on(stage: &Stage) -> Result<()> {
    let ready = stage.path().join("ready.json");
    let mut command = stage.command("local-hub", &[]);
    command.args(workspace::ON_FREE_PORTS);
    command.arg("--state-dir").arg(stage.path().join("unread-hub")).arg("--ready-file").arg(&ready);
    let mut hub = Program::start_with("local-hub", command, closed()?, closed()?)?;
    let started = Instant::now();
    while !ready.exists() {
        if started.elapsed() > SOON {
            bail!("the hub does not start when nobody reads its output");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ready: serde_json::Value = serde_json::from_slice(&std::fs::read(&ready)?)?;
    let owner = ready["connectionStrings"]["iothubowner"].as_str().context("no owner string")?;
    let mut create = stage.command("iothub", &[(SERVICE_STRING, owner)]);
    create.args(["device", "create", MY_DEVICE]);
    program::run("iothub", create, SOON).await.context("nobody reads the hub's output")?;
    let status = hub.interrupt_and_wait(SOON).await?;
    if !status.success() {
        bail!("the hub ends with {status} when nobody reads its output");
    }
    Ok(())
}

/// Returns a pipe without a reader.
fn closed() -> Result<Stdio> {
    let (reader, writer) = std::io::pipe().context("no pipe")?;
    drop(reader);
    Ok(writer.into())
}
