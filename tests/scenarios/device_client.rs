//! These tests run the device client against the local hub: telemetry, cloud-to-device messages, renewal of tokens, and
//! its errors when the hub refuses it.

use std::collections::BTreeSet;
use std::time::Duration;

use iothub_auth::ManualClock;
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_models::{Acknowledgement, C2dMessage, DeviceId, DeviceStatus, TelemetryMessage};
use iothub_mqtt_device::{ConnectionState, DeviceClient, Error, ErrorKind, ReconnectPolicy};
use iothub_rest_service::ServiceClient;

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it did not happen in time")
}

pub(crate) fn device() -> DeviceId {
    "d1".parse().unwrap()
}

/// A hub and the connection string of its one device.
async fn setup() -> (RunningHub, String) {
    let hub = LocalHub::builder().start().await.unwrap();
    let string = hub.create_device(&device()).await.unwrap();
    (hub, string)
}

/// Comes back at once, or after a minute: never in between, so that a test knows what it sees.
pub(crate) fn reconnect(delay: Duration) -> ReconnectPolicy {
    ReconnectPolicy { floor: delay, first: delay, cap: delay, give_up_after: None }
}

/// The next state that is not a connection.
async fn disconnected(client: &DeviceClient) -> Error {
    let mut states = client.connection_states();
    loop {
        if let ConnectionState::Disconnected { error, .. } = soon(states.next()).await.unwrap() {
            return error;
        }
    }
}

#[tokio::test]
async fn telemetry_is_with_the_hub_when_the_call_returns() {
    let (hub, string) = setup().await;
    let builder = DeviceClient::builder(&string).model_id("dtmi:com:example:Thermostat;1".parse().unwrap());
    let client = soon(builder.connect()).await.unwrap();
    let message = TelemetryMessage {
        message_id: Some("m1".to_owned()),
        correlation_id: Some("c=1&2".to_owned()),
        user_id: Some("u+1".to_owned()),
        component: Some("thermostat1".to_owned()),
        creation_time: Some("2026-11-21T02:30:00.25Z".parse().unwrap()),
        properties: [("a b", "+%/?"), ("\u{20ac}", "\u{1f680}"), ("empty", "")].into_iter().collect(),
        ..TelemetryMessage::json_text(r#"{"temperature": 21.5}"#)
    };
    soon(client.send_telemetry(message.clone())).await.unwrap();
    let kept = hub.telemetry();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].message, message);
    assert_eq!(
        (&kept[0].device_id, kept[0].model_id.as_deref()),
        (&device(), Some("dtmi:com:example:Thermostat;1"))
    );
    soon(client.shutdown()).await.unwrap();
    soon(hub.wait_until(|hub| !hub.is_connected(&device()))).await;
}

#[tokio::test]
async fn a_message_leaves_the_hub_when_it_was_handled() {
    let (hub, string) = setup().await;
    let client = soon(DeviceClient::connect(&string)).await.unwrap();
    let mut messages = soon(client.c2d_messages()).await.unwrap();
    let sent = C2dMessage {
        message_id: Some("message_0".to_owned()),
        correlation_id: Some("a=b&c/d+e".to_owned()),
        content_type: Some("application/json".to_owned()),
        ack: Some(Acknowledgement::Full),
        properties: [("testProperty", "Prop Msg"), ("$dollar", "%")].into_iter().collect(),
        ..C2dMessage::new("\u{1f680}")
    };
    hub.send_c2d(&device(), sent.clone()).await.unwrap();
    let received = soon(messages.next()).await.unwrap();
    assert_eq!(*received, sent);
    assert_eq!(hub.pending_c2d(&device()), 1, "received is not handled");
    received.complete().unwrap();
    soon(hub.wait_until(|hub| hub.pending_c2d(&device()) == 0)).await;
}

