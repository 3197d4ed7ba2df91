//! These tests set message routes and read the stream, with real devices and back ends: they check which events of
//! devices and of the hub itself reach it, in which order. Bodies are pinned beside the code that makes them.

use std::collections::BTreeMap;

use iothub_amqp_service::{EventPosition, EventReader, MessageSource};
use iothub_local_hub::{EventSource, HubEvent, LocalHub, LocalHubBuilder, PolicyName, Route, RunningHub};
use iothub_models::{ModelId, TelemetryMessage, TwinPatch};
use iothub_mqtt_device::DeviceClient;
use iothub_rest_service::{Precondition, ServiceClient, TwinReplacement};
use serde_json::{Map, Value, json};

use crate::device_client::{device, soon};

const MODEL: &str = "dtmi:com:example:Thermostat;1";

fn model() -> ModelId {
    MODEL.parse().unwrap()
}

async fn setup(builder: LocalHubBuilder) -> (RunningHub, DeviceClient, ServiceClient) {
    let hub = builder.name("my-hub").start().await.unwrap();
    let string = hub.create_device(&device()).await.unwrap();
    let client = soon(DeviceClient::builder(&string).model_id(model()).connect()).await.unwrap();
    let service = ServiceClient::from_connection_string(&hub.connection_string(PolicyName::Service)).unwrap();
    (hub, client, service)
}

fn body(event: &HubEvent) -> Value {
    serde_json::from_slice(&event.message.body).unwrap()
}

fn property<'e>(event: &'e HubEvent, name: &str) -> &'e str {
    event.message.properties.get(name).unwrap_or_default()
}

