//! These tests call direct methods from our back end through the local hub on our device: every answer reaches its own
//! caller as it was given, and every way to have no answer gets an error of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use iothub_auth::ManualClock;
use iothub_local_hub::{LocalHub, PolicyName, RunningHub};
use iothub_models::{DirectMethodRequest, DirectMethodResponse, ErrorCode, ModuleId};
use iothub_mqtt_device::{DeviceClient, DirectMethods, MethodHandlers, ModuleClient};
use iothub_rest_service::{Error, ErrorKind, ServiceClient};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::device_client::{device, reconnect, soon};
use crate::network::Network;

fn service(hub: &RunningHub) -> ServiceClient {
    ServiceClient::from_connection_string(&hub.connection_string(PolicyName::Service)).unwrap()
}

fn request(name: &str) -> DirectMethodRequest {
    DirectMethodRequest::new(name.parse().unwrap())
}

/// A hub whose time a test turns, a back end, and a device that takes methods.
async fn setup() -> (RunningHub, ManualClock, ServiceClient, DeviceClient, DirectMethods) {
    let time = ManualClock::new("2026-11-25T00:00:00Z".parse().unwrap());
    let hub = LocalHub::builder().clock(time.clock()).start().await.unwrap();
    let string = hub.create_device(&device()).await.unwrap();
    let client = soon(DeviceClient::builder(&string).clock(time.clock()).connect()).await.unwrap();
    let methods = soon(client.direct_methods()).await.unwrap();
    let credential = hub.connection_string(PolicyName::Service).parse().unwrap();
    let service = ServiceClient::builder(credential).clock(time.clock()).build().unwrap();
    (hub, time, service, client, methods)
}

/// A call in the background.
fn call(
    service: &ServiceClient,
    request: DirectMethodRequest,
) -> JoinHandle<Result<DirectMethodResponse, Error>> {
    let service = service.clone();
    tokio::spawn(async move { service.invoke_method(&device(), &request).await })
}

async fn failed(call: JoinHandle<Result<DirectMethodResponse, Error>>) -> (ErrorKind, Option<ErrorCode>) {
    let error = soon(call).await.unwrap().unwrap_err();
    (error.kind(), error.error_code())
}

#[tokio::test]
async fn payloads_and_statuses_arrive_as_they_were_given() {
    let (_hub, _, service, _client, methods) = setup().await;
    let echo = MethodHandlers::new()
        .on("echo", async |payload| DirectMethodResponse::new(200, payload))
        .on("status", async |payload: Value| {
            DirectMethodResponse::new(payload.as_i64().unwrap().try_into().unwrap(), "so")
        });
    let serving = tokio::spawn(echo.serve(methods));
    let deep = (0..30).fold(json!(null), |inner, _| json!({ "a": [inner] }));
    for payload in [
        Value::Null,
        json!(""),
        json!(0),
        json!(-1.5),
        json!(true),
        json!([]),
        json!({"z": 1, "a": {"\u{1f680}": [null, "\u{0}\u{7f}"]}}),
        deep,
        json!("x".repeat(DirectMethodRequest::MAX_PAYLOAD - 2)),
    ] {
        let answer = soon(call(&service, request("echo").with_payload(payload.clone()))).await.unwrap();
        assert_eq!(answer.unwrap(), DirectMethodResponse::new(200, payload));
    }
    for status in [i32::MIN, -1, 0, 200, 404, 500, 599, i32::MAX] {
        let answer = soon(service.invoke_method(&device(), &request("status").with_payload(status))).await;
        assert_eq!(answer.unwrap(), DirectMethodResponse::new(status, "so"));
    }
    let unknown = soon(service.invoke_method(&device(), &request("unknown"))).await.unwrap();
    assert_eq!(unknown.status, 404, "the device's own answer");
    serving.abort();
}