#[tokio::test]
async fn a_message_that_was_not_completed_comes_again_on_the_next_connection() {
    let (hub, string) = setup().await;
    let client = soon(DeviceClient::connect(&string)).await.unwrap();
    let mut messages = soon(client.c2d_messages()).await.unwrap();
    for body in ["first", "second"] {
        hub.send_c2d(&device(), C2dMessage::new(body)).await.unwrap();
    }
    drop(soon(messages.next()).await.unwrap());
    soon(messages.next()).await.unwrap().complete().unwrap();
    soon(hub.wait_until(|hub| hub.pending_c2d(&device()) == 1)).await;
    soon(client.shutdown()).await.unwrap();

    let client = soon(DeviceClient::connect(&string)).await.unwrap();
    let mut messages = soon(client.c2d_messages()).await.unwrap();
    let again = soon(messages.next()).await.unwrap();
    assert_eq!(again.body_text(), "first");
    again.complete().unwrap();
    soon(hub.wait_until(|hub| hub.pending_c2d(&device()) == 0)).await;
}

#[tokio::test]
async fn all_that_a_hub_may_hold_passes_an_application_that_reads_late() {
    let (hub, string) = setup().await;
    for n in 0..50 {
        hub.send_c2d(&device(), C2dMessage::new(vec![n; 60_000])).await.unwrap();
    }
    let client = soon(DeviceClient::connect(&string)).await.unwrap();
    let mut messages = soon(client.c2d_messages()).await.unwrap();
    // The hub's side is full; telemetry passes all the same.
    soon(client.send_telemetry(TelemetryMessage::new(vec![0; 250_000]))).await.unwrap();
    for n in 0..50 {
        let message = soon(messages.next()).await.unwrap();
        assert_eq!(message.body, vec![n; 60_000]);
        message.complete().unwrap();
    }
    soon(hub.wait_until(|hub| hub.pending_c2d(&device()) == 0)).await;
    assert!(client.connection_state().is_connected());
}

#[tokio::test]
async fn a_token_is_renewed_in_time_for_as_long_as_it_takes() {
    let hands = ManualClock::new("2026-11-21T00:00:00Z".parse().unwrap());
    let hub = LocalHub::builder().clock(hands.clock()).start().await.unwrap();
    let string = hub.create_device(&device()).await.unwrap();
    let builder = DeviceClient::builder(&string)
        .clock(hands.clock())
        .send_timeout(Duration::from_secs(30 * 24 * 3600))
        .reconnect(reconnect(Duration::ZERO));
    let client = soon(builder.connect()).await.unwrap();
    let mut messages = soon(client.c2d_messages()).await.unwrap();
    // Ten lives of a token, in steps that land before, on and after a renewal.
    for step in 0..40 {
        hands.advance(Duration::from_secs(15 * 60));
        soon(client.send_telemetry(TelemetryMessage::new(step.to_string()))).await.unwrap();
        hub.send_c2d(&device(), C2dMessage::new(step.to_string())).await.unwrap();
        // A completion may meet the renewal; the hub then delivers again.
        loop {
            let message = soon(messages.next()).await.unwrap();
            assert_eq!(message.body_text(), step.to_string());
            match message.complete() {
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Disconnected);
                    continue;
                }
            }
            soon(hub.wait_until(|hub| hub.pending_c2d(&device()) == 0)).await;
            break;
        }
    }
    let bodies: BTreeSet<_> = hub.telemetry().iter().map(|event| event.message.body.clone()).collect();
    assert_eq!(bodies.len(), 40);
}

#[tokio::test]
async fn the_newer_client_of_a_device_wins_and_the_older_hears_of_it() {
    let (hub, string) = setup().await;
    let patient = DeviceClient::builder(&string).reconnect(reconnect(Duration::from_secs(3600)));
    let older = soon(patient.connect()).await.unwrap();
    let newer = soon(DeviceClient::connect(&string)).await.unwrap();
    assert_eq!(disconnected(&older).await.kind(), ErrorKind::Disconnected);
    soon(newer.send_telemetry(TelemetryMessage::new("newer"))).await.unwrap();
    assert!(hub.is_connected(&device()));
    soon(older.shutdown()).await.unwrap();
}

