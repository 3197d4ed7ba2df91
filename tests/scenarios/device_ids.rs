//! These tests use every character that an id may hold, on every way that a device has into the hub.

use iothub_auth::{DeviceConnectionString, HubAddress, SharedAccessKey};
use iothub_local_hub::{LocalHub, RunningHub};
use iothub_models::{C2dMessage, DeviceId, ModuleId, TelemetryMessage};
use iothub_mqtt_device::DeviceClient;
use iothub_testkit::soon;
use reqwest::Method;

use crate::foreign_http::{ForeignHttp, exchange};
use crate::peers::{HOUR, token};

/// Returns all characters an id may hold, each found by parsing an id with it.
fn allowed() -> Vec<char> {
    (0..=u32::from(u16::MAX))
        .filter_map(char::from_u32)
        .filter(|c| format!("a{c}b").parse::<DeviceId>().is_ok())
        .collect()
}

#[test]
fn the_connection_string_of_every_id_is_read_back() {
    let allowed = allowed();
    assert_eq!(allowed.len(), 26 + 26 + 10 + 17);
    assert!(!allowed.contains(&';'), "it separates the pairs of a connection string");
    let texts =
        allowed.iter().flat_map(|c| [c.to_string(), format!("{c}{c}"), format!("a{c}b"), format!("{c}=")]);
    let all: String = allowed.iter().collect();
    for text in texts.chain([all]) {
        let (id, module): (DeviceId, ModuleId) = (text.parse().unwrap(), text.parse().unwrap());
        let key = SharedAccessKey::new("c2VjcmV0");
        let mut string = DeviceConnectionString::new(HubAddress::new("hub.example"), id.clone(), key);
        string.module_id = Some(module.clone());
        let read: DeviceConnectionString = string.reveal().parse().unwrap();
        assert_eq!(
            (read.device_id, read.module_id, read.address),
            (id, Some(module), string.address),
            "{text}"
        );
    }
}

/// Sends telemetry and receives a message over MQTT.
async fn works_over_mqtt(hub: &RunningHub, string: &str, id: &DeviceId) {
    let client = soon(DeviceClient::connect(string)).await.unwrap_or_else(|error| panic!("{id}: {error}"));
    soon(client.send_telemetry(TelemetryMessage::new("up"))).await.unwrap();
    assert_eq!(hub.telemetry().last().unwrap().device_id, *id);
    let mut messages = soon(client.c2d_messages()).await.unwrap();
    soon(hub.send_c2d(id, C2dMessage::new("down"))).await.unwrap();
    let received = soon(messages.next()).await.unwrap();
    assert_eq!(received.body, "down", "{id}");
    received.complete().unwrap();
    soon(hub.wait_until(|hub| hub.pending_c2d(id) == 0)).await;
    soon(client.shutdown()).await.unwrap();
}

#[tokio::test]
async fn a_device_whose_id_has_any_allowed_character_gets_in() {
    let hub = LocalHub::builder().start().await.unwrap();
    let http = ForeignHttp::new(&hub);
    for c in allowed().into_iter().filter(|c| !c.is_ascii_alphanumeric()) {
        let id: DeviceId = format!("a{c}b{c}").parse().unwrap();
        let string = hub.create_device(&id).await.unwrap();
        let proof = token(&hub, &string, HOUR);
        let encoded: String = id.as_str().bytes().map(|byte| format!("%{byte:02X}")).collect();
        let request = http.bare(&Method::GET, &format!("/devices/{encoded}/messages/devicebound"));
        let got = exchange(request.header("Authorization", proof.reveal())).await;
        assert_eq!(got.status.as_u16(), 204, "{id}");
        // MQTT has no topic with these two.
        if !"#+".contains(c) {
            works_over_mqtt(&hub, &string, &id).await;
        }
    }
    hub.shutdown().await;
}

#[tokio::test]
async fn a_semicolon_is_refused_wherever_an_id_is_made() {
    let hub = LocalHub::builder().start().await.unwrap();
    let http = ForeignHttp::new(&hub);
    hub.create_device(&"d1".parse().unwrap()).await.unwrap();
    for (path, body) in [
        ("/devices/a%3Bb", r#"{"deviceId":"a;b"}"#),
        ("/devices/d1/modules/a%3Bb", r#"{"deviceId":"d1","moduleId":"a;b"}"#),
    ] {
        let text = http.put(path, None, body).await.refusal(400_004, "ArgumentInvalid");
        assert!(text.contains("';'"), "{text}");
    }
    assert_eq!(hub.device_ids().len(), 1);
    hub.shutdown().await;
}
