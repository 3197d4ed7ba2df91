//! What `read_events` prints of one Plug and Play device, checked field by field: telemetry, the change of
//! its twin and, directly after it, that of its digital twin. Which program the device is, and what it did
//! before, is the tutorial's.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::hub::Hub;
use super::reader::{Reader, SERVICE_STRING, SOON, command};
use crate::program::Program;

/// A property that both devices report when they start.
const MAXIMUM: &str = "maxTempSinceLastReboot";

/// How long events of a source may come after telemetry did, before a hub counts as one without a route
/// for them.
const ROUTE_DEADLINE: Duration = Duration::from_secs(10);

/// A device and what it is made of.
pub(super) struct Form {
    pub(super) device: String,
    pub(super) model: &'static str,
    /// Which of its components to look at.
    pub(super) component: Option<&'static str>,
    /// The names of the three steps.
    pub(super) steps: [&'static str; 3],
}

/// One event as `read_events` prints it.
#[derive(Clone, Debug)]
struct Event {
    partition: String,
    body: Value,
    properties: Map<String, Value>,
    system: Map<String, Value>,
}

/// What was looked for, as far as it came.
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
        check_telemetry(form, found.telemetry.as_ref().context("there was no telemetry")?, since)
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
            check_twin_change(hub, form, event).context("the event of the twin")
        };
        reader.step(twin_change, check).await?;
    }
    if found.digital_twin_change.is_none() && !hub.is_ours() {
        reader.skip(digital_twin_change, &missing_route("DigitalTwinChangeEvents"));
        return Some(());
    }
    let check = async {
        let event = found.digital_twin_change.as_ref().context("there was no change of the digital twin")?;
        check_digital_twin_change(hub, form, event, twin).context("the event of the digital twin")
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
        let event = match next_event(&mut program, left).await {
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

/// The four lines and the empty one.
async fn next_event(program: &mut Program, within: Duration) -> Result<Event> {
    let deadline = Instant::now() + within;
    let mut line = async |prefix: &str| {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = program.next_line(left).await?.context("read_events ended")?;
        let rest = line.strip_prefix(prefix);
        rest.map(str::to_owned).with_context(|| format!("read_events printed {line:?}, not {prefix:?}"))
    };
    let partition = line("Received event from partition: ").await?;
    let body = line("Telemetry received:  ").await?;
    let properties = line("Properties (set by device):  ").await?;
    let system = line("System properties (set by IoT Hub):  ").await?;
    let empty = line("").await?;
    ensure!(empty.is_empty(), "read_events printed {empty:?} after an event, not an empty line");
    let json = |text: &str| -> Result<Value> {
        serde_json::from_str(text).with_context(|| format!("{text:?} is not JSON"))
    };
    let object = |text: &str| match json(text)? {
        Value::Object(members) => Ok(members),
        other => bail!("{other} is no dictionary"),
    };
    Ok(Event {
        partition: partition.trim_end_matches('.').to_owned(),
        body: json(&body)?,
        properties: if properties == "None" { Map::new() } else { object(&properties)? },
        system: object(&system)?,
    })
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

impl Event {
    fn system(&self, name: &str) -> &str {
        self.system.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(&self, name: &str) -> Result<i64> {
        self.system.get(name).and_then(Value::as_i64).with_context(|| format!("{name} is no number"))
    }

    fn property(&self, name: &str) -> &str {
        self.properties.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn is_of(&self, form: &Form) -> bool {
        self.system.get("dt-subject").and_then(Value::as_str) == form.component
    }

    /// The value that the device reported, in a change of its twin.
    fn reported(&self, form: &Form) -> Option<&Value> {
        let reported = self.body.get("properties")?.get("reported")?;
        form.component.map_or(Some(reported), |component| reported.get(component))?.get(MAXIMUM)
    }

    /// The same in a change of its digital twin: the value, and when it was reported.
    fn told(&self, form: &Form) -> Option<(&Value, &Value)> {
        let operations = self.body.as_array()?;
        let added = |path: String| {
            let operation = operations.iter().find(|operation| operation["path"] == path)?;
            (operation["op"] == "add").then(|| operation.get("value"))?
        };
        match form.component {
            None => Some((
                added(format!("/{MAXIMUM}"))?,
                added(format!("/$metadata/{MAXIMUM}"))?.get("lastUpdateTime")?,
            )),
            Some(component) => {
                let whole = added(format!("/{component}"))?;
                let about = whole.get("$metadata")?.get(MAXIMUM)?;
                Some((whole.get(MAXIMUM)?, about.get("lastUpdateTime")?))
            }
        }
    }
}

fn equal(name: &str, found: &str, expected: &str) -> Result<()> {
    ensure!(found == expected, "{name} is {found:?} and not {expected:?}");
    Ok(())
}

fn names(found: &Map<String, Value>, expected: &[&str], allowed: &[&str]) -> Result<()> {
    let found: BTreeSet<&str> = found.keys().map(String::as_str).collect();
    let missing: Vec<_> = expected.iter().filter(|name| !found.contains(**name)).collect();
    ensure!(missing.is_empty(), "{missing:?} are missing");
    let other: Vec<_> =
        found.iter().filter(|name| !expected.contains(name) && !allowed.contains(name)).collect();
    ensure!(other.is_empty(), "{other:?} do not belong there");
    Ok(())
}

/// Where the event is and when it came: a partition, a number, an offset as text, two times.
fn check_place(form: &Form, event: &Event) -> Result<()> {
    ensure!(event.partition.parse::<u32>().is_ok(), "the partition {:?} is no number", event.partition);
    equal("the device", event.system("iothub-connection-device-id"), &form.device)?;
    equal("content-encoding", event.system("content-encoding"), "utf-8")?;
    ensure!(event.number("x-opt-sequence-number")? >= 0, "the sequence number is negative");
    ensure!(event.system("x-opt-offset").parse::<u64>().is_ok(), "the offset is no text of digits");
    let (accepted, enqueued) = (event.number("iothub-enqueuedtime")?, event.number("x-opt-enqueued-time")?);
    ensure!(accepted <= enqueued, "it was in the stream at {enqueued}, before {accepted}");
    Ok(())
}

fn check_telemetry(form: &Form, event: &Event, since: Timestamp) -> Result<()> {
    check_place(form, event)?;
    ensure!(event.body["temperature"].is_number(), "the body is {}", event.body);
    ensure!(event.properties.is_empty(), "the device set {:?}", event.properties);
    let mut expected = vec![
        "content-type",
        "content-encoding",
        "iothub-connection-device-id",
        "iothub-connection-auth-method",
        "iothub-connection-auth-generation-id",
        "iothub-enqueuedtime",
        "iothub-message-source",
        "dt-dataschema",
        "x-opt-sequence-number",
        "x-opt-offset",
        "x-opt-enqueued-time",
    ];
    expected.extend(form.component.map(|_| "dt-subject"));
    names(&event.system, &expected, &[])?;
    equal("content-type", event.system("content-type"), "application/json")?;
    equal("dt-dataschema", event.system("dt-dataschema"), form.model)?;
    let method: Value = serde_json::from_str(event.system("iothub-connection-auth-method"))?;
    for (name, expected) in [("scope", "device"), ("type", "sas"), ("issuer", "iothub")] {
        ensure!(method[name] == expected, "the authentication method is {method}");
    }
    let generation = event.system("iothub-connection-auth-generation-id");
    ensure!(generation.parse::<u64>().is_ok(), "the generation {generation:?} is no number");
    ensure!(event.number("iothub-enqueuedtime")? >= since.as_millisecond(), "it is older than the run");
    Ok(())
}

/// What all events of the hub itself have.
fn check_notification(hub: &Hub, form: &Form, event: &Event, schema: &str, content: &str) -> Result<()> {
    check_place(form, event)?;
    let expected = ["hubName", "deviceId", "operationTimestamp", "iothub-message-schema", "opType"];
    names(&event.properties, &expected, &[])?;
    equal("deviceId", event.property("deviceId"), &form.device)?;
    equal("iothub-message-schema", event.property("iothub-message-schema"), schema)?;
    equal("opType", event.property("opType"), "updateTwin")?;
    let expected = [
        "user-id",
        "correlation-id",
        "content-type",
        "content-encoding",
        "iothub-connection-device-id",
        "iothub-enqueuedtime",
        "iothub-message-source",
        "x-opt-sequence-number",
        "x-opt-offset",
        "x-opt-enqueued-time",
    ];
    names(&event.system, &expected, &[])?;
    equal("content-type", event.system("content-type"), content)?;
    ensure!(!event.system("correlation-id").is_empty(), "the correlation id is empty");
    let (name, user) = (event.property("hubName"), event.system("user-id"));
    // In the tutorial's own output some bytes follow the name.
    ensure!(!name.is_empty() && user.starts_with(name), "the user id {user:?} is not the hub {name:?}");
    if hub.is_ours() {
        equal("user-id", user, name)?;
    }
    let time = event.property("operationTimestamp");
    ensure!(time.len() >= "2020-10-21T14:10:42.4171263Z".len(), "{time:?} has not seven digits");
    Ok(())
}

fn check_twin_change(hub: &Hub, form: &Form, event: &Event) -> Result<()> {
    check_notification(hub, form, event, "twinChangeNotification", "application/json")?;
    let body = event.body.as_object().context("the body is no object")?;
    names(body, &["version", "properties"], &[])?;
    let reported = &event.body["properties"]["reported"];
    let (version, own) = (event.body["version"].as_i64(), reported["$version"].as_i64());
    ensure!(version > own && own > Some(1), "the versions are {version:?} and {own:?}");
    ensure!(event.reported(form).is_some_and(Value::is_number), "{MAXIMUM} is no number");
    let mut metadata = &reported["$metadata"];
    let time = event.property("operationTimestamp");
    same_time("the section's $lastUpdated", &metadata["$lastUpdated"], time)?;
    if let Some(component) = form.component {
        ensure!(reported[component]["__t"] == "c", "{component} is not marked as a component");
        metadata = &metadata[component];
        same_time("the component's $lastUpdated", &metadata["$lastUpdated"], time)?;
    }
    same_time("$lastUpdated", &metadata[MAXIMUM]["$lastUpdated"], time)?;
    let marked = &metadata[MAXIMUM]["$lastUpdatedVersion"];
    ensure!(marked.is_null(), "a reported property has a $lastUpdatedVersion: {marked}");
    Ok(())
}

fn check_digital_twin_change(hub: &Hub, form: &Form, event: &Event, twin: Option<&Event>) -> Result<()> {
    check_notification(hub, form, event, "digitalTwinChangeNotification", "application/json-patch+json")?;
    let (value, time) = event.told(form).context("it does not say what was reported")?;
    same_time("lastUpdateTime", time, event.property("operationTimestamp"))?;
    let Some(twin) = twin else { return Ok(()) };
    ensure!(twin.reported(form) == Some(value), "the twin's event has another value than {value}");
    for name in ["correlation-id", "iothub-enqueuedtime"] {
        ensure!(twin.system.get(name) == event.system.get(name), "the twin's event has another {name}");
    }
    equal("the partition", &event.partition, &twin.partition)?;
    let (first, second) = (twin.number("x-opt-sequence-number")?, event.number("x-opt-sequence-number")?);
    ensure!(second > first, "it came before the twin's event");
    if hub.is_ours() {
        ensure!(second == first + 1, "between it and the twin's event are {} others", second - first - 1);
    }
    Ok(())
}

/// One instant, in however many digits.
fn same_time(name: &str, found: &Value, expected: &str) -> Result<()> {
    let text = found.as_str().with_context(|| format!("{name} is missing"))?;
    let (found, wanted): (Timestamp, Timestamp) = (text.parse()?, expected.parse()?);
    ensure!(found == wanted, "{name} is {text}, and the operation's time {expected}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event that the tutorial shows, as our program prints it.
    fn twin_event() -> Event {
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let object = |text: &str| json(text).as_object().unwrap().clone();
        Event {
            partition: "1".to_owned(),
            body: json(
                r#"{"version":4,"properties":{"reported":{"thermostat1":{"maxTempSinceLastReboot":98.34,"__t":"c"},"$metadata":{"$lastUpdated":"2020-10-21T14:13:39.36491Z","thermostat1":{"$lastUpdated":"2020-10-21T14:13:39.36491Z","maxTempSinceLastReboot":{"$lastUpdated":"2020-10-21T14:13:39.36491Z"},"__t":{"$lastUpdated":"2020-10-21T14:13:39.36491Z"}}},"$version":3}}}"#,
            ),
            properties: object(
                r#"{"hubName": "my-pnp-hub", "deviceId": "my-pnp-device", "operationTimestamp": "2020-10-21T14:13:39.3649100+00:00", "iothub-message-schema": "twinChangeNotification", "opType": "updateTwin"}"#,
            ),
            system: object(
                r#"{"user-id": "my-pnp-hub", "correlation-id": "1210b664ab83", "content-type": "application/json", "content-encoding": "utf-8", "iothub-connection-device-id": "my-pnp-device", "iothub-enqueuedtime": 1603289619481, "iothub-message-source": "twinChangeEvents", "x-opt-sequence-number": 13341, "x-opt-offset": "12890102216", "x-opt-enqueued-time": 1603289619668}"#,
            ),
        }
    }

    fn digital_twin_event() -> Event {
        let mut event = twin_event();
        event.body = serde_json::from_str(
            r#"[{"op":"add","path":"/thermostat1","value":{"$metadata":{"maxTempSinceLastReboot":{"lastUpdateTime":"2020-10-21T14:13:39.36491Z"}},"maxTempSinceLastReboot":98.34}}]"#,
        )
        .unwrap();
        event.properties["iothub-message-schema"] = "digitalTwinChangeNotification".into();
        event.system["content-type"] = "application/json-patch+json".into();
        event.system["iothub-message-source"] = "digitalTwinChangeEvents".into();
        event.system["x-opt-sequence-number"] = 13342.into();
        event
    }

    fn form() -> Form {
        Form {
            device: "my-pnp-device".to_owned(),
            model: "dtmi:com:example:TemperatureController;1",
            component: Some("thermostat1"),
            steps: ["", "", ""],
        }
    }

    #[tokio::test]
    async fn what_the_tutorial_shows_passes_and_a_field_that_differs_does_not() {
        let hub = Hub::start(&super::super::hub::Kind::Local).await.unwrap();
        let (twin, digital) = (twin_event(), digital_twin_event());
        let mut found = Found::default();
        found.take(&form(), twin.clone());
        found.take(&form(), digital.clone());
        assert!(found.twin_change.is_some() && found.digital_twin_change.is_some());
        check_twin_change(&hub, &form(), &twin).unwrap();
        check_digital_twin_change(&hub, &form(), &digital, Some(&twin)).unwrap();
        for name in ["user-id", "correlation-id", "content-type", "iothub-enqueuedtime", "x-opt-offset"] {
            let mut other = twin.clone();
            other.system[name] = "x".into();
            assert!(
                check_twin_change(&hub, &form(), &other).is_err()
                    || check_digital_twin_change(&hub, &form(), &digital, Some(&other)).is_err(),
                "{name}"
            );
        }
        for name in ["hubName", "deviceId", "operationTimestamp", "iothub-message-schema", "opType"] {
            let mut other = twin.clone();
            other.properties.shift_remove(name);
            assert!(check_twin_change(&hub, &form(), &other).is_err(), "{name}");
        }
        let mut late = digital.clone();
        late.system["x-opt-sequence-number"] = 13343.into();
        assert!(check_digital_twin_change(&hub, &form(), &late, Some(&twin)).is_err());
        let mut other = twin.clone();
        other.body["properties"]["reported"]["$metadata"]["thermostat1"]["$lastUpdated"] =
            "2020-10-21T14:13:39.3649Z".into();
        assert!(check_twin_change(&hub, &form(), &other).is_err());
        hub.stop().await;
    }
}
