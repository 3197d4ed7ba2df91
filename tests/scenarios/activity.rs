//! These tests read the hub's activity while our clients use it: one record for each thing that happens, with its
//! identity, kind, size and outcome, and never a payload or a secret.

use std::sync::Arc;

use iothub_amqp_service::{C2dSender, EventReader};
use iothub_local_hub::{
    Activity, ActivityKind, ActivityResult, ActivityStream, ActivityTransport, LocalHub, PolicyName,
    RunningHub,
};
use iothub_models::{C2dMessage, DirectMethodRequest, DirectMethodResponse, TelemetryMessage, TwinPatch};
use iothub_mqtt_device::{DeviceClient, MethodHandlers};
use iothub_rest_service::{Precondition, ServiceClient};
use iothub_testkit::tls;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::device_client::{device, soon};

async fn setup() -> (RunningHub, ActivityStream, String) {
    let hub = LocalHub::builder().name("my-hub").start().await.unwrap();
    let activity = hub.activity();
    let string = hub.create_device(&device()).await.unwrap();
    (hub, activity, string)
}

/// Returns the next record, which must be of this kind.
async fn next(activity: &mut ActivityStream, kind: ActivityKind) -> Arc<Activity> {
    let record = soon(activity.next()).await.expect("the hub runs");
    assert_eq!(record.kind, kind, "{record:?}");
    record
}

/// Passes over records until one is of this kind, and returns it.
async fn until(activity: &mut ActivityStream, kind: ActivityKind) -> Arc<Activity> {
    loop {
        let record = soon(activity.next()).await.expect("the hub runs");
        if record.kind == kind {
            return record;
        }
    }
}

fn service(hub: &RunningHub, policy: PolicyName) -> ServiceClient {
    ServiceClient::from_connection_string(&hub.connection_string(policy)).unwrap()
}

