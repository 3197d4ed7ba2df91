//! [`CallFailure`] is the failure of a direct method call, with the service's code and words.
//!
//! [`MethodCalls`](super::MethodCalls) and `mqtt::mailbox` make failures, and `https` shows them to back ends.

use std::time::Duration;

use iothub_models::{DirectMethodRequest, ErrorCode, NotJson};
use serde_json::value::RawValue;

use super::MethodAnswer;
use crate::core::refusal::HubError;

/// The failure of a direct method call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallFailure {
    pub(crate) refusal: HubError,
    /// The timeout that passed, if the call failed for that.
    pub(crate) waited: Option<Duration>,
}

impl From<HubError> for CallFailure {
    fn from(refusal: HubError) -> Self {
        Self { refusal, waited: None }
    }
}

impl CallFailure {
    /// The failure of a call for which no connection listened to methods within the connect timeout.
    pub(super) fn not_online(waited: Duration) -> Self {
        let text = "The operation failed because the requested device isn't online or hasn't registered the direct \
                    method callback. To learn more, see https://aka.ms/iothub404103";
        Self { refusal: HubError::new(ErrorCode::DeviceNotOnline, text), waited: Some(waited) }
    }

    /// The failure of a call of a method that no filter of the connected device covers.
    pub(crate) fn not_subscribed() -> Self {
        Self::not_online(Duration::ZERO)
    }

    /// The failure of a call that the device did not answer within the response timeout.
    pub(super) fn not_answered(waited: Duration) -> Self {
        let text = "Timed out waiting for the response from device.";
        Self { refusal: HubError::new(ErrorCode::GatewayTimeout, text), waited: Some(waited) }
    }

    /// The failure of a call whose connection ended before the answer.
    pub(super) fn closed() -> Self {
        let text = "the connection of the device ended before it answered";
        HubError::new(ErrorCode::DeviceConnectionClosedRemotely, text).into()
    }

    /// The failure of a call that waited when the hub shut down.
    pub(crate) fn shutdown() -> Self {
        HubError::new(ErrorCode::ServiceUnavailable, "the hub shuts down").into()
    }
}

/// Returns the refusal of a call whose payload has this number of bytes.
pub(super) fn too_large(bytes: usize) -> HubError {
    let limit = DirectMethodRequest::MAX_PAYLOAD;
    HubError::new(
        ErrorCode::MessageTooLarge,
        format!("the payload has {bytes} bytes; at most {limit} are allowed"),
    )
}

/// Returns `answer` if it may be passed on: its payload is JSON of bounded size, or empty.
pub(super) fn checked(answer: MethodAnswer) -> Result<MethodAnswer, CallFailure> {
    let (bytes, limit) = (answer.payload.len(), DirectMethodRequest::MAX_PAYLOAD);
    let bad = |code, text| Err(HubError::new(code, text).into());
    if bytes > limit {
        let text = format!("the device's answer has {bytes} bytes; at most {limit} are allowed");
        return bad(ErrorCode::GenericBadGateway, text);
    }
    match serde_json::from_slice::<&RawValue>(&answer.payload) {
        Err(error) if !answer.payload.is_empty() => {
            let text = format!("the device's answer {}", NotJson::of(&answer.payload, &error));
            bad(ErrorCode::InvalidResponseWhileProxying, text)
        }
        _ => Ok(answer),
    }
}