/// A value has 64 bits for whole numbers; payloads have as many digits as their programs give them.
#[tokio::test]
async fn whole_numbers_beyond_64_bits_keep_their_digits_both_ways() {
    let (_hub, _, service, client, mut methods) = setup().await;
    let json = r#"{"serial":340282366920938463463374607431768211455,"n":1}"#;
    let large = || request("m").with_payload_json(json).unwrap();
    let answering = async {
        for _ in 0..2 {
            let call = soon(methods.next()).await.unwrap();
            assert_eq!(call.payload_json(), json);
            let read: BTreeMap<String, u128> = call.payload_as().unwrap();
            assert_eq!((read["serial"], read["n"]), (u128::MAX, 1));
            call.respond(DirectMethodResponse::from_json(200, json).unwrap()).unwrap();
        }
    };
    let (id, twins) = (device(), service.digital_twins());
    let (method, command) = (large(), large());
    let calling = async {
        [
            soon(service.invoke_method(&id, &method)).await.unwrap(),
            soon(twins.invoke_command(&id, &command)).await.unwrap(),
        ]
    };
    let (answers, ()) = tokio::join!(calling, answering);
    for answer in answers {
        assert_eq!(answer.payload_json(), json);
        assert!(answer.payload["serial"].is_f64());
    }

    // A handler takes a value, and so never gets a number that was changed on the way.
    drop(methods);
    let echo = MethodHandlers::new().on("m", async |payload| DirectMethodResponse::new(200, payload));
    let serving = tokio::spawn(echo.serve(soon(client.direct_methods()).await.unwrap()));
    let refused = soon(call(&service, large())).await.unwrap().unwrap();
    assert_eq!(refused.status, 400);
    let why = refused.payload["error"].as_str().unwrap();
    assert!(why.contains("340282366920938463463374607431768211455"), "{why}");
    serving.abort();
}

#[tokio::test]
async fn a_hundred_calls_at_once_get_their_own_answers() {
    let (_hub, _, service, _client, mut methods) = setup().await;
    let calls = join_all((0..100).map(|n| soon(call(&service, request("m").with_payload(n)))));
    let device = async {
        // The last first, and only once all are there.
        let mut received = Vec::new();
        while received.len() < 100 {
            received.push(soon(methods.next()).await.unwrap());
        }
        while let Some(call) = received.pop() {
            let payload = call.payload().clone();
            call.respond(DirectMethodResponse::new(200, payload)).unwrap();
        }
    };
    let (answers, ()) = tokio::join!(calls, device);
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.unwrap().unwrap(), DirectMethodResponse::new(200, n));
    }
}

#[tokio::test]
async fn a_device_that_is_unknown_away_or_takes_no_methods() {
    let hub = LocalHub::builder().start().await.unwrap();
    let service = service(&hub);
    let unknown = soon(service.invoke_method(&device(), &request("m"))).await.unwrap_err();
    assert_eq!(
        (unknown.kind(), unknown.error_code()),
        (ErrorKind::NotFound, Some(ErrorCode::DeviceNotFound))
    );
    let string = hub.create_device(&device()).await.unwrap();
    let away = Some(ErrorCode::DeviceNotOnline);
    assert_eq!(failed(call(&service, request("m"))).await, (ErrorKind::DeviceNotOnline, away));
    let client = soon(DeviceClient::connect(&string)).await.unwrap();
    assert_eq!(failed(call(&service, request("m"))).await, (ErrorKind::DeviceNotOnline, away));

    // Whoever waits for it is served when it comes.
    let patient = call(&service, request("m").with_connect_timeout(Duration::from_secs(300)).unwrap());
    soon(hub.wait_until(|hub| hub.pending_methods(&device()) == 1)).await;
    let mut methods = soon(client.direct_methods()).await.unwrap();
    soon(methods.next()).await.unwrap().respond(DirectMethodResponse::new(200, 1)).unwrap();
    assert_eq!(soon(patient).await.unwrap().unwrap().payload, 1);

    // Without a stream there is nobody to ask, and the device says so itself.
    drop(methods);
    assert_eq!(soon(service.invoke_method(&device(), &request("m"))).await.unwrap().status, 501);
    soon(client.shutdown()).await.unwrap();
    soon(hub.wait_until(|hub| !hub.is_connected(&device()))).await;
    assert_eq!(failed(call(&service, request("m"))).await, (ErrorKind::DeviceNotOnline, away));
}

