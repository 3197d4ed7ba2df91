//! This file defines what a hub says when it refuses: an AMQP error condition, a text, a tracking id.
//!
//! The AMQP seam makes a [`Refusal`] of the library's errors, and turns it into an error of this crate. A refusal is
//! plain data, so that the table from conditions to kinds can be read and tested without a connection.

use std::fmt;

use serde::Deserialize;

use crate::error::{Error, ErrorKind};

/// Longest text of a hub that goes into an error.
const MAX_TEXT: usize = 512;

/// The thing that the hub refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// One message.
    Message,
    /// A link, a session or the whole connection.
    Link,
    /// A link that reads a partition of an event hub, or a question about one.
    Partition,
}

/// A hub's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    condition: String,
    text: String,
    tracking_id: Option<String>,
}

/// The JSON that IoT Hub puts into the descriptions of its errors. It answers other things too, so
/// every field may be absent.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Details {
    error_code: Option<u32>,
    message: Option<String>,
    tracking_id: Option<String>,
}

impl Refusal {
    pub(crate) fn new(condition: &str, description: Option<&str>, tracking_id: Option<&str>) -> Self {
        let description = description.unwrap_or_default();
        let details: Option<Details> = serde_json::from_str(description).ok();
        let text = match &details {
            Some(Details { error_code: Some(code), message, .. }) => {
                format!("{code} {}", message.as_deref().unwrap_or_default())
            }
            Some(Details { message: Some(message), .. }) => message.clone(),
            _ => description.to_owned(),
        };
        let tracking_id = tracking_id.map(str::to_owned).or(details.and_then(|details| details.tracking_id));
        Self {
            condition: clean(condition),
            text: clean(text.trim()),
            tracking_id: tracking_id.as_deref().map(clean),
        }
    }

    /// The error to report for this refusal.
    pub(crate) fn into_error(self, tried: impl Into<std::borrow::Cow<'static, str>>, scope: Scope) -> Error {
        self.with_kind(kind_of(&self.condition, scope), tried)
    }

