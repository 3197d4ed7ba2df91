//! Digital twins and the queue of messages on the wire.

use iothub_models::{DeviceId, ErrorCode};
use iothub_rest_service::{DigitalTwinPatch, ErrorKind, Precondition};

use crate::script::{Reply, Server, reply};

/// As *Understand IoT Plug and Play digital twins* shows one.
const TWIN: &str = r#"{"$dtId":"d1","serialNumber":"SN-1","thermostat1":{"maxTempSinceLastReboot":25.3,
    "targetTemperature":20.4,"$metadata":{"targetTemperature":{"desiredValue":20.4,"desiredVersion":4,
    "ackVersion":4,"ackCode":200,"ackDescription":"done","lastUpdateTime":"2026-07-17T06:11:04.9309159Z"}}},
    "$metadata":{"$model":"dtmi:com:example:TemperatureController;1","serialNumber":{"lastUpdateTime":"2026-07-17T06:10:31.9609233Z"}}}"#;

fn id() -> DeviceId {
    "d#1".parse().unwrap()
}

#[tokio::test]
async fn a_digital_twin_is_read_with_its_etag() {
    let server = Server::start([
        reply(200, &["ETag: \"AAAAAAAAAAM=\""], TWIN),
        reply(200, &["Content-Type: application/ld+json"], TWIN),
        reply(503, &[], ""),
        reply(200, &[], TWIN),
    ])
    .await;
    let twins = server.client().digital_twins();
    let (twin, etag) = twins.get(&id()).await.unwrap();
    assert_eq!(etag, "\"AAAAAAAAAAM=\"");
    assert_eq!((twin.id(), twin.model_id()), ("d1", "dtmi:com:example:TemperatureController;1"));
    assert_eq!(twin.get("thermostat1").unwrap()["targetTemperature"], 20.4);
    assert_eq!(twins.get(&id()).await.unwrap().1, "");
    assert_eq!(server.request().await.line(), "GET /digitaltwins/d%231?api-version=2021-04-12 HTTP/1.1");
    server.request().await;
    twins.get(&id()).await.unwrap();
    assert_eq!(server.further_requests().await, 2, "reading is repeated");
}

#[tokio::test]
async fn an_update_carries_its_patch_and_its_condition() {
    let done = || reply(202, &["ETag: \"BA==\"", "Location: https://localhost/digitaltwins/d%231"], "");
    let server = Server::start([done(), done()]).await;
    let twins = server.client().digital_twins();
    let patch = DigitalTwinPatch::new().add("/thermostat1/targetTemperature", 42).remove("/interval");
    let etag = twins.update(&id(), &patch, Precondition::IfMatch("\"AA==\"".to_owned())).await.unwrap();
    assert_eq!(etag, "\"BA==\"");
    twins.update(&id(), &patch, Precondition::Any).await.unwrap();
    for condition in [Some("\"AA==\""), None] {
        let request = server.request().await;
        assert_eq!(request.line(), "PATCH /digitaltwins/d%231?api-version=2021-04-12 HTTP/1.1");
        assert_eq!(request.header("if-match"), condition);
        assert_eq!(
            request.body,
            r#"[{"op":"add","path":"/thermostat1/targetTemperature","value":42},{"op":"remove","path":"/interval"}]"#
        );
    }
}

#[tokio::test]
async fn a_refused_update_says_why_and_is_not_sent_again() {
    let refusal = |status, name: &str| {
        let body =
            format!(r#"{{"Message":"ErrorCode:{name};the hub's words","ExceptionMessage":"Tracking ID:7"}}"#);
        reply(status, &[&format!("iothub-errorcode: {name}")], &body)
    };
    for (make, kind, code) in [
        (refusal(400, "ArgumentInvalid"), ErrorKind::InvalidArgument, Some(ErrorCode::ArgumentInvalid)),
        (
            refusal(400, "InvalidDigitalTwinPatchPath"),
            ErrorKind::InvalidArgument,
            Some(ErrorCode::InvalidDigitalTwinPatchPath),
        ),
        (refusal(404, "DeviceNotFound"), ErrorKind::NotFound, Some(ErrorCode::DeviceNotFound)),
        (
            refusal(412, "PreconditionFailed"),
            ErrorKind::PreconditionFailed,
            Some(ErrorCode::PreconditionFailed),
        ),
        (reply(503, &[], ""), ErrorKind::ServiceUnavailable, None),
        (Reply::SendAndClose(Vec::new()), ErrorKind::Network, None),
    ] {
        let server = Server::start([make, reply(202, &[], "")]).await;
        let patch = DigitalTwinPatch::new().add("/targetTemperature", 42);
        let error =
            server.client().digital_twins().update(&id(), &patch, Precondition::Any).await.unwrap_err();
        assert_eq!((error.kind(), error.error_code()), (kind, code), "{error:?}");
        assert_eq!(server.further_requests().await, 1);
    }
    let server = Server::start([]).await;
    let unusable = Precondition::IfMatch(String::new());
    let twins = server.client().digital_twins();
    let error = twins.update(&id(), &DigitalTwinPatch::new(), unusable).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn a_queue_is_purged_and_what_was_in_it_is_counted() {
    let server = Server::start([
        reply(200, &[], r#"{"totalMessagesPurged":3,"deviceId":"d#1","moduleId":null}"#),
        reply(404, &["iothub-errorcode: DeviceNotFound"], ""),
        reply(200, &[], "{}"),
        reply(503, &[], ""),
    ])
    .await;
    let devices = server.client().devices();
    assert_eq!(devices.purge_c2d_messages(&id()).await.unwrap(), 3);
    for kind in [ErrorKind::NotFound, ErrorKind::Protocol, ErrorKind::ServiceUnavailable] {
        assert_eq!(devices.purge_c2d_messages(&id()).await.unwrap_err().kind(), kind);
    }
    assert_eq!(
        server.request().await.line(),
        "DELETE /devices/d%231/commands?api-version=2021-04-12 HTTP/1.1"
    );
    assert_eq!(server.further_requests().await, 3);
}
