//! These tests check twins and modules on the wire: that routes, conditions and bodies are those of the service's
//! reference, and which calls are sent again.

use iothub_models::{DeviceId, ErrorCode, Identity, ModuleId, ModuleIdentity};
use iothub_rest_service::{ErrorKind, Precondition, ServiceClient, Twin, TwinPatch, TwinReplacement};
use serde_json::{Map, json};

use crate::script::{Reply, Server, reply};

const TWIN: &str = r#"{"deviceId":"d1","etag":"AAAAAAAAAAI=","version":3,"tags":{"plant":"Redmond43"},
    "properties":{"desired":{"power_level":1,"$version":2},"reported":{"$version":1}}}"#;

fn twin() -> Reply {
    reply(200, &["Content-Type: application/json; charset=utf-8"], TWIN)
}

fn id() -> DeviceId {
    "d1".parse().unwrap()
}

fn module() -> ModuleId {
    "$edgeAgent".parse().unwrap()
}

fn etag() -> Precondition {
    Precondition::IfMatch("AAAAAAAAAAE=".to_owned())
}

#[tokio::test]
async fn a_twin_is_read_by_the_route_of_its_device_or_module() {
    let server = Server::start([twin(), twin(), twin()]).await;
    let twins = server.client().twins();
    let read = twins.get(&id()).await.unwrap();
    assert_eq!((read.etag.as_str(), read.version), ("AAAAAAAAAAI=", 3));
    assert_eq!(read.tags["plant"], "Redmond43");
    assert_eq!(read.properties.desired.properties["power_level"], 1);
    twins.get((&id(), &module())).await.unwrap();
    let mut of_module = read;
    of_module.module_id = Some(module());
    twins.get(Identity::of_twin(&of_module)).await.unwrap();

    let (device, modules) = (server.request().await, [server.request().await, server.request().await]);
    assert_eq!(device.line(), "GET /twins/d1?api-version=2021-04-12 HTTP/1.1");
    assert_eq!(device.header("accept"), Some("application/json"));
    assert_eq!((device.header("if-match"), device.header("content-type")), (None, None));
    for request in modules {
        assert_eq!(request.line(), "GET /twins/d1/modules/%24edgeAgent?api-version=2021-04-12 HTTP/1.1");
    }
}