#[tokio::test]
async fn a_refused_device_is_told_what_to_look_at() {
    let (hub, string) = setup().await;
    let (before, key) = string.split_once("SharedAccessKey=").unwrap();
    let rest = key.split_once(';').map_or("", |(_, rest)| rest);
    let wrong_key = format!("{before}SharedAccessKey=d3Jvbmcga2V5;{rest}");
    let unknown = string.replace("DeviceId=d1", "DeviceId=d2");
    for (string, id) in [(&wrong_key, "d1"), (&unknown, "d2")] {
        let error = soon(DeviceClient::connect(string)).await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::NotAuthorized, false));
        let text = error.to_string();
        for part in ["unknown or disabled", "the key is not its own", "clock", &format!("device show {id}")] {
            assert!(text.contains(part), "{text}");
        }
        // A hub on this machine forgets its devices when it ends, which is the likeliest reason.
        let advice = text.split_once(" refused device ").unwrap().1.split_once(": ").unwrap().1;
        let expected = format!(
            "a hub that was started anew may not know this device: `iothub device create {id}` registers it"
        );
        assert!(advice.starts_with(&expected), "{text}");
        assert!(!format!("{error:?}").contains("d3Jvbmcga2V5"));
    }
    let late = ManualClock::new(hub.clock().now() - Duration::from_secs(3 * 3600));
    let error = soon(DeviceClient::builder(&string).clock(late.clock()).connect()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAuthorized);
    assert!(error.to_string().contains(&format!("clock ({:.0})", late.clock().now())), "{error}");
}

#[tokio::test]
async fn a_disabled_device_loses_its_connection_and_comes_back_when_enabled() {
    let (hub, string) = setup().await;
    let builder = DeviceClient::builder(&string).reconnect(reconnect(Duration::from_millis(20)));
    let client = soon(builder.connect()).await.unwrap();
    let devices = ServiceClient::from_connection_string(&hub.connection_string(PolicyName::IotHubOwner))
        .unwrap()
        .devices();
    let mut identity = soon(devices.get(&device())).await.unwrap();
    identity.status = DeviceStatus::Disabled;
    identity = soon(devices.update(&identity)).await.unwrap();
    let refused = async {
        loop {
            let error = disconnected(&client).await;
            if error.kind() == ErrorKind::NotAuthorized {
                return error;
            }
            tokio::task::yield_now().await;
        }
    };
    let error = soon(refused).await;
    assert!(error.to_string().contains("accepted before"), "{error}");
    identity.status = DeviceStatus::Enabled;
    soon(devices.update(&identity)).await.unwrap();
    soon(client.send_telemetry(TelemetryMessage::new("back"))).await.unwrap();
}

#[tokio::test]
async fn a_hub_that_is_gone_is_said_to_be_so() {
    let (hub, string) = setup().await;
    let client = soon(DeviceClient::connect(&string)).await.unwrap();
    let (port, ca) = (hub.ports().mqtts, std::fs::read(hub.ca_file()).unwrap());
    soon(hub.shutdown()).await;
    assert!(soon(disconnected(&client)).await.is_retryable());
    soon(client.shutdown()).await.unwrap();

    // The hub's port may be another hub's by now. This one is bound and does not listen, so that nobody else gets it.
    let silent = tokio::net::TcpSocket::new_v4().unwrap();
    silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let string = string.replace(&format!("MqttsPort={port}"), &format!("MqttsPort={silent_port}"));
    // The CA file went with the hub.
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("ca.pem");
    std::fs::write(&file, ca).unwrap();
    let string = string.split(";TrustedCaFile=").next().unwrap();
    let string = format!("{string};TrustedCaFile={}", file.display());
    let error = soon(DeviceClient::connect(&string)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    let text = error.to_string();
    assert!(text.starts_with(&format!("nothing listens on localhost port {silent_port} ")), "{text}");
    assert!(text.contains("is the hub running? `cargo xtask hub`") && !text.contains("firewall"), "{text}");
}
