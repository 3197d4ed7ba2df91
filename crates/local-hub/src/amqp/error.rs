//! This file turns a refusal of the hub into an AMQP error: a condition for the client to act on, a text for people,
//! and the tracking id under which the hub's activity has it.
//!
//! The nodes of the AMQP service call it wherever they refuse something.

use iothub_amqp_server::{AmqpError, Map, Symbol, condition};
use iothub_models::ErrorCode;

use crate::activity::refused;
use crate::core::refusal::HubError;

/// A property or argument has a value it may not have.
pub(super) const ARGUMENT_ERROR: Symbol = Symbol::from_static("com.microsoft:argument-error");
/// A value lies outside its range.
pub(super) const ARGUMENT_OUT_OF_RANGE: Symbol = Symbol::from_static("com.microsoft:argument-out-of-range");
/// The hub is busy; trying again later helps.
const THROTTLED: Symbol = Symbol::from_static("com.microsoft:device-container-throttled");

/// The lock of a message that a receiver settles is not its own any more.
const LOCK_LOST: Symbol = Symbol::from_static("com.microsoft:message-lock-lost");

/// The key in an error's info under which the hub's activity has more.
pub(super) const TRACKING_ID: &str = "com.microsoft:tracking-id";

/// Returns the refusal as its peer reads it. Source of the conditions: the error maps of the official Node and
/// .NET clients.
pub(super) fn amqp_error(refusal: &HubError) -> AmqpError {
    let tracking_id = uuid::Uuid::new_v4().simple().to_string();
    // The text is the id alone, which has no blanks, if there is no such device.
    let text = if refusal.code == ErrorCode::DeviceNotFound && !refusal.text.contains(' ') {
        format!("there is no device {}", refusal.text)
    } else {
        refusal.text.clone()
    };
    refused("request", &text).code(refusal.code).tracking_id(&tracking_id).tell();
    let condition = match refusal.code {
        ErrorCode::DeviceNotFound | ErrorCode::ModuleNotFound | ErrorCode::GenericNotFound => {
            condition::NOT_FOUND
        }
        ErrorCode::DeviceMaximumQueueDepthExceeded => condition::RESOURCE_LIMIT_EXCEEDED,
        ErrorCode::MessageTooLarge => condition::MESSAGE_SIZE_EXCEEDED,
        ErrorCode::IotHubUnauthorizedAccess | ErrorCode::IotHubUnauthorized => condition::UNAUTHORIZED_ACCESS,
        ErrorCode::ArgumentInvalid | ErrorCode::ArgumentNull | ErrorCode::IotHubFormatError => ARGUMENT_ERROR,
        ErrorCode::InvalidMessageExpiryTime => ARGUMENT_OUT_OF_RANGE,
        ErrorCode::ServerBusy | ErrorCode::ServiceUnavailable | ErrorCode::ThrottlingException => THROTTLED,
        ErrorCode::DeviceMessageLockLost => LOCK_LOST,
        ErrorCode::InvalidOperation => condition::NOT_ALLOWED,
        _ => condition::INTERNAL_ERROR,
    };
    AmqpError::new(condition, format!("{}: {text}", refusal.code))
        .with_info(Map::new().with(Symbol::from_static(TRACKING_ID), tracking_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disabled_device_is_not_called_unknown() {
        let id = "d1".parse().unwrap();
        let text = |refusal| amqp_error(&refusal).description;
        assert_eq!(text(HubError::device_disabled(&id)), "404001 DeviceNotFound: d1 is disabled");
        assert_eq!(text(HubError::device_not_found(&id)), "404001 DeviceNotFound: there is no device d1");
    }

    #[test]
    fn each_refusal_has_the_condition_the_official_clients_know() {
        for (code, expected) in [
            (ErrorCode::DeviceNotFound, "amqp:not-found"),
            (ErrorCode::DeviceMaximumQueueDepthExceeded, "amqp:resource-limit-exceeded"),
            (ErrorCode::MessageTooLarge, "amqp:link:message-size-exceeded"),
            (ErrorCode::IotHubUnauthorizedAccess, "amqp:unauthorized-access"),
            (ErrorCode::ArgumentInvalid, "com.microsoft:argument-error"),
            (ErrorCode::InvalidMessageExpiryTime, "com.microsoft:argument-out-of-range"),
            (ErrorCode::ServerBusy, "com.microsoft:device-container-throttled"),
            (ErrorCode::DeviceMessageLockLost, "com.microsoft:message-lock-lost"),
            (ErrorCode::ServerError, "amqp:internal-error"),
        ] {
            let error = amqp_error(&HubError::new(code, "why"));
            assert_eq!(error.condition.as_str(), expected);
            let tracking_id = error.info.get("com.microsoft:tracking-id").unwrap();
            assert_eq!(tracking_id.as_str().unwrap().len(), 32);
        }
    }
}
