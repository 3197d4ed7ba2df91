//! These tests are those of docs/guides/test-with-the-embedded-hub.md, which that page pastes from here.

// ANCHOR: together
use iothub_amqp_service::EventReader;
use iothub_local_hub::{LocalHub, PolicyName};
use iothub_mqtt_device::serde_json::json;
use iothub_mqtt_device::{DeviceClient, DeviceId, DirectMethodResponse, MethodHandlers, TelemetryMessage};
use iothub_rest_service::{DirectMethodRequest, ServiceClient};

#[tokio::test]
async fn device_and_back_end_work_together() -> anyhow::Result<()> {
    let hub = LocalHub::builder().start().await?;
    let id: DeviceId = "my-device".parse()?;
    let device = DeviceClient::connect(&hub.create_device(&id).await?).await?;
    let owner = hub.connection_string(PolicyName::IotHubOwner);

    // Telemetry, from the device to the back end.
    let mut events = EventReader::open(&owner).await?;
    device.send_telemetry(TelemetryMessage::json(json!({ "temperature": 31.5 }))?).await?;
    let event = events.next().await.expect("the reader goes on")?;
    assert_eq!(event.body_text(), r#"{"temperature":31.5}"#);

    // A direct method, from the back end to the device and back.
    let methods = MethodHandlers::new().on("cool", async |_| DirectMethodResponse::new(200, "cooled"));
    tokio::spawn(methods.serve(device.direct_methods().await?));
    let back_end = ServiceClient::from_connection_string(&owner)?;
    let answer = back_end.invoke_method(&id, &DirectMethodRequest::new("cool".parse()?)).await?;
    assert_eq!((answer.status, answer.payload), (200, json!("cooled")));

    // What the hub knows can be looked at from inside.
    assert_eq!(hub.telemetry().len(), 1);
    hub.shutdown().await;
    Ok(())
}
// ANCHOR_END: together

// ANCHOR: clock
use std::time::Duration;

use iothub_local_hub::{C2dMessage, ManualClock};
use iothub_mqtt_device::jiff::Timestamp;

#[tokio::test]
async fn a_message_expires_after_an_hour() -> anyhow::Result<()> {
    let hands = ManualClock::new(Timestamp::now());
    let hub = LocalHub::builder().clock(hands.clock()).start().await?;
    let id: DeviceId = "my-device".parse()?;
    hub.create_device(&id).await?;
    hub.send_c2d(&id, C2dMessage::new("open the valve")).await?;
    assert_eq!(hub.pending_c2d(&id), 1);

    hands.advance(Duration::from_secs(61 * 60));
    tokio::time::timeout(Duration::from_secs(10), hub.wait_until(|hub| hub.pending_c2d(&id) == 0)).await?;
    Ok(())
}
// ANCHOR_END: clock