    /// Does the same as [`into_error`](Self::into_error), where something weighs more than the condition.
    pub(crate) fn with_kind(
        &self,
        kind: ErrorKind,
        tried: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Error {
        let error = Error::new(kind, tried)
            .condition_is(self.condition.clone(), self.tracking_id.clone())
            .because(self.clone());
        if kind == ErrorKind::DeviceNotFound && self.is_of_a_disabled_device() {
            return error.hint("the device is disabled: set its status to enabled before you send again");
        }
        error
    }

    /// Returns whether the text says that the device is disabled. The condition says that it does not exist.
    fn is_of_a_disabled_device(&self) -> bool {
        let text = self.text.to_ascii_lowercase();
        // An id has no blanks, so that no id can say this.
        text.contains(" is disabled") || text.starts_with("403012 ")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.condition)?;
        if !self.text.is_empty() {
            write!(f, ": {}", self.text)?;
        }
        if let Some(tracking_id) = &self.tracking_id {
            write!(f, " (tracking id {tracking_id})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

/// One line of bounded length.
fn clean(text: &str) -> String {
    text.chars().take(MAX_TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Returns the kind that a condition means. Sources: the AMQP 1.0 standard, 2.8.15 to 2.8.18, and the condition tables
/// of the official .NET and Node service clients.
fn kind_of(condition: &str, scope: Scope) -> ErrorKind {
    use ErrorKind as K;
    match (condition, scope) {
        ("amqp:not-found", Scope::Message) => K::DeviceNotFound,
        ("amqp:resource-limit-exceeded", Scope::Message) => K::QueueFull,
        ("amqp:resource-limit-exceeded", Scope::Link) => K::Throttled,
        ("amqp:link:stolen", Scope::Partition) => K::ConsumerDisconnected,
        (
            "amqp:not-found" | "com.microsoft:entity-not-found" | "com.microsoft:argument-out-of-range",
            Scope::Partition,
        ) => K::NotFound,
        ("amqp:resource-limit-exceeded" | "com.microsoft:receiver-limit", Scope::Partition) => {
            K::TooManyReaders
        }
        ("amqp:link:message-size-exceeded" | "com.microsoft:message-too-large", _) => K::TooLarge,
        ("amqp:unauthorized-access", _) => K::NotAuthorized,
        (
            "com.microsoft:argument-error"
            | "com.microsoft:argument-out-of-range"
            | "amqp:invalid-field"
            | "amqp:decode-error",
            Scope::Message | Scope::Partition,
        ) => K::InvalidArgument,
        ("com.microsoft:iot-hub-not-found-error", _) => K::HubNotFound,
        ("com.microsoft:device-container-throttled" | "com.microsoft:server-busy", _) => K::Throttled,
        ("com.microsoft:quota-exceeded", _) => K::QuotaExceeded,
        ("amqp:internal-error" | "com.microsoft:timeout", _) => K::Unavailable,
        // Our credit for a link may cross with its end; why it ended is told to the next that is attached.
        (
            "amqp:connection:forced" | "amqp:link:detach-forced" | "amqp:session:unattached-handle",
            Scope::Link | Scope::Partition,
        )
        | ("amqp:link:stolen", Scope::Link) => K::Disconnected,
        (
            "amqp:not-found"
            | "amqp:not-implemented"
            | "amqp:invalid-field"
            | "amqp:decode-error"
            | "amqp:illegal-state"
            | "amqp:frame-size-too-small"
            | "amqp:connection:framing-error",
            Scope::Link | Scope::Partition,
        ) => K::Protocol,
        _ => K::Refused,
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn every_documented_condition_of_a_message_has_its_kind() {
        use ErrorKind as K;
        // condition, kind, may be sent again
        let table = [
            ("amqp:not-found", K::DeviceNotFound, false),
            ("amqp:resource-limit-exceeded", K::QueueFull, false),
            ("amqp:link:message-size-exceeded", K::TooLarge, false),
            ("amqp:not-allowed", K::Refused, false),
            ("amqp:unauthorized-access", K::NotAuthorized, false),
            ("amqp:not-implemented", K::Refused, false),
            ("amqp:internal-error", K::Unavailable, true),
            ("com.microsoft:argument-error", K::InvalidArgument, false),
            ("com.microsoft:argument-out-of-range", K::InvalidArgument, false),
            ("com.microsoft:device-container-throttled", K::Throttled, true),
            ("com.microsoft:quota-exceeded", K::QuotaExceeded, false),
            ("com.microsoft:precondition-failed", K::Refused, false),
            ("com.microsoft:iot-hub-suspended", K::Refused, false),
            ("com.microsoft:iot-hub-not-found-error", K::HubNotFound, false),
            ("com.microsoft:timeout", K::Unavailable, true),
            ("something:new", K::Refused, false),
        ];
        for (condition, kind, retryable) in table {
            let error = Refusal::new(condition, None, None).into_error("", Scope::Message);
            assert_eq!((error.kind(), error.is_retryable()), (kind, retryable), "{condition}");
            assert_eq!(error.condition(), Some(condition));
        }
    }

    #[test]
    fn a_disabled_device_is_called_disabled_and_an_unknown_one_can_be_registered() {
        let id = "d1".parse().unwrap();
        let said = |text: &str, is_local: bool| {
            let refusal = Refusal::new("amqp:not-found", Some(text), None);
            refusal
                .into_error("the hub did not accept it", Scope::Message)
                .for_device(&id, is_local)
                .to_string()
        };
        let expected = "sending a message to device d1: the hub did not accept it: ";
        for text in ["404001 DeviceNotFound: d1 is disabled", r#"{"errorCode":403012,"message":"no"}"#] {
            assert!(said(text, true).starts_with(&format!("{expected}the device is disabled: ")), "{text}");
        }
        let unknown = "404001 DeviceNotFound: there is no device d1";
        let anew = "ids are case-sensitive, and a hub that was started anew may not know this device: \
                    `iothub device create d1` registers it";
        assert_eq!(said(unknown, true), format!("{expected}{anew}"));
        assert!(said(unknown, false).contains("the hub knows no such device: check the id; `iothub"));
    }

    #[test]
    fn conditions_of_a_link_speak_of_the_link() {
        use ErrorKind as K;
        for (condition, kind) in [
            ("amqp:not-found", K::Protocol),
            ("amqp:resource-limit-exceeded", K::Throttled),
            ("amqp:unauthorized-access", K::NotAuthorized),
            ("amqp:connection:forced", K::Disconnected),
            ("amqp:link:detach-forced", K::Disconnected),
            ("amqp:connection:framing-error", K::Protocol),
        ] {
            assert_eq!(kind_of(condition, Scope::Link), kind, "{condition}");
        }
    }

    #[test]
    fn conditions_of_a_partition_speak_of_its_readers() {
        use ErrorKind as K;
        for (condition, kind) in [
            ("amqp:link:stolen", K::ConsumerDisconnected),
            ("amqp:not-found", K::NotFound),
            ("com.microsoft:argument-out-of-range", K::NotFound),
            ("com.microsoft:argument-error", K::InvalidArgument),
            ("com.microsoft:receiver-limit", K::TooManyReaders),
            ("amqp:unauthorized-access", K::NotAuthorized),
            ("amqp:link:detach-forced", K::Disconnected),
            ("amqp:session:unattached-handle", K::Disconnected),
            ("com.microsoft:server-busy", K::Throttled),
        ] {
            assert_eq!(kind_of(condition, Scope::Partition), kind, "{condition}");
        }
    }

    #[test]
    fn the_hub_s_json_is_read_and_anything_else_is_shown_as_it_is() {
        let json = r#"{"errorCode":404001,"trackingId":"abc-G:1","message":"Device not found","info":null}"#;
        let error = Refusal::new("amqp:not-found", Some(json), None).into_error("x", Scope::Message);
        assert_eq!(error.tracking_id(), Some("abc-G:1"));
        assert_eq!(
            error.source().unwrap().to_string(),
            "amqp:not-found: 404001 Device not found (tracking id abc-G:1)"
        );

        let info = Refusal::new("amqp:not-found", Some("no\nsuch device"), Some("from-info"));
        assert_eq!(info.to_string(), "amqp:not-found: no such device (tracking id from-info)");
        for odd in ["[]", "7", "{", r#"{"errorCode":"text"}"#] {
            assert_eq!(Refusal::new("c", Some(odd), None).to_string(), format!("c: {odd}"));
        }
        assert!(Refusal::new("c", Some(&"x".repeat(100_000)), None).to_string().len() < 600);
    }
}
