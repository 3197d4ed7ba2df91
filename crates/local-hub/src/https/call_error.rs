//! [`CallError`] refuses direct methods and commands. The service writes these errors as JSON within the text.
//!
//! ```text
//! {"Message":"{\"errorCode\":404103,\"trackingId\":…,\"message\":…,\"info\":{\"timeout\":\"00:00:05\"},
//!   \"timestampUtc\":…}","ExceptionMessage":""}
//! ```
//! Source: *Understand and resolve Azure IoT Hub errors*, and the parts that official clients read.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;

use super::error::{ApiError, refusal_body};
use super::told::ToldRefusal;
use crate::core::methods::CallFailure;
use crate::core::refusal::HubError;

/// A refusal on its way to the client.
#[derive(Debug)]
pub(super) struct CallError(CallFailure);

impl From<CallFailure> for CallError {
    fn from(failure: CallFailure) -> Self {
        Self(failure)
    }
}

impl From<HubError> for CallError {
    fn from(refusal: HubError) -> Self {
        Self(refusal.into())
    }
}

impl From<ApiError> for CallError {
    fn from(error: ApiError) -> Self {
        Self::from(error.into_refusal())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'e> {
    error_code: u32,
    tracking_id: String,
    message: &'e str,
    info: Info,
    timestamp_utc: String,
}

#[derive(Serialize)]
struct Info {
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
}

impl IntoResponse for CallError {
    fn into_response(self) -> Response {
        let CallFailure { refusal: HubError { code, text }, waited } = self.0;
        let now = Timestamp::now();
        let id = uuid::Uuid::new_v4().simple();
        let told = ToldRefusal::new(code, id, text.clone());
        let message = Message {
            error_code: code.number(),
            tracking_id: format!("{id}-G:0-TimeStamp:{}", now.strftime("%m/%d/%Y %H:%M:%S")),
            message: &text,
            info: Info { timeout: waited.map(hours_minutes_seconds) },
            timestamp_utc: now.to_string(),
        };
        // Numbers and text of ours always can be written.
        let message = serde_json::to_string(&message).unwrap_or(text);
        told.on(refusal_body(code, message, String::new()))
    }
}

fn hours_minutes_seconds(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
