//! This file reads and writes a message as HTTP headers: `iothub-…` for system properties, `iothub-app-…` for the
//! application's. The routes of telemetry and of cloud-to-device messages call it.
//!
//! Header names have no case, so names of properties arrive in lower case; one client looks for them in
//! that case only. A name that no header can have is percent-encoded on its way out.
//! Source: the service's REST reference, and the headers that official clients send and read.

use axum::body::Bytes;
use axum::http::header::{CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use iothub_models::{C2dMessage, DeviceId, ErrorCode};
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::error::ApiError;
use crate::core::c2d::LeasedC2d;

/// The prefix of the name of an application property.
pub(super) const APPLICATION: &str = "iothub-app-";

/// Reads the cloud-to-device message of a request, which has this body.
pub(super) fn read_c2d(headers: &HeaderMap, body: Bytes) -> Result<C2dMessage, ApiError> {
    let invalid = |text: String| ApiError::new(ErrorCode::ArgumentInvalid, text);
    let mut message = C2dMessage::from_bytes(body);
    // Of the two encodings the one that is about the message counts.
    message.content_encoding =
        headers.get(CONTENT_ENCODING).map(|value| text("content-encoding", value)).transpose()?;
    for (name, value) in headers {
        let name = name.as_str();
        let read = || text(name, value);
        match name {
            "iothub-messageid" => message.message_id = Some(read()?),
            "iothub-correlationid" => message.correlation_id = Some(read()?),
            "iothub-userid" => message.user_id = Some(read()?),
            "iothub-contenttype" => message.content_type = Some(read()?),
            "iothub-contentencoding" => message.content_encoding = Some(read()?),
            // Over AMQP the wish for feedback stands among the application properties, so some clients put it there.
            "iothub-ack" | "iothub-app-iothub-ack" => {
                let ack = read()?.parse().map_err(|error| invalid(format!("{name}: {error}")))?;
                message.ack = Some(ack);
            }
            "iothub-expiry" => {
                let time =
                    read()?.parse().map_err(|_| invalid("iothub-expiry is no RFC 3339 time".to_owned()))?;
                message.expiry_time = Some(time);
            }
            _ => {
                if let Some(name) = name.strip_prefix(APPLICATION) {
                    message.properties.insert(name, read()?);
                }
            }
        }
    }
    Ok(message)
}

/// Returns a header's value; a value that is no text is refused with the header's name.
pub(super) fn text(name: &str, value: &HeaderValue) -> Result<String, ApiError> {
    std::str::from_utf8(value.as_bytes()).map(str::to_owned).map_err(|_| {
        ApiError::new(ErrorCode::ArgumentInvalid, format!("the header {name} is not UTF-8 text"))
    })
}

/// Returns the headers under which a device receives a message.
pub(super) fn write_c2d(device: &DeviceId, leased: &LeasedC2d) -> HeaderMap {
    let message = &leased.message;
    let mut headers = HeaderMap::new();
    let mut put = |name: &'static str, value: &str| {
        headers.append(HeaderName::from_static(name), header_value(value));
    };
    put("etag", &format!("\"{}\"", leased.lock));
    put("iothub-to", &format!("/devices/{device}/messages/devicebound"));
    put("iothub-sequencenumber", &leased.sequence_number.to_string());
    put("iothub-enqueuedtime", &round_trip(leased.enqueued_time));
    put("iothub-deliverycount", &leased.delivery_count.to_string());
    for (name, value) in [
        ("iothub-messageid", &message.message_id),
        ("iothub-correlationid", &message.correlation_id),
        ("iothub-userid", &message.user_id),
        ("iothub-contenttype", &message.content_type),
        ("iothub-contentencoding", &message.content_encoding),
        // Microsoft's own live tests of receiving over HTTPS read these two.
        ("contenttype", &message.content_type),
        ("contentencoding", &message.content_encoding),
    ] {
        if let Some(value) = value {
            put(name, value);
        }
    }
    if let Some(time) = message.expiry_time {
        put("iothub-expiry", &round_trip(time));
    }
    if let Some(ack) = message.ack {
        put("iothub-ack", ack.as_str());
    }
    for (name, value) in message.properties.iter() {
        headers.append(property_name(name), header_value(value));
    }
    headers
}

fn property_name(name: &str) -> HeaderName {
    let header = |name: &str| format!("{APPLICATION}{name}").parse::<HeaderName>();
    let encoded = || header(&utf8_percent_encode(name, NON_ALPHANUMERIC).to_string());
    // What is encoded is letters, digits and `%`, which a header's name may have.
    header(name).or_else(|_| encoded()).unwrap_or(HeaderName::from_static("iothub-app-"))
}

