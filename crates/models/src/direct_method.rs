//! Direct methods: what a back end asks of a device, and what the device answers. How either travels
//! (routes, topics, JSON members) belongs to the crate that carries it.
//!
//! Source: *Understand and invoke direct methods from IoT Hub*.

mod name;

use std::time::Duration;

use serde_json::Value;

pub use self::name::{InvalidMethodName, MethodName};

/// A call of a direct method: a name, a JSON payload, and how long to wait.
///
/// ```
/// use std::time::Duration;
///
/// use iothub_models::DirectMethodRequest;
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
    payload: Value,
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
            payload: Value::Null,
            response_timeout: Duration::from_secs(30),
            connect_timeout: Duration::ZERO,
        }
    }

    /// The same with a payload: any JSON, at most [`MAX_PAYLOAD`](Self::MAX_PAYLOAD) bytes of it.
    #[must_use]
    pub fn with_payload(self, payload: impl Into<Value>) -> Self {
        Self { payload: payload.into(), ..self }
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

    /// What the device is given.
    #[must_use]
    pub const fn payload(&self) -> &Value {
        &self.payload
    }

    /// How long a connected device has to answer.
    #[must_use]
    pub const fn response_timeout(&self) -> Duration {
        self.response_timeout
    }

    /// How long to wait for a device that is not connected.
    #[must_use]
    pub const fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }
}

/// A device's answer to a direct method.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectMethodResponse {
    /// How it went, in the device's own numbers; by custom those of HTTP, 200 for success.
    pub status: i32,
    /// Any JSON; null where the device sent nothing.
    pub payload: Value,
}

impl DirectMethodResponse {
    /// An answer with a status and a payload.
    #[must_use]
    pub fn new(status: i32, payload: impl Into<Value>) -> Self {
        Self { status, payload: payload.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