/// Sources and operations of what is in the stream.
fn told(hub: &RunningHub) -> Vec<(EventSource, String)> {
    hub.events().iter().map(|event| (event.source, property(event, "opType").to_owned())).collect()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[tokio::test]
async fn a_hub_without_routes_tells_of_telemetry_alone() {
    let (hub, client, service) = setup(LocalHub::builder()).await;
    soon(client.update_reported_properties(&json!({"p": 1}))).await.unwrap();
    service.twins().patch(&device(), &TwinPatch::new().desired("p", 2), Precondition::Any).await.unwrap();
    soon(client.send_telemetry(TelemetryMessage::json_text("{}"))).await.unwrap();
    soon(client.shutdown()).await.unwrap();
    hub.delete_device(&device()).await.unwrap();
    assert_eq!(told(&hub), [(EventSource::Telemetry, String::new())]);
    hub.shutdown().await;
}

#[tokio::test]
async fn each_change_of_a_twin_is_followed_by_that_of_its_digital_twin() {
    let builder = LocalHub::builder().route(EventSource::TwinChange).route(EventSource::DigitalTwinChange);
    let (hub, client, service) = setup(builder).await;
    soon(client.update_reported_properties(&json!({"temperature": 20}))).await.unwrap();
    let patch = TwinPatch::new().desired("target", 25).tag("plant", "Redmond43");
    service.twins().patch(&device(), &patch, Precondition::Any).await.unwrap();
    let tags = TwinReplacement::new().tags(object(json!({"plant": "Bern"})));
    service.twins().replace(&device(), &tags, Precondition::Any).await.unwrap();

    use EventSource::{DigitalTwinChange, TwinChange};
    let events = hub.events();
    let update = |source| (source, "updateTwin".to_owned());
    assert_eq!(
        told(&hub),
        [
            update(TwinChange),
            update(DigitalTwinChange),
            update(TwinChange),
            update(DigitalTwinChange),
            // Tags are no part of the digital twin.
            (TwinChange, "replaceTwin".to_owned()),
        ]
    );
    for pair in events.chunks(2).filter(|pair| pair.len() == 2) {
        assert_eq!(pair[0].message.correlation_id, pair[1].message.correlation_id);
        assert_eq!(pair[0].enqueued_time, pair[1].enqueued_time);
    }
    let [reported, _, written, digital, replaced] = &events[..] else { panic!() };
    assert_eq!(body(reported)["properties"]["reported"]["temperature"], 20);
    assert_eq!(body(written)["properties"]["desired"]["target"], 25);
    assert_eq!(body(written)["tags"], json!({"plant": "Redmond43"}));
    assert_eq!(
        body(digital),
        json!([{"op": "add", "path": "/$metadata/target", "value": {"desiredValue": 25, "desiredVersion": 2}}])
    );
    assert_eq!(body(replaced)["tags"], json!({"plant": "Bern"}));
    assert_eq!(body(replaced)["deviceId"], "d1");
    assert_eq!(body(replaced)["properties"]["reported"]["temperature"], 20);
    for event in &events {
        assert_eq!(event.message.user_id.as_deref(), Some("my-hub"));
        assert_eq!((property(event, "hubName"), property(event, "deviceId")), ("my-hub", "d1"));
    }
    hub.shutdown().await;
}

/// Many writers at once: events come in the order of the versions, none is missing, and nothing comes
/// between the two of a pair.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_have_the_order_of_the_changes_whoever_makes_them() {
    const CHANGES: i64 = 40;
    let builder = LocalHub::builder().route(EventSource::TwinChange).route(EventSource::DigitalTwinChange);
    let (hub, client, service) = setup(builder).await;
    let first = hub.twin(&device()).unwrap().version;
    let reports = async {
        for value in 0..CHANGES {
            soon(client.update_reported_properties(&json!({"reported": value}))).await.unwrap();
        }
    };
    let writes = async {
        for value in 0..CHANGES {
            let patch = TwinPatch::new().desired("desired", value);
            service.twins().patch(&device(), &patch, Precondition::Any).await.unwrap();
        }
    };
    tokio::join!(reports, writes);
    let events = hub.events();
    assert_eq!(events.len(), usize::try_from(4 * CHANGES).unwrap());
    for (number, pair) in (1..).zip(events.chunks(2)) {
        assert_eq!(body(&pair[0])["version"], first + number);
        assert_eq!(
            (pair[0].source, pair[1].source),
            (EventSource::TwinChange, EventSource::DigitalTwinChange)
        );
        assert_eq!(pair[0].message.correlation_id, pair[1].message.correlation_id);
    }
    // What readers put together of the events is the digital twin.
    let mut values = BTreeMap::new();
    for operation in events.iter().skip(1).step_by(2).flat_map(|event| object_list(body(event))) {
        values.insert(operation["path"].as_str().unwrap().to_owned(), operation["value"].clone());
    }
    assert_eq!(values["/reported"], CHANGES - 1);
    assert_eq!(values["/$metadata/desired/desiredValue"], CHANGES - 1);
    hub.shutdown().await;
}

fn object_list(value: Value) -> Vec<Value> {
    value.as_array().unwrap().clone()
}

/// Over AMQP, as a back end reads them.
#[tokio::test]
async fn a_reader_gets_the_pair_of_one_change_with_its_properties() {
    let builder = LocalHub::builder().route(EventSource::TwinChange).route(EventSource::DigitalTwinChange);
    let (hub, client, _) = setup(builder).await;
    let source: iothub_amqp_service::EventSource =
        hub.connection_string(PolicyName::Service).parse().unwrap();
    let reader = EventReader::builder(source).from(EventPosition::Earliest);
    let mut events = soon(reader.open()).await.unwrap();
    soon(client.update_reported_properties(&json!({"temperature": 20}))).await.unwrap();
    let twin = soon(events.next()).await.unwrap().unwrap();
    let digital = soon(events.next()).await.unwrap().unwrap();
    let kept = hub.events();
    for (event, kept) in [(&twin, &kept[0]), (&digital, &kept[1])] {
        assert_eq!(event.body_text(), String::from_utf8(kept.message.body.to_vec()).unwrap());
        assert_eq!(event.properties, kept.message.properties);
        let system = &event.system_properties;
        assert_eq!(system.message_source.as_ref().map(MessageSource::as_str), Some(kept.source.as_str()));
        assert_eq!(system.content_type, kept.message.content_type);
        assert_eq!(system.content_encoding.as_deref(), Some("utf-8"));
        assert_eq!(system.user_id.as_deref(), Some("my-hub"));
        assert_eq!(system.device_id, Some(device()));
        assert_eq!((&system.auth_method, &system.model_id, &system.to), (&None, &None, &None));
    }
    let (first, second) = (&twin.system_properties, &digital.system_properties);
    assert_eq!(twin.partition_id, digital.partition_id);
    assert_eq!(second.sequence_number, first.sequence_number + 1);
    assert_eq!(second.correlation_id, first.correlation_id);
    assert_eq!(second.hub_enqueued_time, first.hub_enqueued_time);
    assert_eq!(second.enqueued_time, first.enqueued_time);
    soon(events.close()).await.unwrap();
    hub.shutdown().await;
}

