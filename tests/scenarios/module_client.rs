//! The module client against the local hub: a module has a twin and telemetry of its own, beside its
//! device; with a device's string the client is that device.

use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_models::{ModuleId, TelemetryMessage, TwinPatch};
use iothub_mqtt_device::{DeviceClient, ErrorKind, ModuleClient};
use iothub_rest_service::{Precondition, ServiceClient};
use serde_json::json;

use crate::device_client::{device, soon};

fn module() -> ModuleId {
    "cam".parse().unwrap()
}

async fn setup() -> (RunningHub, String, String) {
    let hub = LocalHub::builder().start().await.unwrap();
    let device_string = hub.create_device(&device()).await.unwrap();
    let module_string = hub.create_module(&device(), &module()).await.unwrap();
    (hub, device_string, module_string)
}

#[tokio::test]
async fn a_module_has_a_twin_of_its_own_beside_its_device() {
    let (hub, device_string, module_string) = setup().await;
    let camera = soon(ModuleClient::connect(&module_string)).await.unwrap();
    let host = soon(DeviceClient::connect(&device_string)).await.unwrap();
    assert_eq!((camera.device_id(), camera.module_id()), (&device(), Some(&module())));
    let mut of_camera = soon(camera.desired_properties()).await.unwrap();
    let mut of_host = soon(host.desired_properties()).await.unwrap();

    assert_eq!(soon(camera.update_reported_properties(&json!({"lens": "wide"}))).await.unwrap(), 2);
    assert_eq!(hub.module_twin(&device(), &module()).unwrap().properties.reported.properties["lens"], "wide");
    assert!(soon(host.twin()).await.unwrap().reported.properties.is_empty());
    assert_eq!(soon(camera.twin()).await.unwrap().reported.version, 2);

    let service = ServiceClient::from_connection_string(&hub.connection_string(PolicyName::Service)).unwrap();
    let (device, module) = (device(), module());
    let zoom = TwinPatch::new().desired("zoom", 3);
    soon(service.twins().patch((&device, &module), &zoom, Precondition::Any)).await.unwrap();
    let fan = TwinPatch::new().desired("fan", true);
    soon(service.twins().patch(&device, &fan, Precondition::Any)).await.unwrap();
    let change = soon(of_camera.next()).await.unwrap();
    assert_eq!(change.to_string(), r#"{"zoom": 3, "$version": 2}"#);
    assert_eq!(soon(of_host.next()).await.unwrap().to_string(), r#"{"fan": true, "$version": 2}"#);

    soon(camera.send_telemetry(TelemetryMessage::new("picture"))).await.unwrap();
    let events = hub.telemetry();
    assert_eq!((&events[0].device_id, events[0].module_id.as_ref()), (&device, Some(&module)));
    soon(camera.shutdown()).await.unwrap();
    assert!(host.connection_state().is_connected());
    let error = camera.twin().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn with_a_device_s_string_it_is_that_device() {
    let (hub, device_string, _) = setup().await;
    let client = soon(ModuleClient::connect(&device_string)).await.unwrap();
    assert_eq!(client.module_id(), None);
    soon(client.update_reported_properties(&json!({"connectivity": "cellular"}))).await.unwrap();
    let reported = hub.twin(&device()).unwrap().properties.reported;
    assert_eq!(reported.properties["connectivity"], "cellular");
    soon(client.send_telemetry(TelemetryMessage::new("x"))).await.unwrap();
    assert_eq!(hub.telemetry()[0].module_id, None);
}

#[tokio::test]
async fn a_module_gets_no_messages_of_its_device() {
    let (_hub, _, module_string) = setup().await;
    // A device client accepts a module's string too, and says what a module does not have.
    let client = soon(DeviceClient::connect(&module_string)).await.unwrap();
    assert_eq!(client.c2d_messages().await.unwrap_err().kind(), ErrorKind::InvalidArgument);
}
