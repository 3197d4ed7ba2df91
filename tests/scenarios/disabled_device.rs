//! These tests want something of a device that is disabled or unknown, and check that they are told which it is.

use std::error::Error as _;

use iothub_amqp_service::{C2dMessage, C2dSender, ErrorKind as AmqpErrorKind};
use iothub_local_hub::{LocalHub, PolicyName};
use iothub_models::{DeviceStatus, DirectMethodRequest};
use iothub_mqtt_device::MethodName;
use iothub_rest_service::{ErrorKind, ServiceClient};

use crate::device_client::{device, soon};

#[tokio::test]
async fn messages_and_methods_for_a_disabled_device_are_refused_because_it_is_disabled() {
    let hub = LocalHub::builder().start().await.unwrap();
    hub.create_device(&device()).await.unwrap();
    let owner = hub.connection_string(PolicyName::IotHubOwner);
    let service = ServiceClient::from_connection_string(&owner).unwrap();
    let mut identity = soon(service.devices().get(&device())).await.unwrap();
    identity.status = DeviceStatus::Disabled;
    soon(service.devices().update(&identity)).await.unwrap();

    let sender = soon(C2dSender::connect(&owner)).await.unwrap();
    let refused = soon(sender.send(&device(), C2dMessage::new("x"))).await.unwrap_err();
    assert_eq!(refused.kind(), AmqpErrorKind::DeviceNotFound);
    assert!(
        refused
            .to_string()
            .ends_with("the device is disabled: set its status to enabled before you send again")
    );
    let hub_said = refused.source().unwrap().to_string();
    assert!(hub_said.contains("d1 is disabled") && !hub_said.contains("no device"), "{hub_said}");

    let request = DirectMethodRequest::new("m".parse::<MethodName>().unwrap());
    let called = service.invoke_method(device(), &request);
    let refused = soon(called).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert!(refused.to_string().contains(": the device is disabled: set its status to enabled"), "{refused}");
    assert!(refused.source().unwrap().to_string().contains("d1 is disabled"));
    sender.close().await.unwrap();
}

#[tokio::test]
async fn a_local_hub_that_does_not_know_the_device_may_have_been_started_anew() {
    let hub = LocalHub::builder().start().await.unwrap();
    let owner = hub.connection_string(PolicyName::IotHubOwner);
    let anew = "hub that was started anew may not know this device: `iothub device create d1` registers it";

    let sender = soon(C2dSender::connect(&owner)).await.unwrap();
    let refused = soon(sender.send(&device(), C2dMessage::new("x"))).await.unwrap_err();
    assert!(refused.to_string().ends_with(anew), "{refused}");
    let service = ServiceClient::from_connection_string(&owner).unwrap();
    let refused = soon(service.twins().get(&device())).await.unwrap_err();
    assert!(refused.to_string().ends_with(anew), "{refused}");
    sender.close().await.unwrap();
}
