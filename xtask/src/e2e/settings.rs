//! This file does what a reader does before a program can run: it registers a device, takes its connection string and
//! sets the variables. It also checks what the programs say when a variable was forgotten.
//!
//! The walks of all tutorials call it.

use anyhow::{Result, bail};
use iothub_programs::program;

use super::hub::Hub;
use super::reader::{DEVICE_ID, DEVICE_STRING, SERVICE_STRING, SOON, command};

pub(super) async fn register(hub: &Hub, id: &str) -> Result<()> {
    let mut create = command("iothub", &[(SERVICE_STRING, hub.owner())]);
    create.args(["device", "create", id]);
    let printed = program::run("iothub device create", create, SOON).await?;
    if !printed.iter().any(|line| line.contains(id)) {
        bail!("iothub device create does not name {id}");
    }
    Ok(())
}

/// Returns the device's connection string as the shell takes it: the one line that is printed.
pub(super) async fn copy_string(hub: &Hub, id: &str) -> Result<String> {
    let mut show = command("iothub", &[(SERVICE_STRING, hub.owner())]);
    show.args(["device", "connection-string", "show", id]);
    let printed = program::run("iothub device connection-string show", show, SOON).await?;
    match printed.as_slice() {
        [line] if line.starts_with("HostName=") => Ok(line.clone()),
        lines => bail!("one line with a connection string was expected, and {} lines came", lines.len()),
    }
}

/// A device program whose reader forgot a line of the page, or pasted half of one, says what to set.
pub(super) async fn device_needs(program: &str, device_string: &str) -> Result<()> {
    let half = device_string.split_once(';').map_or(device_string, |(host, _)| host);
    refuses(program, &[], &[], DEVICE_STRING).await?;
    refuses(program, &[], &[(DEVICE_STRING, "")], DEVICE_STRING).await?;
    refuses(program, &[], &[(DEVICE_STRING, half)], DEVICE_STRING).await
}

/// Checks that a back end's program names each variable that it needs and was not given.
pub(super) async fn back_end_needs(program: &str, service_string: &str) -> Result<()> {
    back_end_needs_with(program, &[], service_string).await
}

/// Checks the same of a back end's program with these arguments.
pub(super) async fn back_end_needs_with(
    program: &str,
    arguments: &[&str],
    service_string: &str,
) -> Result<()> {
    refuses(program, arguments, &[(DEVICE_ID, "d")], SERVICE_STRING).await?;
    refuses(program, arguments, &[(SERVICE_STRING, service_string)], DEVICE_ID).await?;
    refuses(program, arguments, &[(SERVICE_STRING, "nonsense"), (DEVICE_ID, "d")], SERVICE_STRING).await
}

/// With only these variables the program must end, with an error that begins with the one it needs and with what is
/// wrong: a variable that is set is not called unset.
pub(super) async fn refuses(
    program: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
    named: &str,
) -> Result<()> {
    let mut command = command(program, variables);
    command.args(arguments);
    let is_set = variables.iter().any(|(name, _)| *name == named);
    let problem = if is_set { "is set and cannot be used: " } else { "is not set. " };
    program::run_refused(program, command, &[named, problem], SOON).await
}
