//! This file defines a call of a direct method, which a back end makes, and the answer, which the device gives. The
//! crate that carries them decides how they travel (routes, topics, JSON members).
//!
//! Source: *Understand and invoke direct methods from IoT Hub*.

mod name;
mod payload;

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value;

pub use self::name::{InvalidMethodName, MethodName};
pub use self::payload::MethodPayload;

/// A call of a direct method: a name, a JSON payload, and how long to wait.
///
/// ```
/// use std::time::Duration;
///
/// # use iothub_models::DirectMethodRequest;
/// use serde_json::json;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let reboot = DirectMethodRequest::new("reboot".parse()?)
///     .with_payload(json!({"delay": 3}))
///     .with_connect_timeout(Duration::from_secs(10))?;
/// assert_eq!(reboot.response_timeout(), Duration::from_secs(30));
/// assert!(reboot.with_response_timeout(Duration::from_secs(4)).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct DirectMethodRequest {
    name: MethodName,
    payload: MethodPayload,
    response_timeout: Duration,
    connect_timeout: Duration,
}

/// A timeout of a direct method is outside what the service accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMethodTimeout {
    /// The response timeout.
    #[error("the response timeout of a direct method is 5 to 300 whole seconds, not {0:?}")]
    Response(Duration),
    /// The connect timeout.
    #[error("the connect timeout of a direct method is 0 to 300 whole seconds, not {0:?}")]
    Connect(Duration),
}

impl DirectMethodRequest {
    /// Largest payload, as JSON, of a call and of its answer: 128 KB.
    pub const MAX_PAYLOAD: usize = 128 * 1024;

    /// A call without a payload (`null`) that waits 30 s for the answer, and not at all for a device
    /// that is not connected.
    #[must_use]
    pub const fn new(name: MethodName) -> Self {
        Self {
            name,
            payload: MethodPayload::NULL,
            response_timeout: Duration::from_secs(30),
            connect_timeout: Duration::ZERO,
        }
    }

    /// The same with a payload: any JSON, at most [`MAX_PAYLOAD`](Self::MAX_PAYLOAD) bytes of it.
    #[must_use]
    pub fn with_payload(self, payload: impl Into<Value>) -> Self {
        Self { payload: MethodPayload::from(payload.into()), ..self }
    }

    /// The same with a payload that is JSON text, at most [`MAX_PAYLOAD`](Self::MAX_PAYLOAD) bytes of it.
    /// Whole numbers beyond 64 bits, which a [`Value`] cannot hold, reach the device as they are written.
    ///
    /// # Errors
    /// The text is not JSON, is nested more than 127 levels deep, or has a number beyond the range of a
    /// 64-bit floating-point number.
    pub fn with_payload_json(self, json: &str) -> Result<Self, serde_json::Error> {
        Ok(Self { payload: MethodPayload::parse(json)?, ..self })
    }

    /// The same with another time for the device to answer: 5 to 300 s (default 30 s).
    ///
    /// # Errors
    /// [`InvalidMethodTimeout::Response`].
    pub fn with_response_timeout(self, timeout: Duration) -> Result<Self, InvalidMethodTimeout> {
        if timeout.subsec_nanos() > 0 || !(5..=300).contains(&timeout.as_secs()) {
            return Err(InvalidMethodTimeout::Response(timeout));
        }
        Ok(Self { response_timeout: timeout, ..self })
    }

    /// The same with another time to wait for a device that is not connected: 0 to 300 s (default 0).
    ///
    /// # Errors
    /// [`InvalidMethodTimeout::Connect`].
    pub fn with_connect_timeout(self, timeout: Duration) -> Result<Self, InvalidMethodTimeout> {
        if timeout.subsec_nanos() > 0 || timeout.as_secs() > 300 {
            return Err(InvalidMethodTimeout::Connect(timeout));
        }
        Ok(Self { connect_timeout: timeout, ..self })
    }

    /// The method.
    #[must_use]
    pub const fn name(&self) -> &MethodName {
        &self.name
    }

    /// The payload. A whole number beyond 64 bits is the nearest floating-point number in it;
    /// [`payload_json`](Self::payload_json) has it as it is sent.
    #[must_use]
    pub const fn payload(&self) -> &Value {
        self.payload.value()
    }

