//! These functions read a call of a direct method as back ends write it: JSON in, [`MethodCall`] out. The
//! payload is passed on as it was written, in its own spelling of numbers and text.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use iothub_models::{ErrorCode, NotJson};
use serde_json::value::RawValue;

use super::json_object::{Parsed, whole_number, wrong_type};
use super::passed_over::{PassedOver, Read};
use crate::core::methods::MethodCall;
use crate::core::refusal::HubError;

/// The seconds that an answer may take. Source: *Understand and invoke direct methods from IoT Hub*, and the
/// service's own refusals.
const RESPONSE_TIMEOUT: RangeInclusive<u64> = 5..=300;
/// The seconds that the device may take to connect.
const CONNECT_TIMEOUT: RangeInclusive<u64> = 0..=300;

const MEMBERS: &[&str] =
    &["methodName", "payload", "responseTimeoutInSeconds", "connectTimeoutInSeconds", "timeoutInSeconds"];

/// Reads the body of a `POST …/methods`. Names are matched without regard to case, and `null` is as good as
/// absent, except for the payload. Old clients say `timeoutInSeconds`.
pub(super) fn parse(body: &[u8]) -> Parsed<Read<MethodCall>> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_slice(body).map_err(|error| {
        let text = match NotJson::of(body, &error) {
            NotJson::Shape => "the body is not a JSON object".to_owned(),
            defect => format!("the body {defect}"),
        };
        HubError::new(ErrorCode::IotHubFormatError, text)
    })?;
    let member = |name: &str| {
        let other = || members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        members.get_key_value(name).or_else(other).map(|(_, value)| value.get())
    };
    let field = |name: &str| member(name).filter(|text| *text != "null");
    let name =
        field("methodName").ok_or_else(|| HubError::new(ErrorCode::ArgumentNull, "methodName is missing"))?;
    let name: String = serde_json::from_str(name).map_err(|_| wrong_type("methodName", "text"))?;
    let payload = member("payload").map_or_else(Bytes::new, |payload| payload.to_owned().into());
    let mut call = call(&name, payload)?;
    if let Some(text) = field("responseTimeoutInSeconds").or_else(|| field("timeoutInSeconds")) {
        call.response_timeout = response_timeout(text)?;
    }
    if let Some(text) = field("connectTimeoutInSeconds") {
        call.connect_timeout = connect_timeout(text)?;
    }
    let mut passed_over = PassedOver::default();
    for (name, _) in members.iter().filter(|(_, value)| value.get() != "null") {
        passed_over.note_name(name, "", MEMBERS, &[]);
    }
    Ok(Read { value: call, passed_over })
}

/// Returns a call with the service's default timeouts.
pub(super) fn call(name: &str, payload: Bytes) -> Parsed<MethodCall> {
    let name = name
        .parse()
        .map_err(|error| HubError::new(ErrorCode::ArgumentInvalid, format!("methodName: {error}")))?;
    Ok(MethodCall::new(name, payload))
}

/// Reads the time that an answer may take, from the JSON of a body or from the value in a query.
pub(super) fn response_timeout(json: &str) -> Parsed<Duration> {
    seconds("responseTimeoutInSeconds", json, &RESPONSE_TIMEOUT)
}

/// Reads the time that the device may take to connect, as [`response_timeout`] does.
pub(super) fn connect_timeout(json: &str) -> Parsed<Duration> {
    seconds("connectTimeoutInSeconds", json, &CONNECT_TIMEOUT)
}