#[tokio::test]
async fn no_answer_in_time_is_told_and_a_late_one_reaches_nobody() {
    let (hub, time, service, _client, mut methods) = setup().await;
    let first = call(&service, request("m").with_response_timeout(Duration::from_secs(5)).unwrap());
    let late = soon(methods.next()).await.unwrap();
    time.advance(Duration::from_secs(5));
    assert_eq!(failed(first).await, (ErrorKind::NoDeviceResponse, Some(ErrorCode::GatewayTimeout)));
    late.respond(DirectMethodResponse::new(200, "late")).unwrap();

    let second = call(&service, request("m"));
    let received = soon(methods.next()).await.unwrap();
    received.respond(DirectMethodResponse::new(200, "in time")).unwrap();
    assert_eq!(soon(second).await.unwrap().unwrap().payload, "in time");

    // A call that nobody answers does not keep its caller waiting.
    let third = call(&service, request("m"));
    drop(soon(methods.next()).await.unwrap());
    assert_eq!(soon(third).await.unwrap().unwrap().status, 500);
    assert_eq!(hub.pending_methods(&device()), 0);
}

#[tokio::test]
async fn a_connection_that_breaks_fails_its_calls_and_no_others() {
    let hub = LocalHub::builder().start().await.unwrap();
    hub.create_device(&device()).await.unwrap();
    let (network, service) = (Network::to(&hub).await, service(&hub));
    let builder =
        DeviceClient::builder(&network.string(&hub)).reconnect(reconnect(Duration::from_millis(50)));
    let client = soon(builder.connect()).await.unwrap();
    let mut methods = soon(client.direct_methods()).await.unwrap();
    let lost = call(&service, request("m").with_payload("lost"));
    let held = soon(methods.next()).await.unwrap();
    network.cut();
    assert_eq!(failed(lost).await.0, ErrorKind::NoDeviceResponse);

    let patient = request("m").with_connect_timeout(Duration::from_secs(20)).unwrap();
    let next = call(&service, patient.with_payload("next"));
    let received = soon(methods.next()).await.unwrap();
    assert_eq!(received.payload(), "next");
    let error = held.respond(DirectMethodResponse::new(200, "lost")).unwrap_err();
    assert_eq!(error.kind(), iothub_mqtt_device::ErrorKind::Disconnected);
    received.respond(DirectMethodResponse::new(200, "found")).unwrap();
    assert_eq!(soon(next).await.unwrap().unwrap().payload, "found");
}

#[tokio::test]
async fn a_module_is_called_beside_its_device() {
    let (hub, _, service, _client, mut of_device) = setup().await;
    let module: ModuleId = "cam".parse().unwrap();
    let string = hub.create_module(&device(), &module).await.unwrap();
    let service = Arc::new(service);
    let nobody = soon(service.invoke_method((&device(), &module), &request("m"))).await.unwrap_err();
    assert_eq!(nobody.kind(), ErrorKind::DeviceNotOnline);
    let camera = soon(ModuleClient::connect(&string)).await.unwrap();
    let mut of_camera = soon(camera.direct_methods()).await.unwrap();
    let answer = tokio::spawn({
        let (service, module) = (Arc::clone(&service), module.clone());
        async move { service.invoke_method((&device(), &module), &request("zoom")).await }
    });
    let zoom = soon(of_camera.next()).await.unwrap();
    assert_eq!(zoom.method().as_str(), "zoom");
    zoom.respond(DirectMethodResponse::new(200, "module")).unwrap();
    assert_eq!(soon(answer).await.unwrap().unwrap().payload, "module");

    let to_device = call(&service, request("m"));
    soon(of_device.next()).await.unwrap().respond(DirectMethodResponse::new(200, "device")).unwrap();
    assert_eq!(soon(to_device).await.unwrap().unwrap().payload, "device");
    let unknown = "none".parse().unwrap();
    let error = soon(service.invoke_method((&device(), &unknown), &request("m"))).await.unwrap_err();
    assert_eq!((error.kind(), error.error_code()), (ErrorKind::NotFound, Some(ErrorCode::ModuleNotFound)));
}