    /// The payload as JSON, as it is sent.
    #[must_use]
    pub fn payload_json(&self) -> Cow<'_, str> {
        self.payload.json()
    }

    /// Returns how long a connected device has to answer.
    #[must_use]
    pub const fn response_timeout(&self) -> Duration {
        self.response_timeout
    }

    /// Returns how long to wait for a device that is not connected.
    #[must_use]
    pub const fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }
}

/// A device's answer to a direct method.
///
/// ```
/// # use iothub_models::DirectMethodResponse;
/// use serde_json::json;
///
/// let response = DirectMethodResponse::new(200, json!({"rebooted": true}));
/// assert_eq!(response.payload_json(), r#"{"rebooted":true}"#);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct DirectMethodResponse {
    /// The result, in the device's own numbers; by custom those of HTTP, 200 for success.
    pub status: i32,
    /// Any JSON; null where the device sent nothing. A whole number beyond 64 bits is the nearest
    /// floating-point number here; [`payload_json`](Self::payload_json) has it as the device wrote it.
    pub payload: Value,
    /// The payload as it was read, only where `payload` cannot hold all of it.
    written: Option<MethodPayload>,
}

impl DirectMethodResponse {
    /// An answer with a status and a payload.
    #[must_use]
    pub fn new(status: i32, payload: impl Into<Value>) -> Self {
        Self { status, payload: payload.into(), written: None }
    }

    /// An answer with a status and a payload that is JSON text. Whole numbers beyond 64 bits, which a
    /// [`Value`] cannot hold, reach the back end as they are written.
    ///
    /// # Errors
    /// The text is not JSON, is nested more than 127 levels deep, or has a number beyond the range of a
    /// 64-bit floating-point number.
    pub fn from_json(status: i32, payload: &str) -> Result<Self, serde_json::Error> {
        let read = MethodPayload::parse(payload)?;
        let payload = read.value().clone();
        Ok(Self { status, payload, written: Some(read).filter(|read| !read.is_exact()) })
    }

    /// The payload as JSON. Whole numbers beyond 64 bits are as the device wrote them, unless `payload` was
    /// changed since.
    #[must_use]
    pub fn payload_json(&self) -> Cow<'_, str> {
        match &self.written {
            Some(written) if *written.value() == self.payload => written.json(),
            _ => Cow::Owned(self.payload.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_as_text_keep_the_digits_of_whole_numbers() {
        let text = r#"{"serial":123456789012345678901234567890}"#;
        let request = DirectMethodRequest::new("m".parse().unwrap()).with_payload_json(text).unwrap();
        assert_eq!(request.payload_json(), text);
        assert_eq!(request.with_payload(7).payload_json(), "7");

        let mut response = DirectMethodResponse::from_json(200, text).unwrap();
        assert_eq!(response.payload_json(), text);
        response.payload = Value::from(7);
        assert_eq!(response.payload_json(), "7");
        assert_eq!(DirectMethodResponse::from_json(200, "7").unwrap(), DirectMethodResponse::new(200, 7));
        assert!(DirectMethodResponse::from_json(200, "x").is_err());
    }

    #[test]
    fn timeouts_are_whole_seconds_within_the_documented_bounds() {
        let request = || DirectMethodRequest::new("m".parse().unwrap());
        let seconds = Duration::from_secs;
        assert_eq!((request().response_timeout(), request().connect_timeout()), (seconds(30), seconds(0)));
        for good in [5, 30, 300] {
            assert_eq!(
                request().with_response_timeout(seconds(good)).unwrap().response_timeout(),
                seconds(good)
            );
        }
        for good in [0, 5, 300] {
            assert_eq!(
                request().with_connect_timeout(seconds(good)).unwrap().connect_timeout(),
                seconds(good)
            );
        }
        for bad in [seconds(0), seconds(4), seconds(301), Duration::from_millis(5_500), Duration::MAX] {
            assert_eq!(request().with_response_timeout(bad), Err(InvalidMethodTimeout::Response(bad)));
        }
        for bad in [Duration::from_millis(1), seconds(301), Duration::MAX] {
            assert_eq!(request().with_connect_timeout(bad), Err(InvalidMethodTimeout::Connect(bad)));
        }
    }
}