/// Returns the text as the value of a header. A text with control characters, which no header can carry, is
/// percent-encoded.
fn header_value(value: &str) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes())
        .or_else(|_| HeaderValue::from_str(&utf8_percent_encode(value, NON_ALPHANUMERIC).to_string()))
        .unwrap_or(HeaderValue::from_static(""))
}

/// .NET's round-trip format, always with seven digits, as clients of the service are used to.
fn round_trip(time: Timestamp) -> String {
    format!("{}.{:07}Z", time.strftime("%Y-%m-%dT%H:%M:%S"), time.subsec_nanosecond() / 100)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::core::lease::LockTokens;

    fn message() -> C2dMessage {
        C2dMessage {
            message_id: Some("m 1".to_owned()),
            correlation_id: Some("c1".to_owned()),
            user_id: Some("u\u{e9}".to_owned()),
            content_type: Some("application/json".to_owned()),
            content_encoding: Some("utf-8".to_owned()),
            expiry_time: Some("2026-11-21T02:30:00.1234567Z".parse().unwrap()),
            ack: Some(iothub_models::Acknowledgement::Full),
            properties: [("color", "red"), ("empty", "")].into_iter().collect(),
            ..C2dMessage::new("hello")
        }
    }

    fn written(message: C2dMessage) -> HeaderMap {
        let leased = LeasedC2d {
            message: Arc::new(message),
            lock: LockTokens::new(1).next(),
            sequence_number: 5,
            enqueued_time: "2026-11-21T02:00:00Z".parse().unwrap(),
            delivery_count: 3,
        };
        write_c2d(&"d1".parse().unwrap(), &leased)
    }

    #[test]
    fn every_field_has_its_header_and_is_read_back() {
        let headers = written(message());
        for (name, value) in [
            ("etag", "\"00000000-0000-0001-0000-000000000001\""),
            ("iothub-to", "/devices/d1/messages/devicebound"),
            ("iothub-sequencenumber", "5"),
            ("iothub-enqueuedtime", "2026-11-21T02:00:00.0000000Z"),
            ("iothub-deliverycount", "3"),
            ("iothub-messageid", "m 1"),
            ("iothub-userid", "u\u{e9}"),
            ("iothub-expiry", "2026-11-21T02:30:00.1234567Z"),
            ("iothub-ack", "full"),
            ("iothub-contenttype", "application/json"),
            ("iothub-contentencoding", "utf-8"),
            ("ContentType", "application/json"),
            ("ContentEncoding", "utf-8"),
            ("iothub-app-color", "red"),
        ] {
            assert_eq!(headers[name].as_bytes(), value.as_bytes(), "{name}");
        }
        assert_eq!(read_c2d(&headers, Bytes::from_static(b"hello")).unwrap(), message());
    }

    #[test]
    fn the_wish_for_feedback_may_stand_among_the_application_properties() {
        let headers = [(HeaderName::from_static("iothub-app-iothub-ack"), "full".parse().unwrap())];
        let read = read_c2d(&headers.into_iter().collect(), Bytes::new()).unwrap();
        assert_eq!((read.ack, read.properties.len()), (Some(iothub_models::Acknowledgement::Full), 0));
    }

    #[test]
    fn what_no_header_can_carry_is_encoded() {
        let odd = C2dMessage {
            message_id: Some("a\nb".to_owned()),
            properties: [("a b", "1"), ("A(", "2")].into_iter().collect(),
            ..C2dMessage::default()
        };
        let headers = written(odd);
        assert_eq!(headers["iothub-messageid"], "a%0Ab");
        assert_eq!(
            (&headers["iothub-app-a%20b"], &headers["iothub-app-a%28"]),
            (&"1".parse().unwrap(), &"2".parse().unwrap())
        );
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_header() {
        for (name, value) in
            [("iothub-ack", "maybe"), ("iothub-app-iothub-ack", "maybe"), ("iothub-expiry", "tomorrow")]
        {
            let headers = [(HeaderName::from_static(name), value.parse().unwrap())].into_iter().collect();
            let refused = read_c2d(&headers, Bytes::new()).unwrap_err();
            assert_eq!(refused.code(), ErrorCode::ArgumentInvalid);
            assert!(format!("{refused:?}").contains(name));
        }
    }
}