fn seconds(name: &str, json: &str, range: &RangeInclusive<u64>) -> Parsed<Duration> {
    let number = whole_number(name, json)?;
    match u64::try_from(number) {
        Ok(number) if range.contains(&number) => Ok(Duration::from_secs(number)),
        _ => {
            let text = format!("{name} must be within [{}; {}].", range.start(), range.end());
            Err(HubError::new(ErrorCode::ArgumentInvalid, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_every_client() {
        let seconds = Duration::from_secs;
        for (body, payload, response, connect) in [
            (r#"{"methodName":"m"}"#, "", 30, 0),
            (r#"{"methodName":"m","payload":null}"#, "null", 30, 0),
            (r#"{"methodName":"m","payload":""}"#, r#""""#, 30, 0),
            (r#"{"methodName":"m","payload":1.50}"#, "1.50", 30, 0),
            (
                r#"{"methodName":"m","payload": {"b": [1e2, "\u00e9"], "a":null} }"#,
                r#"{"b": [1e2, "\u00e9"], "a":null}"#,
                30,
                0,
            ),
            (r#"{"MethodName":"m","ResponseTimeoutInSeconds":5,"connecttimeoutinseconds":300}"#, "", 5, 300),
            (r#"{"methodName":"m","timeoutInSeconds":7,"unknown":[]}"#, "", 7, 0),
            // The Azure CLI sends text.
            (
                r#"{"methodName":"m","responseTimeoutInSeconds":"60","connectTimeoutInSeconds":"5"}"#,
                "",
                60,
                5,
            ),
            (r#"{"methodName":"m","timeoutInSeconds":" 7 ","payload":"30"}"#, r#""30""#, 7, 0),
            (r#"{"methodName":"m","timeoutInSeconds":7,"responseTimeoutInSeconds":300}"#, "", 300, 0),
            (
                r#"{"methodName":"m","responseTimeoutInSeconds":null,"connectTimeoutInSeconds":null}"#,
                "",
                30,
                0,
            ),
        ] {
            let Read { value: call, passed_over } = parse(body.as_bytes()).unwrap();
            let unknown = if body.contains("unknown") { "unknown" } else { "" };
            assert_eq!(passed_over.names(), [unknown, ""]);
            assert_eq!(call.payload, payload, "{body}");
            assert_eq!((call.response_timeout, call.connect_timeout), (seconds(response), seconds(connect)));
        }
    }

    #[test]
    fn each_defect_has_its_code() {
        use ErrorCode::{ArgumentInvalid, ArgumentNull, IotHubFormatError};
        let deep = format!(r#"{{"methodName":"m","payload":{}"#, "[".repeat(100_000));
        for (body, code) in [
            ("", IotHubFormatError),
            ("[]", IotHubFormatError),
            ("{", IotHubFormatError),
            (deep.as_str(), IotHubFormatError),
            ("{}", ArgumentNull),
            (r#"{"methodName":null}"#, ArgumentNull),
            (r#"{"methodName":7}"#, IotHubFormatError),
            (r#"{"methodName":""}"#, ArgumentInvalid),
            (r#"{"methodName":"a b"}"#, ArgumentInvalid),
            (r#"{"methodName":"m","responseTimeoutInSeconds":4}"#, ArgumentInvalid),
            (r#"{"methodName":"m","responseTimeoutInSeconds":301}"#, ArgumentInvalid),
            (r#"{"methodName":"m","responseTimeoutInSeconds":-5}"#, ArgumentInvalid),
            (r#"{"methodName":"m","connectTimeoutInSeconds":301}"#, ArgumentInvalid),
            (r#"{"methodName":"m","connectTimeoutInSeconds":99999999999999999999}"#, ArgumentInvalid),
            (r#"{"methodName":"m","responseTimeoutInSeconds":5.5}"#, IotHubFormatError),
            (r#"{"methodName":"m","responseTimeoutInSeconds":"5s"}"#, IotHubFormatError),
            (r#"{"methodName":"m","responseTimeoutInSeconds":""}"#, IotHubFormatError),
            (r#"{"methodName":"m","responseTimeoutInSeconds":true}"#, IotHubFormatError),
            (r#"{"methodName":"m","responseTimeoutInSeconds":"301"}"#, ArgumentInvalid),
            (r#"{"methodName":"m","connectTimeoutInSeconds":"-1"}"#, ArgumentInvalid),
        ] {
            assert_eq!(parse(body.as_bytes()).unwrap_err().code, code, "{body:.60}");
        }
    }

    #[test]
    fn a_body_that_is_no_object_is_called_what_it_is() {
        for (body, expected) in [
            ("", "the body is empty"),
            ("\u{feff}{}", "the body begins with a byte order mark"),
            ("[]", "the body is not a JSON object"),
            ("{", "the body is not JSON: line 1, column 1"),
        ] {
            let text = parse(body.as_bytes()).unwrap_err().text;
            assert!(text.starts_with(expected), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _judged = parse(&bytes);
        }
    }
}
