//! Runs `read_events` for one Plug and Play device, until it printed telemetry, the change of the device's twin and
//! that of its digital twin; `events/event.rs` reads an event, and `events/check.rs` checks it. The tutorial about Plug
//! and Play decides which program the device is, and what it did before.

mod check;
mod event;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use iothub_programs::program::Program;
use jiff::Timestamp;
use tokio::time::Instant;

use self::event::Event;
use super::hub::Hub;
use super::reader::{Reader, SERVICE_STRING, SOON, command};

/// A property that both devices report when they start.
const MAXIMUM: &str = "maxTempSinceLastReboot";

/// The time after telemetry in which events of another source must come; a hub without them has no route for them.
const ROUTE_DEADLINE: Duration = Duration::from_secs(10);

/// A device, and the names of the steps that check its events.
pub(super) struct Form {
    pub(super) device: String,
    pub(super) model: &'static str,
    /// The component to look at, if the device has components.
    pub(super) component: Option<&'static str>,
    /// The names of the three steps.
    pub(super) steps: [&'static str; 3],
}

/// The events that are looked for, as far as they came.
#[derive(Default)]
struct Found {
    telemetry: Option<Event>,
    twin_change: Option<Event>,
    digital_twin_change: Option<Event>,
}

/// Reads what the device and the hub sent since `since`, and checks it. Where a hub that is not ours has
/// no route for a source, that step is skipped with what adds the route.
pub(super) async fn read(reader: &mut Reader, hub: &Hub, form: &Form, since: Timestamp) -> Option<()> {
    let [telemetry, twin_change, digital_twin_change] = form.steps;
    let reading = async {
        let found = read_program(hub, form, since).await?;
        check::telemetry(form, found.telemetry.as_ref().context("there was no telemetry")?, since)
            .context("the event of the telemetry")?;
        Ok(found)
    };
    let found = reader.step(telemetry, reading).await?;
    let twin = found.twin_change.as_ref();
    if twin.is_none() && !hub.is_ours() {
        reader.skip(twin_change, &missing_route("TwinChangeEvents"));
    } else {
        let check = async {
            let event = twin.context("there was no change of the twin")?;
            check::twin_change(hub, form, event).context("the event of the twin")
        };
        reader.step(twin_change, check).await?;
    }
    if found.digital_twin_change.is_none() && !hub.is_ours() {
        reader.skip(digital_twin_change, &missing_route("DigitalTwinChangeEvents"));
        return Some(());
    }
    let check = async {
        let event = found.digital_twin_change.as_ref().context("there was no change of the digital twin")?;
        check::digital_twin_change(hub, form, event, twin).context("the event of the digital twin")
    };
    reader.step(digital_twin_change, check).await
}

fn missing_route(source: &str) -> String {
    format!(
        "This hub has no route for them. A local hub has one with --route {source}, a hub in Azure after: \
         az iot hub message-route create --hub-name HUB --route-name {source} --source-type {source} \
         --endpoint-name events --enabled true"
    )
}

/// Runs the program until all that is looked for was printed, or was not in time.
async fn read_program(hub: &Hub, form: &Form, since: Timestamp) -> Result<Found> {
    let folder = tempfile::tempdir()?;
    let mut program = start(hub, form, since, folder.path())?;
    program.expect_line("Waiting for events, press Ctrl-C to stop", SOON).await?;
    let mut found = Found::default();
    let mut deadline = Instant::now() + SOON;
    while !found.is_complete() {
        let left = deadline.saturating_duration_since(Instant::now());
        let event = match event::next(&mut program, left).await {
            // Telemetry came and something else did not: there is no route for that.
            Err(_) if found.telemetry.is_some() && !hub.is_ours() => break,
            event => event?,
        };
        let waited = found.telemetry.is_none();
        found.take(form, event);
        if waited && found.telemetry.is_some() && !hub.is_ours() {
            deadline = Instant::now() + ROUTE_DEADLINE;
        }
    }
    program.interrupt()?;
    // What came meanwhile is printed to its end.
    while program.next_line(SOON).await?.context("it ended without a word")? != "Receiving has stopped." {}
    program.expect_end(SOON).await?;
    program.end_well(SOON).await?;
    Ok(found)
}

fn start(hub: &Hub, form: &Form, since: Timestamp, folder: &Path) -> Result<Program> {
    let mut read = command("read_events", &[(SERVICE_STRING, hub.service())]);
    read.args(["--from", &since.to_string(), "--device", &form.device, "--checkpoints"])
        .arg(folder.join("checkpoints.json"));
    Program::start("read_events", read)
}

impl Found {
    const fn is_complete(&self) -> bool {
        self.telemetry.is_some() && self.twin_change.is_some() && self.digital_twin_change.is_some()
    }

    /// Keeps the event if it is the first of those looked for.
    fn take(&mut self, form: &Form, event: Event) {
        let place = match event.system("iothub-message-source") {
            "Telemetry" if event.body.get("temperature").is_some() && event.is_of(form) => {
                &mut self.telemetry
            }
            "twinChangeEvents" if event.reported(form).is_some() => &mut self.twin_change,
            "digitalTwinChangeEvents" if event.told(form).is_some() => &mut self.digital_twin_change,
            _ => return,
        };
        place.get_or_insert(event);
    }
}
