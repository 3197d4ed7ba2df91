//! These tests run a Plug and Play device and a back end on our clients and the local hub: the model is known,
//! properties of root and components are written and acknowledged, commands reach their component; once by twin and
//! method, once by digital twin.

use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_models::{
    ComponentName, DigitalTwinPatch, DirectMethodRequest, DirectMethodResponse, ErrorCode,
    PropertyAcknowledgement, PropertyReport, TwinPatch,
};
use iothub_mqtt_device::{DesiredProperties, DeviceClient, DirectMethods, TelemetryMessage};
use iothub_rest_service::{ErrorKind, Precondition, ServiceClient};
use serde_json::{Value, json};

use crate::device_client::{device, soon};

const MODEL: &str = "dtmi:com:example:TemperatureController;1";

fn thermostat() -> ComponentName {
    "thermostat1".parse().unwrap()
}

async fn setup() -> (RunningHub, ServiceClient, DeviceClient) {
    let hub = LocalHub::builder().start().await.unwrap();
    let string = hub.create_device(&device()).await.unwrap();
    let builder = DeviceClient::builder(&string).model_id(MODEL.parse().unwrap());
    let client = soon(builder.connect()).await.unwrap();
    let service = ServiceClient::from_connection_string(&hub.connection_string(PolicyName::Service)).unwrap();
    (hub, service, client)
}

/// Accepts everything that the next change writes, and returns what that was.
async fn accept(
    client: &DeviceClient,
    changes: &mut DesiredProperties,
) -> Vec<(Option<String>, String, Value)> {
    let change = soon(changes.next()).await.unwrap();
    let writes = change.writes(&[]);
    let report =
        writes.iter().fold(PropertyReport::new(), |report, write| report.answer(write, write.accept("done")));
    soon(client.update_reported_properties(&report)).await.unwrap();
    writes
        .into_iter()
        .map(|write| (write.component.map(|name| name.to_string()), write.name, write.value))
        .collect()
}

#[tokio::test]
async fn the_model_and_the_component_are_known_to_back_ends() {
    let (hub, service, client) = setup().await;
    assert_eq!(soon(service.twins().get(&device())).await.unwrap().model_id, MODEL);
    let (twin, etag) = soon(service.digital_twins().get(&device())).await.unwrap();
    assert_eq!((twin.id(), twin.model_id()), ("d1", MODEL));
    assert!(!etag.is_empty());
    soon(client.send_telemetry(TelemetryMessage::json_text("{}").of_component(&thermostat()))).await.unwrap();
    let sent = &hub.telemetry()[0];
    assert_eq!(sent.message.component.as_deref(), Some("thermostat1"));
}

