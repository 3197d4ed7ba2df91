//! This file defines [`HttpResponse`], a response of the hub, and [`Refusal`], the reason that a response gives for not
//! carrying out a call. It shows no text that could be a key.
//!
//! `http.rs` makes the responses, and `error/advice.rs` turns refusals into errors. A refusal names its code in the
//! header `iothub-errorcode` and in the body. The body has one of two shapes: its `Message` is `ErrorCode:NAME;text`,
//! with the tracking id in `ExceptionMessage`, or `Message` is JSON again, with the code's number, text and tracking id
//! inside.

mod shown_text;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use iothub_models::ErrorCode;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use self::shown_text::shown;
use crate::call::Call;
use crate::error::Error;

/// A response, read in full and within bounds.
#[derive(Default)]
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    /// The value of the header `iothub-errorcode`.
    pub(crate) error_code: Option<String>,
    pub(crate) retry_after: Option<String>,
    pub(crate) date: Option<String>,
    pub(crate) etag: Option<String>,
    /// The status that a device gave to a command.
    pub(crate) command_status: Option<String>,
    /// The name of the kind of rows that a query returned.
    pub(crate) item_type: Option<String>,
    /// The token of the next page of a query. Text that cannot be such a token is kept as it came.
    pub(crate) continuation: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl HttpResponse {
    pub(crate) const fn is_success(&self) -> bool {
        matches!(self.status, 200..300)
    }

    /// Returns how long the header `Retry-After` asks to wait. It is a number of seconds, or a date to be compared with
    /// the hub's own `Date`.
    pub(crate) fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        let text = self.retry_after.as_deref()?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let until = http_date(text)?;
        let now = self.hub_time().unwrap_or(now);
        Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
    }

    /// Returns the time at the hub.
    pub(crate) fn hub_time(&self) -> Option<Timestamp> {
        http_date(self.date.as_deref()?)
    }

    /// Returns the body as a `T`, if the hub carried out the call.
    pub(crate) fn read<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|cause| Error::unreadable(call, self, &cause))
    }

    /// Returns the refusal that the response is, if the hub did not carry out the call.
    pub(crate) fn refusal(&self) -> Refusal {
        let mut refusal = Refusal::from_body(self.status, &self.body);
        if refusal.code.is_none()
            && let Some(name) = &self.error_code
        {
            refusal.name_code(name);
        }
        refusal
    }
}

fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text.trim()).ok().map(|date| date.timestamp())
}

/// The hub's reason for a refusal, in the hub's own words. Its `Display` is the last line of an error's chain.
#[derive(Debug, Default)]
pub(crate) struct Refusal {
    status: u16,
    pub(crate) code: Option<ErrorCode>,
    /// The name of the code, even if this version does not know the code.
    name: Option<String>,
    text: String,
    pub(crate) tracking_id: Option<String>,
}

impl Refusal {
    /// Returns whether the hub refused because the device is disabled. It has a code of its own for that, and mostly
    /// uses the code of a device that it does not know, with a text that tells the two apart.
    pub(crate) fn is_of_a_disabled_device(&self) -> bool {
        match self.code {
            Some(ErrorCode::DeviceDisabled) => true,
            // An id has no blanks, so that no id can say this.
            Some(ErrorCode::DeviceNotFound | ErrorCode::IotHubUnauthorizedAccess) => {
                self.text.to_ascii_lowercase().contains(" is disabled")
            }
            _ => false,
        }
    }

    fn from_body(status: u16, body: &[u8]) -> Self {
        let mut refusal = Self { status, ..Self::default() };
        let Ok(outer) = serde_json::from_slice::<Value>(body) else { return refusal };
        let message = text_of(&outer, "Message").unwrap_or_default();
        if let Some(id) =
            text_of(&outer, "ExceptionMessage").and_then(|text| text.strip_prefix("Tracking ID:"))
        {
            refusal.tracking_id = Some(shown(id));
        }
        match serde_json::from_str::<Value>(message) {
            Ok(inner) if inner.is_object() => refusal.read_object(&inner),
            _ if get(&outer, "errorCode").is_some() => refusal.read_object(&outer),
            _ => refusal.read_classic(message),
        }
        refusal
    }

    /// Reads the shape `ErrorCode:NAME;text`.
    fn read_classic(&mut self, message: &str) {
        let Some((name, text)) = message.strip_prefix("ErrorCode:").and_then(|rest| rest.split_once(';'))
        else {
            self.text = shown(message);
            return;
        };
        self.name_code(name);
        self.text = shown(text);
    }

    /// Reads the shape `{"errorCode": 404103, "trackingId": …, "message": …}`.
    fn read_object(&mut self, object: &Value) {
        match get(object, "errorCode") {
            Some(Value::String(text)) => match text.parse() {
                Ok(number) => self.number_code(number),
                Err(_) => self.name_code(text),
            },
            Some(number) => self.number_code(number.as_u64().unwrap_or_default()),
            None => {}
        }
        self.text = shown(text_of(object, "message").unwrap_or_default());
        if let Some(id) = text_of(object, "trackingId").filter(|id| !id.is_empty()) {
            self.tracking_id = Some(shown(id));
        }
    }

    /// Returns whether the hub named a code, known or not: a proxy between it and us names no code.
    pub(crate) const fn is_coded(&self) -> bool {
        self.name.is_some()
    }

    fn number_code(&mut self, number: u64) {
        self.code = u32::try_from(number).ok().and_then(ErrorCode::from_number);
        self.name = Some(self.code.map_or_else(|| number.to_string(), |code| code.name().to_owned()));
    }

    fn name_code(&mut self, name: &str) {
        let name = name.trim();
        if !name.is_empty() && name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            self.code = ErrorCode::from_name(name);
            self.name = Some(name.to_owned());
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the hub answered {}", self.status)?;
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        if !self.text.is_empty() {
            write!(f, ": {}", self.text)?;
        }
        if let Some(id) = &self.tracking_id {
            write!(f, " (tracking id {id})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

/// Returns a member of an object, whatever the case of its name: the service writes `Message` on some routes and
/// `message` on others.
fn get<'v>(object: &'v Value, name: &str) -> Option<&'v Value> {
    let found = object.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value)
}

fn text_of<'v>(object: &'v Value, name: &str) -> Option<&'v str> {
    get(object, name)?.as_str()
}
