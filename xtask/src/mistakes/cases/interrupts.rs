//! This file presses Ctrl-C at each stage of a program. That is no mistake, but each of the messages looks like one to
//! somebody.

use anyhow::{Context, Result, bail};
use iothub_local_hub::PolicyName;
use iothub_programs::program::Program;
use tokio::net::TcpListener;

use crate::mistakes::stage::{DEVICE_ID, DEVICE_STRING, MY_DEVICE, SERVICE_STRING, SOON, Stage};

/// The characters that a terminal shows for Ctrl-C, after the line at which it was pressed.
const PRESSED: &str = "^C";

/// Presses Ctrl-C while the program connects to a hub that takes the connection and says nothing.
pub(super) async fn while_connecting(stage: &Stage) -> Result<String> {
    const SHOWN: &str = "cargo run -p simulated_device";
    let silent = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = silent.local_addr()?.port();
    let string = stage.altered(|string| {
        string.address.host_name = "127.0.0.1".to_owned();
        string.address.mqtts_port = port;
    })?;
    let mut program = Program::start(SHOWN, stage.command("simulated_device", &[(DEVICE_STRING, &string)]))?;
    program.until("its first line", SOON, |_| true).await?;
    let (_connection, _) =
        tokio::time::timeout(SOON, silent.accept()).await.context("it does not connect")??;
    let before = program.lines();
    let status = program.interrupt_and_wait(SOON).await?;
    if status.success() {
        bail!(program.complaint("should have ended because of Ctrl-C".to_owned()));
    }
    stage.plain(SHOWN, &with_ctrl_c(&before, &program))
}

pub(super) async fn while_waiting(stage: &Stage) -> Result<String> {
    const SHOWN: &str = "cargo run -p simulated_device";
    let command = stage.command("simulated_device", &[(DEVICE_STRING, &stage.device)]);
    at_the_line(stage, SHOWN, command, "Waiting for C2D messages").await
}

pub(super) async fn in_a_back_end(stage: &Stage) -> Result<String> {
    const SHOWN: &str = "cargo run -p send_c2d";
    let string = stage.service(PolicyName::Service);
    let command = stage.command("send_c2d", &[(SERVICE_STRING, &string), (DEVICE_ID, MY_DEVICE)]);
    at_the_line(stage, SHOWN, command, "Press Enter").await
}

async fn at_the_line(
    stage: &Stage,
    shown: &str,
    command: tokio::process::Command,
    line: &str,
) -> Result<String> {
    let mut program = Program::start(shown, command)?;
    program.until(line, SOON, |found| found.contains(line)).await?;
    program.until_it_handles_ctrl_c(SOON).await?;
    let before = program.lines();
    let status = program.interrupt_and_wait(SOON).await?;
    if !status.success() {
        bail!(program.complaint(format!("ended with {status}")));
    }
    stage.plain(shown, &with_ctrl_c(&before, &program))
}

fn with_ctrl_c(before: &[String], program: &Program) -> String {
    let after = program.lines().into_iter().skip(before.len());
    before.iter().cloned().chain([PRESSED.to_owned()]).chain(after).collect::<Vec<_>>().join("\n")
}
