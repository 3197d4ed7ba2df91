//! Refusals as hubs word them, and as nobody should.

use proptest::prelude::*;

use super::*;

fn response(status: u16, header: Option<&str>, body: &str) -> HttpResponse {
    HttpResponse {
        status,
        error_code: header.map(str::to_owned),
        body: body.as_bytes().to_vec(),
        ..HttpResponse::default()
    }
}

/// Bodies as real hubs sent them; ids and times are made up.
#[test]
fn both_flavors_of_refusals_are_understood() {
    const NONE: Option<&str> = None;
    let cases = [
        // Classic, with the tracking id beside the message.
        (
            404,
            NONE,
            r#"{"Message":"ErrorCode:DeviceNotFound;d1","ExceptionMessage":"Tracking ID:0123456789abcdef0123456789abcdef-G:11-TimeStamp:11/21/2026 02:30:00"}"#,
            Some(ErrorCode::DeviceNotFound),
            Some("0123456789abcdef0123456789abcdef-G:11-TimeStamp:11/21/2026 02:30:00"),
            "the hub answered 404 DeviceNotFound: d1 (tracking id 0123456789abcdef0123456789abcdef-G:11-TimeStamp:11/21/2026 02:30:00)",
        ),
        (
            409,
            Some("DeviceAlreadyExists"),
            r#"{"Message":"ErrorCode:DeviceAlreadyExists;A device with ID 'd1' is already registered.","ExceptionMessage":""}"#,
            Some(ErrorCode::DeviceAlreadyExists),
            NONE,
            "the hub answered 409 DeviceAlreadyExists: A device with ID 'd1' is already registered.",
        ),
        (
            401,
            NONE,
            r#"{"Message":"ErrorCode:IotHubUnauthorizedAccess;Unauthorized","ExceptionMessage":""}"#,
            Some(ErrorCode::IotHubUnauthorizedAccess),
            NONE,
            "the hub answered 401 IotHubUnauthorizedAccess: Unauthorized",
        ),
        // A code this version does not know is shown all the same.
        (
            429,
            NONE,
            r#"{"Message":"ErrorCode:ThrottlingBacklogTimeout;The request has been throttled. Wait 10 seconds and try again. Operation type: CRUD"}"#,
            None,
            NONE,
            "the hub answered 429 ThrottlingBacklogTimeout: The request has been throttled. Wait 10 seconds and try again. Operation type: CRUD",
        ),
        // JSON in a string, with and without `info`.
        (
            404,
            Some("DeviceNotOnline"),
            r#"{"Message":"{\"errorCode\":404103,\"trackingId\":\"0123456789abcdef0123456789abcdef-G:11-TimeStamp:11/21/2026 02:30:00\",\"message\":\"The operation failed because the requested device isn't online.\",\"info\":{\"timeout\":\"00:00:00\"},\"timestampUtc\":\"2026-11-21T02:30:00.6536567Z\"}","ExceptionMessage":""}"#,
            Some(ErrorCode::DeviceNotOnline),
            Some("0123456789abcdef0123456789abcdef-G:11-TimeStamp:11/21/2026 02:30:00"),
            "the hub answered 404 DeviceNotOnline: The operation failed because the requested device isn't online. (tracking id 0123456789abcdef0123456789abcdef-G:11-TimeStamp:11/21/2026 02:30:00)",
        ),
        (
            400,
            NONE,
            r#"{"Message":"{\"errorCode\":\"400004\",\"message\":\"no\",\"info\":null}"}"#,
            Some(ErrorCode::ArgumentInvalid),
            NONE,
            "the hub answered 400 ArgumentInvalid: no",
        ),
        (
            400,
            NONE,
            r#"{"Message":"{\"errorCode\":400999,\"message\":\"new\"}"}"#,
            None,
            NONE,
            "the hub answered 400 400999: new",
        ),
        // Bare, as other protocols carry it.
        (
            404,
            NONE,
            r#"{"errorCode":404001,"message":"d1"}"#,
            Some(ErrorCode::DeviceNotFound),
            NONE,
            "the hub answered 404 DeviceNotFound: d1",
        ),
        // The header alone, and nothing that a hub would say.
        (
            400,
            Some("InvalidProtocolVersion"),
            "",
            Some(ErrorCode::InvalidProtocolVersion),
            NONE,
            "the hub answered 400 InvalidProtocolVersion",
        ),
        (502, NONE, "<html>Bad gateway</html>", None, NONE, "the hub answered 502"),
        (500, Some("no name <b>"), "[1]", None, NONE, "the hub answered 500"),
        (500, NONE, r#"{"Message":{"a":1},"ExceptionMessage":7}"#, None, NONE, "the hub answered 500"),
        (500, NONE, r#"{"Message":"plain text"}"#, None, NONE, "the hub answered 500: plain text"),
    ];
    for (status, header, body, code, tracking_id, display) in cases {
        let refusal = response(status, header, body).refusal();
        assert_eq!(refusal.code, code, "{body}");
        assert_eq!(refusal.tracking_id.as_deref(), tracking_id, "{body}");
        assert_eq!(refusal.to_string(), display, "{body}");
    }
}

#[test]
fn retry_after_is_seconds_or_a_date_by_the_hub_s_own_clock() {
    let now: Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
    let after = |text: &str, date: Option<&str>| {
        let mut response = response(429, None, "");
        response.retry_after = Some(text.to_owned());
        response.date = date.map(str::to_owned);
        response.retry_after(now)
    };
    let seconds = |s| Some(Duration::from_secs(s));
    assert_eq!(after("10", None), seconds(10));
    assert_eq!(after("Sat, 21 Nov 2026 00:00:30 GMT", None), seconds(30));
    let date = Some("Sat, 21 Nov 2026 00:00:10 GMT");
    assert_eq!(after("Sat, 21 Nov 2026 00:00:30 GMT", date), seconds(20));
    assert_eq!(after("Sat, 21 Nov 2026 00:00:00 GMT", date), seconds(0));
    assert_eq!(after("soon", None), None);
    assert_eq!(after("-3", None), None);
}

proptest! {
    #[test]
    fn no_body_is_too_strange(status in 100_u16..600, header in proptest::option::of(".{0,80}"), body in ".{0,400}") {
        let refusal = response(status, header.as_deref(), &body).refusal();
        prop_assert!(!refusal.to_string().contains(char::is_control));
    }

    #[test]
    fn no_message_is_too_strange(message in ".{0,400}", number in any::<i64>()) {
        let inner = serde_json::json!({ "errorCode": number, "message": message, "trackingId": message });
        for message in [message, inner.to_string()] {
            let outer = serde_json::json!({ "Message": message, "ExceptionMessage": message }).to_string();
            let shown = response(400, None, &outer).refusal().to_string();
            prop_assert!(shown.chars().count() < 800, "{shown}");
            prop_assert!(!shown.contains(char::is_control));
        }
    }
}
