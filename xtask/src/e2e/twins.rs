//! The device twins tutorial, in the order of its page: register a device, tag it and query, start it so
//! that it reports its connectivity, query again, see on the device what the back end desires, stop it.

use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use iothub_programs::program::Program;
use iothub_rest_service::{ServiceClient, Twin};

use super::hub::Hub;
use super::reader::{DEVICE_ID, DEVICE_STRING, Reader, SERVICE_STRING, SOON, command};
use super::settings::{back_end_needs, copy_string, device_needs, register};

const PLANT: &str = "Devices in Redmond43 plant";
const CELLULAR: &str = "Devices in Redmond43 plant using cellular network";

/// The version of the desired properties when the program has run twice: a new twin has version 1.
const DESIRED_VERSION: u64 = 3;

/// How long the index of somebody else's hub may lag, and how often it is asked: a small one answers
/// 20 queries a minute.
const INDEX_DEADLINE: Duration = Duration::from_secs(80);
const LOOK_INTERVAL: Duration = Duration::from_secs(3);

/// `add_tags_and_query` waits up to 30 s for the index before its first list.
const LIST_DEADLINE: Duration = Duration::from_secs(45);

const REGISTER: &str = "register the device";
const COPY: &str = "copy its connection string";
const FORGET: &str = "each program says which variable is missing";
const TAG: &str = "run add_tags_and_query: in the plant, not on cellular";
const REPORT: &str = "start report_connectivity";
const INDEX: &str = "wait until the hub's queries know of the report";
const QUERY: &str = "run add_tags_and_query again: in both lists";
const SEE: &str = "see the desired patch on the device";
const STOP: &str = "stop report_connectivity with Ctrl-C";

pub(super) const STEPS: &[&str] = &[REGISTER, COPY, FORGET, TAG, REPORT, INDEX, QUERY, SEE, STOP];

pub(super) async fn walk(reader: &mut Reader, hub: &Hub) -> Option<()> {
    let id = reader.new_device("twins-device");
    reader.step(REGISTER, register(hub, &id)).await?;
    let device_string = reader.step(COPY, copy_string(hub, &id)).await?;
    reader.step(FORGET, forget_variables(hub, &device_string)).await?;
    reader.step(TAG, tag_and_query(hub, &id, false)).await?;
    let mut device = reader.step(REPORT, start_device(&device_string)).await?;
    reader.step(INDEX, wait_for_index(hub, &id)).await?;
    reader.step(QUERY, tag_and_query(hub, &id, true)).await?;
    reader.step(SEE, see_patch(&mut device)).await?;
    reader.step(STOP, stop_device(device)).await
}

async fn forget_variables(hub: &Hub, device_string: &str) -> Result<()> {
    back_end_needs("add_tags_and_query", hub.owner()).await?;
    device_needs("report_connectivity", device_string).await
}

async fn tag_and_query(hub: &Hub, id: &str, on_cellular: bool) -> Result<()> {
    let variables = [(SERVICE_STRING, hub.owner()), (DEVICE_ID, id)];
    let mut program = Program::start("add_tags_and_query", command("add_tags_and_query", &variables))?;
    program.expect_line("Starting the Rust IoT Hub Device Twin service sample...", SOON).await?;
    program.expect_line("", SOON).await?;
    expect_list(&mut program, hub, PLANT, id, true).await?;
    program.expect_line("", SOON).await?;
    expect_list(&mut program, hub, CELLULAR, id, on_cellular).await?;
    program.expect_end(SOON).await?;
    program.end_well(SOON).await
}

/// The list of devices after `title` names the device, or does not. On a hub of our own there is no
/// other device to name; on somebody else's there may be.
async fn expect_list(program: &mut Program, hub: &Hub, title: &str, id: &str, listed: bool) -> Result<()> {
    if hub.is_ours() {
        let line = format!("{title}: {}", if listed { id } else { "" });
        return program.expect_line(&line, LIST_DEADLINE).await;
    }
    let wanted = format!("{title:?} with{} {id}", if listed { "" } else { "out" });
    program.expect(&wanted, LIST_DEADLINE, |line| names(line, title, id) == Some(listed)).await
}

/// Whether a list names this device; `None` if the line is not that list.
fn names(line: &str, title: &str, id: &str) -> Option<bool> {
    let listed = line.strip_prefix(title)?.strip_prefix(": ")?;
    Some(listed.split(", ").any(|listed| listed == id))
}

async fn start_device(device_string: &str) -> Result<Program> {
    let variables = [(DEVICE_STRING, device_string)];
    let mut device = Program::start("report_connectivity", command("report_connectivity", &variables))?;
    for line in [
        "Starting the Rust IoT Hub Device Twin device sample...",
        "IoTHubModuleClient waiting for commands, press Ctrl-C to exit",
        "Sending data as reported property...",
        "Reported properties updated",
    ] {
        device.expect_line(line, SOON).await?;
    }
    Ok(device)
}

/// The program asks once for the devices on cellular, so it must not be run before the hub's index,
/// which on the service follows the twins with some delay, can answer.
async fn wait_for_index(hub: &Hub, id: &str) -> Result<()> {
    let service = ServiceClient::from_connection_string(hub.owner())?;
    let query = format!(
        "SELECT * FROM devices WHERE deviceId = '{id}' AND properties.reported.connectivity = 'cellular'"
    );
    let known = async {
        loop {
            let found: Vec<Twin> = service.query_twins(&query).rows().try_collect().await?;
            if !found.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    };
    tokio::time::timeout(INDEX_DEADLINE, known)
        .await
        .with_context(|| format!("{INDEX_DEADLINE:?} after the device's report no query finds it"))?
}

async fn see_patch(device: &mut Program) -> Result<()> {
    device.expect_line("Twin patch received:", SOON).await?;
    let patch = format!(r#"{{"power_level": 1, "$version": {DESIRED_VERSION}}}"#);
    device.expect_line(&patch, SOON).await
}

async fn stop_device(mut device: Program) -> Result<()> {
    device.interrupt()?;
    device.expect_line("IoT Hub Device Twin device sample stopped", SOON).await?;
    device.expect_line("Shutting down IoT Hub Client", SOON).await?;
    device.expect_end(SOON).await?;
    device.end_well(SOON).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_whole_ids_under_its_own_title() {
        assert_eq!(names("Devices in Redmond43 plant: a, b-1", PLANT, "b-1"), Some(true));
        assert_eq!(names("Devices in Redmond43 plant: a, b-12", PLANT, "b-1"), Some(false));
        assert_eq!(names("Devices in Redmond43 plant: ", PLANT, "b-1"), Some(false));
        assert_eq!(names("Devices in Redmond43 plant using cellular network: b-1", PLANT, "b-1"), None);
    }
}