#[tokio::test]
async fn a_device_s_day_is_told_record_by_record() {
    let (hub, mut activity, string) = setup().await;
    let created = next(&mut activity, ActivityKind::Registry).await;
    assert_eq!((created.operation.as_deref(), created.identity().as_deref()), (Some("created"), Some("d1")));
    assert_eq!((created.sequence, &*created.hub, created.transport), (1, "my-hub", None));

    let model = "dtmi:com:example:Thermostat;1";
    let client =
        soon(DeviceClient::builder(&string).model_id(model.parse().unwrap()).connect()).await.unwrap();
    let connected = next(&mut activity, ActivityKind::Connected).await;
    assert_eq!(connected.transport, Some(ActivityTransport::Mqtt));
    assert!(connected.peer.unwrap().ip().is_loopback());
    assert_eq!(connected.model.as_ref().unwrap().as_str(), model);

    let message = TelemetryMessage {
        message_id: Some("t1".to_owned()),
        ..TelemetryMessage::json_text(r#"{"secret":"payload"}"#)
    };
    soon(client.send_telemetry(message)).await.unwrap();
    let telemetry = next(&mut activity, ActivityKind::Telemetry).await;
    assert_eq!((telemetry.bytes, telemetry.message_id.as_deref()), (Some(20), Some("t1")));
    assert_eq!((telemetry.peer, telemetry.count), (connected.peer, None));
    assert!(!telemetry.to_json().contains("payload"));

    let report = json!({"fan": {"speed": 3}, "secret": "payload"});
    hub.report(&device(), report.as_object().unwrap()).await.unwrap();
    let reported = next(&mut activity, ActivityKind::Reported).await;
    assert_eq!((reported.count, reported.version), (Some(2), Some(2)));
    assert!(!reported.to_json().contains("payload"));

    let patch = TwinPatch::new().tag("site", "munich").desired("a", 1);
    let twins = service(&hub, PolicyName::Service).twins();
    twins.patch(&device(), &patch, Precondition::Any).await.unwrap();
    let desired = next(&mut activity, ActivityKind::Desired).await;
    assert_eq!((desired.count, desired.version), (Some(1), Some(2)));
    assert_eq!(desired.transport, Some(ActivityTransport::Https));
    next(&mut activity, ActivityKind::Tags).await;

    let serving = MethodHandlers::new()
        .on("reboot", async |_payload| DirectMethodResponse::new(207, "secret"))
        .serve(soon(client.direct_methods()).await.unwrap());
    let serving = tokio::spawn(serving);
    let request = DirectMethodRequest::new("reboot".parse().unwrap());
    soon(service(&hub, PolicyName::Service).invoke_method(&device(), &request)).await.unwrap();
    let method = next(&mut activity, ActivityKind::Method).await;
    assert_eq!(
        (method.operation.as_deref(), method.code, method.bytes),
        (Some("reboot"), Some(207), Some(8))
    );
    assert_eq!((method.result, method.milliseconds.is_some()), (ActivityResult::Ok, true));

    hub.query("SELECT deviceId FROM devices", 10, None).await.unwrap();
    assert_eq!(next(&mut activity, ActivityKind::Query).await.count, Some(1));

    serving.abort();
    soon(client.shutdown()).await.unwrap();
    let ended = next(&mut activity, ActivityKind::Disconnected).await;
    assert_eq!(ended.result, ActivityResult::Ok);
    assert_eq!(ended.reason.as_deref(), Some("the device said goodbye"));
    assert!(ended.milliseconds.is_some() && ended.peer == connected.peer);
    hub.delete_device(&device()).await.unwrap();
    assert_eq!(next(&mut activity, ActivityKind::Registry).await.operation.as_deref(), Some("deleted"));
    hub.reset().await.unwrap();
    next(&mut activity, ActivityKind::Reset).await;
    hub.shutdown().await;
    assert!(soon(activity.next()).await.is_none(), "the stream ends with the hub");
}

#[tokio::test]
async fn a_message_to_a_device_is_told_from_its_sending_to_its_outcome() {
    let (hub, mut activity, string) = setup().await;
    let credential = hub.connection_string(PolicyName::Service).parse().unwrap();
    let sender = soon(C2dSender::builder(credential).connect()).await.unwrap();
    let message = C2dMessage { message_id: Some("7f3a".to_owned()), ..C2dMessage::new("hello") };
    soon(sender.send(&device(), message)).await.unwrap();
    let sent = until(&mut activity, ActivityKind::C2dSent).await;
    assert_eq!((sent.bytes, sent.message_id.as_deref()), (Some(5), Some("7f3a")));
    assert_eq!(sent.transport, Some(ActivityTransport::Amqp), "the worker tells as its connection");

    let client = soon(DeviceClient::connect(&string)).await.unwrap();
    let mut messages = soon(client.c2d_messages()).await.unwrap();
    soon(messages.next()).await.unwrap().complete().unwrap();
    let delivered = until(&mut activity, ActivityKind::C2dDelivered).await;
    assert_eq!((delivered.transport, delivered.bytes), (Some(ActivityTransport::Mqtt), Some(5)));
    let outcome = next(&mut activity, ActivityKind::C2dOutcome).await;
    assert_eq!(outcome.operation.as_deref(), Some("completed"));
    assert_eq!((outcome.message_id.as_deref(), outcome.milliseconds.is_some()), (Some("7f3a"), true));
}

#[tokio::test]
async fn readers_of_events_come_and_go() {
    let (hub, mut activity, _) = setup().await;
    let reader = soon(EventReader::open(&hub.plain_event_hubs_connection_string())).await.unwrap();
    let mut attached = Vec::new();
    while attached.len() < 4 {
        let record = until(&mut activity, ActivityKind::ReaderAttached).await;
        assert!(record.peer.is_some() && record.transport == Some(ActivityTransport::Amqp));
        attached.push(record.operation.as_deref().unwrap().to_owned());
    }
    attached.sort();
    assert_eq!(attached, ["$Default/0", "$Default/1", "$Default/2", "$Default/3"]);
    drop(reader);
    let gone = until(&mut activity, ActivityKind::ReaderDetached).await;
    assert!(gone.peer.is_some());
}

#[tokio::test]
async fn each_refusal_is_told_once_with_its_true_reason() {
    let (hub, mut activity, string) = setup().await;
    next(&mut activity, ActivityKind::Registry).await;

    // MQTT: the peer hears a number, the record says why.
    let unknown = string.replace("DeviceId=d1", "DeviceId=d2");
    soon(DeviceClient::connect(&unknown)).await.unwrap_err();
    let refused = next(&mut activity, ActivityKind::Refused).await;
    assert_eq!((refused.identity().as_deref(), refused.operation.as_deref()), (Some("d2"), Some("connect")));
    assert_eq!((refused.code, refused.result), (Some(401_002), ActivityResult::Refused));
    assert!(refused.reason.as_ref().unwrap().contains("there is no such device"), "{refused:?}");

    // HTTPS: the peer hears "Unauthorized", the record says why, under the same tracking id.
    let denied = service(&hub, PolicyName::Device).devices().get(&device()).await.unwrap_err();
    let refused = next(&mut activity, ActivityKind::Refused).await;
    assert_eq!(refused.operation.as_deref(), Some("read device"));
    assert_eq!(refused.identity().as_deref(), Some("d1"));
    assert!(refused.reason.as_ref().unwrap().contains("lacks the permission RegistryRead"), "{refused:?}");
    let told = denied.tracking_id().unwrap();
    assert!(told.contains(refused.tracking_id.as_deref().unwrap()), "{told}");

    // A device that is not connected gets no method.
    let request = DirectMethodRequest::new("reboot".parse().unwrap());
    soon(service(&hub, PolicyName::Service).invoke_method(&device(), &request)).await.unwrap_err();
    let refused = next(&mut activity, ActivityKind::Refused).await;
    assert_eq!((refused.operation.as_deref(), refused.code), (Some("method"), Some(404_103)));

    // AMQP: a token of a policy that may not.
    let credential = hub.connection_string(PolicyName::Device).parse().unwrap();
    soon(C2dSender::builder(credential).connect()).await.unwrap_err();
    let refused = next(&mut activity, ActivityKind::Refused).await;
    assert_eq!(refused.operation.as_deref(), Some("put token"));
    assert!(refused.reason.as_ref().unwrap().contains("lacks the permission ServiceConnect"), "{refused:?}");

    // A peer that speaks no TLS.
    let mut stranger = tls::tcp(hub.ports().https).await;
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let refused = next(&mut activity, ActivityKind::Refused).await;
    assert_eq!(refused.operation.as_deref(), Some("TLS handshake"));
    assert!(activity.try_next().is_none(), "each was told once");
}
