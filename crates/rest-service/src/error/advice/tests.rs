//! These tests check what an error says, and what it never says.

use iothub_models::DeviceId;

use super::*;
use crate::call::Method;

fn credential() -> ServiceConnectionString {
    "HostName=h.example;SharedAccessKeyName=registryRead;SharedAccessKey=c2VjcmV0".parse().unwrap()
}

fn call(method: Method) -> Call {
    let id: DeviceId = "d1".parse().unwrap();
    Call::on(method, "devices", (&id).into(), "registryReadWrite and iothubowner", "write").unwrap()
}

fn refused(status: u16, code: Option<&str>, method: Method) -> Error {
    let response = HttpResponse {
        status,
        error_code: code.map(str::to_owned),
        date: Some("Sat, 21 Nov 2026 00:00:00 GMT".to_owned()),
        ..HttpResponse::default()
    };
    Error::refused(&call(method), &response, &credential(), "2026-11-21T00:10:30Z".parse().unwrap())
}

#[test]
fn every_status_has_its_kind_and_the_code_decides_where_the_status_misleads() {
    use ErrorKind::*;
    for (status, code, kind, retryable) in [
        (400, None, InvalidArgument, false),
        (400, Some("ArgumentNull"), InvalidArgument, false),
        (401, None, NotAuthorized, false),
        (401, Some("IotHubNotFound"), NotFound, false),
        (403, None, NotAuthorized, false),
        (403, Some("IotHubQuotaExceeded"), QuotaExceeded, false),
        (403, Some("DeviceMaximumQueueDepthExceeded"), QuotaExceeded, false),
        (404, Some("DeviceNotFound"), NotFound, false),
        (405, None, Protocol, false),
        (408, None, Timeout, true),
        (409, Some("DeviceAlreadyExists"), AlreadyExists, false),
        (409, Some("ModuleAlreadyExistsOnDevice"), AlreadyExists, false),
        (413, Some("TooManyModulesOnDevice"), QuotaExceeded, false),
        (409, None, Conflict, false),
        (412, None, PreconditionFailed, false),
        (413, None, TooLarge, false),
        (429, None, Throttled, true),
        (500, None, ServiceUnavailable, true),
        (502, None, ServiceUnavailable, true),
        (503, None, ServiceUnavailable, true),
        (504, None, ServiceUnavailable, true),
        (302, None, Protocol, false),
        (501, None, Protocol, false),
    ] {
        let error = refused(status, code, Method::Get);
        assert_eq!((error.kind(), error.is_retryable()), (kind, retryable), "{status} {code:?}");
        assert_eq!(error.http_status(), Some(status));
        assert_eq!(error.device_id().map(DeviceId::as_str), Some("d1"));
        assert_eq!(error.not_done(), kind == Throttled, "{status}");
    }
}

#[test]
fn a_refused_policy_names_the_policies_that_would_do_and_the_clock() {
    let text = refused(401, Some("IotHubUnauthorizedAccess"), Method::Put).to_string();
    for part in [
        "could not write device d1",
        "h.example",
        "policy registryRead.",
        "registryReadWrite",
        "10 min ahead",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let other = refused(404, Some("DeviceNotFound"), Method::Get).to_string();
    assert!(!other.contains("clock"), "{other}");
}

#[test]
fn where_the_code_says_more_than_the_kind_so_does_the_advice() {
    for (status, code, part) in [
        (404, "ModuleNotFound", "has no module"),
        (409, "ModuleAlreadyExistsOnDevice", "has a module with this id already"),
        (413, "TooManyModulesOnDevice", "as many modules as it may"),
        (401, "SystemModuleModifyUnauthorizedAccess", "belong to IoT Edge"),
        (403, "OperationNotAvailableInCurrentTier", "choose a standard tier"),
    ] {
        let text = refused(status, Some(code), Method::Put).to_string();
        assert!(text.contains(part) && !text.contains("SharedAccessKey"), "{text}");
    }
}

#[test]
fn a_call_that_may_have_been_done_says_so() {
    for (method, in_doubt) in
        [(Method::Get, false), (Method::Put, true), (Method::Patch, true), (Method::Delete, true)]
    {
        let texts = [
            refused(500, None, method).to_string(),
            Error::timed_out(&call(method), Duration::from_secs(30), &credential(), None).to_string(),
        ];
        for text in texts {
            assert_eq!(text.contains("look before you try again"), in_doubt, "{text}");
        }
    }
    assert!(!refused(429, None, Method::Put).to_string().contains("look before"));
}

#[test]
fn display_and_source_say_different_things() {
    let error = refused(404, Some("DeviceNotFound"), Method::Get);
    assert_eq!(
        error.to_string(),
        "could not write device d1: h.example has no device with this id; ids are case-sensitive"
    );
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "the hub answered 404 DeviceNotFound");
}

