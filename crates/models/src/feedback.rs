//! This file defines feedback: the outcome of a cloud-to-device message whose sender asked to be told.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::DeviceId;

/// The outcome of a cloud-to-device message.
///
/// Source: *Send cloud-to-device messages from an IoT hub*, "Message feedback".
///
/// ```
/// # use iothub_models::FeedbackStatus;
/// assert_eq!(FeedbackStatus::from_name("Expired"), FeedbackStatus::Expired);
/// assert_eq!(FeedbackStatus::Success.to_string(), "Success");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FeedbackStatus {
    /// The device completed it.
    Success,
    /// The message expired before the device completed it.
    Expired,
    /// The message was delivered as often as the hub allows, and never completed.
    DeliveryCountExceeded,
    /// The device rejected it.
    Rejected,
    /// A back end purged the device's queue.
    Purged,
    /// A status that this version does not know; the record's description has the hub's word for it.
    Unknown,
}

impl FeedbackStatus {
    /// The word used on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Expired => "Expired",
            Self::DeliveryCountExceeded => "DeliveryCountExceeded",
            Self::Rejected => "Rejected",
            Self::Purged => "Purged",
            Self::Unknown => "Unknown",
        }
    }

    /// The status of this name, in any case; [`Unknown`](Self::Unknown) if there is none.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        [Self::Success, Self::Expired, Self::DeliveryCountExceeded, Self::Rejected, Self::Purged]
            .into_iter()
            .find(|status| status.as_str().eq_ignore_ascii_case(name))
            .unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for FeedbackStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The outcome of one message: an element of the JSON array that is a batch of feedback.
///
/// Read leniently, because a hub may be newer than its reader: only the device id, the time and the
/// status must be there, and the status may be any text.
///
/// ```
/// # use iothub_models::{FeedbackRecord, FeedbackStatus};
/// let record: FeedbackRecord = serde_json::from_str(
///     r#"{"originalMessageId":"m1","deviceId":"d1","statusCode":"Success","enqueuedTimeUtc":"2026-01-02T03:04:05Z"}"#,
/// ).unwrap();
/// assert_eq!(record.status, FeedbackStatus::Success);
/// assert_eq!(record.original_message_id.as_deref(), Some("m1"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FeedbackRecord {
    /// The id of the message that this is about; a message sent without one has none here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_message_id: Option<String>,
    /// The time of this outcome.
    #[serde(rename = "enqueuedTimeUtc")]
    pub enqueued_time: Timestamp,
    /// The outcome.
    #[serde(rename = "statusCode", serialize_with = "status_name")]
    pub status: FeedbackStatus,
    /// The outcome's name as the hub spells it. Some clients read the status from here, so a hub writes
    /// the same word in both.
    pub description: String,
    /// The device that the message was for.
    pub device_id: DeviceId,
    /// Tells apart devices that had this id one after the other; empty if the hub did not say.
    pub device_generation_id: String,
}

impl FeedbackRecord {
    /// A record whose description is the status's name, as hubs write it.
    #[must_use]
    pub fn new(
        original_message_id: Option<String>,
        enqueued_time: Timestamp,
        status: FeedbackStatus,
        device_id: DeviceId,
        device_generation_id: impl Into<String>,
    ) -> Self {
        Self {
            original_message_id,
            enqueued_time,
            status,
            description: status.as_str().to_owned(),
            device_id,
            device_generation_id: device_generation_id.into(),
        }
    }
}

fn status_name<S: Serializer>(status: &FeedbackStatus, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(status.as_str())
}

/// A record as it may arrive.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arrived {
    #[serde(default)]
    original_message_id: Option<String>,
    #[serde(rename = "enqueuedTimeUtc")]
    enqueued_time: Timestamp,
    #[serde(default)]
    status_code: Option<String>,
    #[serde(default)]
    description: Option<String>,
    device_id: DeviceId,
    #[serde(default)]
    device_generation_id: Option<String>,
}

impl<'de> Deserialize<'de> for FeedbackRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let arrived = Arrived::deserialize(deserializer)?;
        // Either may be absent: each stands for the other.
        let Some(name) = arrived.status_code.or_else(|| arrived.description.clone()) else {
            return Err(serde::de::Error::missing_field("statusCode"));
        };
        Ok(Self {
            original_message_id: arrived.original_message_id,
            enqueued_time: arrived.enqueued_time,
            status: FeedbackStatus::from_name(&name),
            description: arrived.description.unwrap_or(name),
            device_id: arrived.device_id,
            device_generation_id: arrived.device_generation_id.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of the fields as *Send cloud-to-device messages from an IoT hub* has them.
    #[test]
    fn has_the_documented_form() {
        let record = FeedbackRecord::new(
            Some("0987654321".to_owned()),
            "2015-07-28T16:24:48.789Z".parse().unwrap(),
            FeedbackStatus::Success,
            "123".parse().unwrap(),
            "xyz",
        );
        let json = r#"{"originalMessageId":"0987654321","enqueuedTimeUtc":"2015-07-28T16:24:48.789Z","statusCode":"Success","description":"Success","deviceId":"123","deviceGenerationId":"xyz"}"#;
        assert_eq!(serde_json::to_string(&record).unwrap(), json);
        assert_eq!(serde_json::from_str::<FeedbackRecord>(json).unwrap(), record);
    }

    #[test]
    fn every_status_is_read_in_any_case_and_others_keep_their_word() {
        use FeedbackStatus as S;
        for status in [S::Success, S::Expired, S::DeliveryCountExceeded, S::Rejected, S::Purged] {
            assert_eq!(S::from_name(status.as_str()), status);
            assert_eq!(S::from_name(&status.as_str().to_lowercase()), status);
        }
        let json = r#"{"enqueuedTimeUtc":"2015-07-28T16:24:48.7891234Z","statusCode":"Eaten","deviceId":"d","new":1}"#;
        let record: FeedbackRecord = serde_json::from_str(json).unwrap();
        assert_eq!((record.status, record.description.as_str()), (S::Unknown, "Eaten"));
        assert_eq!((record.original_message_id, record.device_generation_id), (None, String::new()));
    }

    #[test]
    fn what_names_no_device_time_or_status_is_no_record() {
        let time = r#""enqueuedTimeUtc":"2015-07-28T16:24:48Z""#;
        for json in [
            format!(r#"{{{time},"statusCode":"Success"}}"#),
            format!(r#"{{{time},"statusCode":"Success","deviceId":"no spaces"}}"#),
            format!(r#"{{{time},"deviceId":"d"}}"#),
            r#"{"statusCode":"Success","deviceId":"d"}"#.to_owned(),
        ] {
            serde_json::from_str::<FeedbackRecord>(&json).unwrap_err();
        }
    }
}
