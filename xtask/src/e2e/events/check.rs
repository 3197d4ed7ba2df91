//! Checks the events of a Plug and Play device field by field: telemetry, the change of its twin, and that of its
//! digital twin. The tests show it the events of the tutorial, and see it refuse others.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::event::Event;
use super::{Form, MAXIMUM};
use crate::e2e::hub::Hub;

fn equal(name: &str, found: &str, expected: &str) -> Result<()> {
    ensure!(found == expected, "{name} is {found:?} and not {expected:?}");
    Ok(())
}

fn names(found: &Map<String, Value>, expected: &[&str]) -> Result<()> {
    let found: BTreeSet<&str> = found.keys().map(String::as_str).collect();
    let missing: Vec<_> = expected.iter().filter(|name| !found.contains(**name)).collect();
    ensure!(missing.is_empty(), "{missing:?} are missing");
    let other: Vec<_> = found.iter().filter(|name| !expected.contains(name)).collect();
    ensure!(other.is_empty(), "{other:?} do not belong there");
    Ok(())
}

/// Checks where the event is and when it came: a partition, a number, an offset as text, two times.
fn place(form: &Form, event: &Event) -> Result<()> {
    ensure!(event.partition.parse::<u32>().is_ok(), "the partition {:?} is no number", event.partition);
    equal("the device", event.system("iothub-connection-device-id"), &form.device)?;
    equal("content-encoding", event.system("content-encoding"), "utf-8")?;
    ensure!(event.number("x-opt-sequence-number")? >= 0, "the sequence number is negative");
    ensure!(event.system("x-opt-offset").parse::<u64>().is_ok(), "the offset is no text of digits");
    let (accepted, enqueued) = (event.number("iothub-enqueuedtime")?, event.number("x-opt-enqueued-time")?);
    ensure!(accepted <= enqueued, "it was in the stream at {enqueued}, before {accepted}");
    Ok(())
}

pub(super) fn telemetry(form: &Form, event: &Event, since: Timestamp) -> Result<()> {
    place(form, event)?;
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
    names(&event.system, &expected)?;
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

/// Checks the properties that all events of the hub itself have.
fn notification(hub: &Hub, form: &Form, event: &Event, schema: &str, content: &str) -> Result<()> {
    place(form, event)?;
    let expected = ["hubName", "deviceId", "operationTimestamp", "iothub-message-schema", "opType"];
    names(&event.properties, &expected)?;
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
    names(&event.system, &expected)?;
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

pub(super) fn twin_change(hub: &Hub, form: &Form, event: &Event) -> Result<()> {
    notification(hub, form, event, "twinChangeNotification", "application/json")?;
    let body = event.body.as_object().context("the body is no object")?;
    names(body, &["version", "properties"])?;
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

pub(super) fn digital_twin_change(hub: &Hub, form: &Form, event: &Event, twin: Option<&Event>) -> Result<()> {
    notification(hub, form, event, "digitalTwinChangeNotification", "application/json-patch+json")?;
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

/// Checks that both are one instant, in however many digits.
fn same_time(name: &str, found: &Value, expected: &str) -> Result<()> {
    let text = found.as_str().with_context(|| format!("{name} is missing"))?;
    let (found, wanted): (Timestamp, Timestamp) = (text.parse()?, expected.parse()?);
    ensure!(found == wanted, "{name} is {text}, and the operation's time {expected}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::e2e::events::Found;
    use crate::e2e::hub::Kind;

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
        let hub = Hub::start(&Kind::Local).await.unwrap();
        let (twin, digital) = (twin_event(), digital_twin_event());
        let mut found = Found::default();
        found.take(&form(), twin.clone());
        found.take(&form(), digital.clone());
        assert!(found.twin_change.is_some() && found.digital_twin_change.is_some());
        twin_change(&hub, &form(), &twin).unwrap();
        digital_twin_change(&hub, &form(), &digital, Some(&twin)).unwrap();
        for name in ["user-id", "correlation-id", "content-type", "iothub-enqueuedtime", "x-opt-offset"] {
            let mut other = twin.clone();
            other.system[name] = "x".into();
            assert!(
                twin_change(&hub, &form(), &other).is_err()
                    || digital_twin_change(&hub, &form(), &digital, Some(&other)).is_err(),
                "{name}"
            );
        }
        for name in ["hubName", "deviceId", "operationTimestamp", "iothub-message-schema", "opType"] {
            let mut other = twin.clone();
            other.properties.shift_remove(name);
            assert!(twin_change(&hub, &form(), &other).is_err(), "{name}");
        }
        let mut late = digital.clone();
        late.system["x-opt-sequence-number"] = 13343.into();
        assert!(digital_twin_change(&hub, &form(), &late, Some(&twin)).is_err());
        let mut other = twin.clone();
        other.body["properties"]["reported"]["$metadata"]["thermostat1"]["$lastUpdated"] =
            "2020-10-21T14:13:39.3649Z".into();
        assert!(twin_change(&hub, &form(), &other).is_err());
        hub.stop().await;
    }
}