#[test]
fn a_disabled_device_is_called_disabled() {
    let at = "2026-11-21T00:00:00Z".parse().unwrap();
    let said = |status, code: &str, text: &str| {
        let body = format!(r#"{{"Message":"ErrorCode:{code};{text}","ExceptionMessage":"Tracking ID:1"}}"#);
        let response = HttpResponse { status, body: body.into_bytes(), ..HttpResponse::default() };
        Error::refused(&call(Method::Post), &response, &credential(), at).to_string()
    };
    for (status, code, text) in [
        (404, "DeviceNotFound", "d1 is disabled"),
        (401, "IotHubUnauthorizedAccess", "d1 is disabled"),
        (403, "DeviceDisabled", "no"),
    ] {
        let said = said(status, code, text);
        assert!(said.contains(": the device is disabled: set its status to enabled"), "{said}");
    }
    assert!(said(404, "DeviceNotFound", "is-disabled").contains("has no device with this id"));
}

#[test]
fn a_hub_on_this_machine_is_not_behind_a_firewall_and_may_have_been_started_anew() {
    let local =
        "HostName=localhost;SharedAccessKeyName=registryRead;SharedAccessKey=c2VjcmV0".parse().unwrap();
    let here = Error::timed_out(&call(Method::Get), Duration::from_secs(30), &local, None).to_string();
    assert!(here.contains("within 30s. Is the hub running?") && !here.contains("firewall"), "{here}");
    let there = Error::timed_out(&call(Method::Get), Duration::from_secs(30), &credential(), None);
    assert!(there.to_string().contains("firewall"), "{there}");

    let response = HttpResponse {
        status: 404,
        error_code: Some("DeviceNotFound".to_owned()),
        ..HttpResponse::default()
    };
    let at = "2026-11-21T00:00:00Z".parse().unwrap();
    let unknown = Error::refused(&call(Method::Get), &response, &local, at).to_string();
    let advice =
        "A hub that was started anew may not know this device: `iothub device create d1` registers it";
    assert!(unknown.ends_with(advice), "{unknown}");
}

#[test]
fn an_answer_that_is_no_json_is_called_what_it_is() {
    for (body, expected) in [
        ("", "the answer is empty"),
        ("\u{feff}{}", "the answer begins with a byte order mark"),
        ("<html>", "the answer is not JSON: line 1, column 1"),
        ("[]", "the answer is JSON of another shape"),
    ] {
        let response =
            HttpResponse { status: 200, body: body.as_bytes().to_vec(), ..HttpResponse::default() };
        let error = response.read::<std::collections::BTreeMap<String, u8>>(&call(Method::Get)).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.starts_with(expected), "{cause}");
        assert!(error.to_string().contains("the hub's answer is not one to this call"), "{error}");
    }
}

#[test]
fn skew_is_told_in_both_directions_and_only_when_it_matters() {
    let now: Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
    let at = |seconds: i64| skew(now, now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap());
    assert_eq!(at(0), None);
    assert_eq!(at(239), None);
    assert!(at(600).unwrap().contains("10 min behind the hub's"));
    assert!(at(-600).unwrap().contains("10 min ahead of the hub's"));
}