#[tokio::test]
async fn a_patch_and_a_replacement_carry_their_condition_and_only_what_they_change() {
    let server = Server::start([twin(), twin(), twin(), twin()]).await;
    let twins = server.client().twins();
    let patch = TwinPatch::new()
        .tag("location", json!({"region": "US", "old": null}))
        .desired("power_level", 1)
        .desired("mode", json!(null));
    twins.patch(&id(), &patch, etag()).await.unwrap();
    twins.patch((&id(), &module()), &TwinPatch::new().tag("a", 1), Precondition::Any).await.unwrap();
    twins.replace(&id(), &TwinReplacement::new().desired(Map::new()), etag()).await.unwrap();
    twins.replace((&id(), &module()), &TwinReplacement::new(), Precondition::Any).await.unwrap();

    for (line, condition, body) in [
        (
            "PATCH /twins/d1?api",
            "\"AAAAAAAAAAE=\"",
            r#"{"tags":{"location":{"region":"US","old":null}},"properties":{"desired":{"power_level":1,"mode":null}}}"#,
        ),
        ("PATCH /twins/d1/modules/%24edgeAgent?api", "\"*\"", r#"{"tags":{"a":1},"properties":{}}"#),
        ("PUT /twins/d1?api", "\"AAAAAAAAAAE=\"", r#"{"properties":{"desired":{}}}"#),
        ("PUT /twins/d1/modules/%24edgeAgent?api", "\"*\"", "{}"),
    ] {
        let request = server.request().await;
        assert!(request.line().starts_with(line), "{}", request.line());
        assert_eq!(request.header("if-match"), Some(condition));
        assert_eq!(request.header("content-type"), Some("application/json; charset=utf-8"));
        assert_eq!(request.body, body);
    }
}

async fn write(client: &ServiceClient, which: usize) -> Result<Twin, iothub_rest_service::Error> {
    match which {
        0 => client.twins().patch(&id(), &TwinPatch::new().desired("a", 1), Precondition::Any).await,
        _ => client.twins().replace(&id(), &TwinReplacement::new(), etag()).await,
    }
}

#[tokio::test]
async fn a_twin_that_changed_meanwhile_is_an_error_of_its_own_kind() {
    for which in 0..2 {
        let body = r#"{"Message":"ErrorCode:PreconditionFailed;Precondition failed: etag mismatch","ExceptionMessage":"Tracking ID:01-G:1-TimeStamp:11/21/2026 00:00:00"}"#;
        let server = Server::start([reply(412, &["iothub-errorcode: PreconditionFailed"], body)]).await;
        let error = write(&server.client(), which).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PreconditionFailed);
        assert_eq!(error.error_code(), Some(ErrorCode::PreconditionFailed));
        assert_eq!(error.device_id(), Some(&id()));
        assert!(!error.is_retryable());
        assert!(error.to_string().contains("the twin of device d1: it was changed since"), "{error}");
        assert_eq!(server.further_requests().await, 1);
    }
}

#[tokio::test]
async fn a_write_that_may_have_been_done_is_not_sent_again_and_one_that_was_not_is() {
    for which in 0..2 {
        let lost: [fn() -> Reply; 2] = [|| reply(503, &[], ""), || Reply::SendAndClose(Vec::new())];
        for reply in lost {
            let server = Server::start([reply(), twin()]).await;
            let error = write(&server.client(), which).await.unwrap_err();
            assert!(error.to_string().contains("look before you try again"), "{error}");
            assert_eq!(server.further_requests().await, 1);
        }
        let server =
            Server::start([reply(429, &["iothub-errorcode: ThrottlingException"], ""), twin()]).await;
        write(&server.client(), which).await.unwrap();
        let (first, second) = (server.request().await, server.request().await);
        assert_eq!((first.line(), &first.body), (second.line(), &second.body));
        assert_eq!(first.header("if-match"), second.header("if-match"));
    }
    let server = Server::start([reply(503, &[], ""), Reply::SendAndClose(Vec::new()), twin()]).await;
    server.client().twins().get(&id()).await.unwrap();
    assert_eq!(server.further_requests().await, 3);
}

#[tokio::test]
async fn wrong_arguments_are_refused_before_anything_is_sent() {
    let server = Server::start([]).await;
    let twins = server.client().twins();
    let dots: ModuleId = "..".parse().unwrap();
    for error in [
        twins.patch(&id(), &TwinPatch::new(), Precondition::IfMatch(String::new())).await.unwrap_err(),
        twins.get(&".".parse().unwrap()).await.unwrap_err(),
        twins.get((&id(), &dots)).await.unwrap_err(),
        server.client().modules().list(&"..".parse().unwrap()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    assert_eq!(server.further_requests().await, 0);
}

#[tokio::test]
async fn the_life_of_a_module_on_the_wire() {
    let body = r#"{"deviceId":"d1","moduleId":"cam","etag":"MA==","managedBy":null}"#;
    let module = || reply(200, &[], body);
    let list = reply(200, &[], &format!("[{body}]"));
    // A module that is new may be answered with 201.
    let server = Server::start([
        reply(201, &[], body),
        module(),
        list,
        module(),
        module(),
        reply(204, &[], ""),
        reply(404, &["iothub-errorcode: ModuleNotFound"], ""),
    ])
    .await;
    let modules = server.client().modules();
    let cam: ModuleId = "cam".parse().unwrap();

    let created = modules.create(ModuleIdentity::new(id(), cam.clone())).await.unwrap();
    assert_eq!(modules.get(&id(), &cam).await.unwrap().etag, created.etag);
    assert_eq!(modules.list(&id()).await.unwrap().len(), 1);
    modules.update(&created).await.unwrap();
    modules.update_unconditionally(&created).await.unwrap();
    modules.delete(&id(), &cam, Precondition::IfMatch(created.etag)).await.unwrap();
    let gone = modules.get(&id(), &cam).await.unwrap_err();
    assert_eq!((gone.kind(), gone.error_code()), (ErrorKind::NotFound, Some(ErrorCode::ModuleNotFound)));
    assert_eq!((gone.device_id(), gone.module_id()), (Some(&id()), Some(&cam)));
    assert!(gone.to_string().starts_with("could not get module cam of device d1: "), "{gone}");

    let written = r#"{"deviceId":"d1","moduleId":"cam","authentication":{"type":"sas"}}"#;
    for (line, condition, body) in [
        ("PUT /devices/d1/modules/cam?api", None, written),
        ("GET /devices/d1/modules/cam?api", None, ""),
        ("GET /devices/d1/modules?api", None, ""),
        ("PUT /devices/d1/modules/cam?api", Some("\"MA==\""), written),
        ("PUT /devices/d1/modules/cam?api", Some("\"*\""), written),
        ("DELETE /devices/d1/modules/cam?api", Some("\"MA==\""), ""),
    ] {
        let request = server.request().await;
        assert!(request.line().starts_with(line), "{}", request.line());
        assert_eq!((request.header("if-match"), request.body.as_str()), (condition, body));
    }
}