#[tokio::test]
async fn a_property_is_written_and_acknowledged_by_twin_and_by_digital_twin() {
    let (_hub, service, client) = setup().await;
    let mut changes = soon(client.desired_properties()).await.unwrap();
    let start = PropertyReport::new()
        .property("serialNumber", "SN-1")
        .property_of(&thermostat(), "maxTempSinceLastReboot", 21.5)
        .writable(Some(&thermostat()), "targetTemperature", PropertyAcknowledgement::device_default(20));
    soon(client.update_reported_properties(&start)).await.unwrap();

    let twins = service.twins();
    let etag = soon(twins.get(&device())).await.unwrap().etag;
    let patch = TwinPatch::new().desired("interval", 5).desired_of(&thermostat(), "targetTemperature", 42);
    soon(twins.patch(&device(), &patch, Precondition::IfMatch(etag))).await.unwrap();
    let root = (None, "interval".to_owned(), json!(5));
    let component = (Some("thermostat1".to_owned()), "targetTemperature".to_owned(), json!(42));
    assert_eq!(accept(&client, &mut changes).await, [root, component]);

    let digital_twins = service.digital_twins();
    let (twin, etag) = soon(digital_twins.get(&device())).await.unwrap();
    assert_eq!(
        (twin.get("serialNumber").unwrap(), twin.get("interval").unwrap()),
        (&json!("SN-1"), &json!(5))
    );
    let target = &twin.get("thermostat1").unwrap()["$metadata"]["targetTemperature"];
    assert_eq!((&target["desiredValue"], &target["ackVersion"]), (&json!(42), &json!(2)));
    assert_eq!((&target["ackCode"], &target["ackDescription"]), (&json!(200), &json!("done")));

    let patch = DigitalTwinPatch::new().add("/thermostat1/targetTemperature", 43.5).remove("/interval");
    let condition = Precondition::IfMatch(etag);
    let newer = soon(digital_twins.update(&device(), &patch, condition.clone())).await.unwrap();
    let root = (None, "interval".to_owned(), Value::Null);
    let component = (Some("thermostat1".to_owned()), "targetTemperature".to_owned(), json!(43.5));
    let mut written = accept(&client, &mut changes).await;
    written.sort_by_key(|(component, ..)| component.clone());
    assert_eq!(written, [root, component]);
    let (twin, etag) = soon(digital_twins.get(&device())).await.unwrap();
    assert_eq!(twin.get("thermostat1").unwrap()["targetTemperature"], 43.5);
    assert_eq!(etag, newer, "what the device reports is no write of a back end");

    let stale = soon(digital_twins.update(&device(), &patch, condition)).await.unwrap_err();
    assert_eq!(stale.kind(), ErrorKind::PreconditionFailed);
    let no_path = DigitalTwinPatch::new().add("thermostat1", 1);
    let refused = soon(digital_twins.update(&device(), &no_path, Precondition::Any)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    assert_eq!(refused.error_code(), Some(ErrorCode::InvalidDigitalTwinPatchPath));
}

#[tokio::test]
async fn what_was_written_while_the_device_was_away_is_there_when_it_starts() {
    let (hub, service, client) = setup().await;
    let mut changes = soon(client.desired_properties()).await.unwrap();
    let patch = TwinPatch::new().desired_of(&thermostat(), "targetTemperature", 42);
    soon(service.twins().patch(&device(), &patch, Precondition::Any)).await.unwrap();
    accept(&client, &mut changes).await;
    let reported = soon(client.twin()).await.unwrap().reported;
    drop(changes);
    let changes = soon(client.desired_properties()).await.unwrap();
    assert!(changes.unacknowledged(&reported, &[]).is_empty());
    soon(client.shutdown()).await.unwrap();

    let patch = TwinPatch::new().desired_of(&thermostat(), "targetTemperature", 43);
    soon(service.twins().patch(&device(), &patch, Precondition::Any)).await.unwrap();
    let client =
        soon(DeviceClient::connect(&hub.device_connection_string(&device()).unwrap())).await.unwrap();
    let reported = soon(client.twin()).await.unwrap().reported;
    let changes = soon(client.desired_properties()).await.unwrap();
    let [write] = &changes.unacknowledged(&reported, &[])[..] else { panic!("one write") };
    assert_eq!((write.component.as_ref(), &write.value, write.version), (Some(&thermostat()), &json!(43), 3));
}

#[tokio::test]
async fn commands_reach_their_component_by_both_ways() {
    let (_hub, service, client) = setup().await;
    let methods = soon(client.direct_methods()).await.unwrap();
    tokio::spawn(answer_commands(methods));
    let since = |name: &str| DirectMethodRequest::new(name.parse().unwrap()).with_payload("2026");
    let twins = service.digital_twins();
    let of_root = soon(service.invoke_method(&device(), &since("reboot"))).await.unwrap();
    assert_eq!(of_root, DirectMethodResponse::new(200, json!([null, "reboot", "2026"])));
    assert_eq!(soon(twins.invoke_command(&device(), &since("reboot"))).await.unwrap(), of_root);
    let of_component = soon(service.invoke_method(&device(), &since("thermostat1*report"))).await.unwrap();
    assert_eq!(of_component, DirectMethodResponse::new(200, json!(["thermostat1", "report", "2026"])));
    let same =
        soon(twins.invoke_component_command(&device(), &thermostat(), &since("report"))).await.unwrap();
    assert_eq!(same, of_component);
    soon(client.shutdown()).await.unwrap();
    let error = soon(twins.invoke_command(&device(), &since("reboot"))).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.error_code()),
        (ErrorKind::DeviceNotOnline, Some(ErrorCode::DeviceNotOnline))
    );
}

/// Answers each command with its component, its name and its payload.
async fn answer_commands(mut methods: DirectMethods) {
    while let Some(call) = methods.next().await {
        let command = call.command();
        let component = command.component().map(ComponentName::as_str);
        let payload = json!([component, command.command(), call.payload()]);
        call.respond(DirectMethodResponse::new(200, payload)).unwrap();
    }
}