#[tokio::test]
async fn a_device_comes_connects_disconnects_and_goes() {
    let builder =
        LocalHub::builder().route(EventSource::DeviceLifecycle).route(EventSource::DeviceConnectionState);
    let (hub, client, _) = setup(builder).await;
    // A newer connection takes the place of the first; the device stays connected.
    let string = hub.device_connection_string(&device()).unwrap();
    let newer = soon(DeviceClient::connect(&string)).await.unwrap();
    soon(client.shutdown()).await.unwrap();
    soon(newer.shutdown()).await.unwrap();
    soon(hub.wait_until(|hub| !hub.is_connected(&device()))).await;
    hub.create_module(&device(), &"m1".parse().unwrap()).await.unwrap();
    hub.delete_device(&device()).await.unwrap();

    let events = hub.events();
    let told: Vec<_> = events.iter().map(|event| property(event, "opType")).collect();
    assert_eq!(
        told,
        [
            "createDeviceIdentity",
            "deviceConnected",
            "deviceDisconnected",
            "createDeviceIdentity",
            "deleteDeviceIdentity"
        ]
    );
    let module: Vec<_> = events.iter().map(|event| property(event, "moduleId")).collect();
    assert_eq!(module, ["", "", "", "m1", ""]);
    assert!(body(&events[2])["sequenceNumber"].as_str() > body(&events[1])["sequenceNumber"].as_str());
    assert_eq!(body(&events[4])["deviceId"], "d1");
    hub.shutdown().await;
}

#[tokio::test]
async fn conditions_see_the_message_and_the_twin_of_its_sender() {
    let hot = Route::new("hot", EventSource::Telemetry)
        .condition("$body.temperature > 50 AND level = 'alarm' AND $twin.tags.plant = 'Redmond43'")
        .unwrap();
    let (hub, client, service) = setup(LocalHub::builder().route(hot).fallback_route(false)).await;
    let send = async |temperature: i32| {
        let mut message = TelemetryMessage::json(json!({"temperature": temperature})).unwrap();
        message.properties.insert("Level", "alarm");
        soon(client.send_telemetry(message)).await.unwrap();
    };
    send(60).await;
    service
        .twins()
        .patch(&device(), &TwinPatch::new().tag("plant", "Redmond43"), Precondition::Any)
        .await
        .unwrap();
    send(40).await;
    send(70).await;
    let temperatures: Vec<_> = hub.events().iter().map(|event| body(event)["temperature"].clone()).collect();
    assert_eq!(temperatures, [70]);
    hub.shutdown().await;
}

#[tokio::test]
async fn a_route_that_cannot_be_keeps_the_hub_from_starting() {
    let route = || Route::new("same", EventSource::Telemetry);
    let error = LocalHub::builder().route(route()).route(route()).start().await.unwrap_err();
    assert!(error.to_string().contains("two routes called \"same\""), "{error}");
}
