//! What the hub answered, and what it means when it is a refusal: the service's error contract as
//! plain text in, plain values out. Shows no text that could be a key.
//!
//! A refusal names its code in the header `iothub-errorcode` and in the body, which comes in two
//! flavors: `Message` is `ErrorCode:NAME;text`, with the tracking id in `ExceptionMessage`, or it is
//! JSON again, with the code's number, text and tracking id inside.

use std::fmt;
use std::time::Duration;

use iothub_models::ErrorCode;
use jiff::Timestamp;
use serde_json::Value;

/// Longest text of the hub that is shown, in characters.
const MAX_TEXT: usize = 300;

/// An answer, read in full and within bounds.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The header `iothub-errorcode`.
    pub(crate) error_code: Option<String>,
    pub(crate) retry_after: Option<String>,
    pub(crate) date: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) const fn is_success(&self) -> bool {
        matches!(self.status, 200..300)
    }

    /// `Retry-After` is a number of seconds, or a date to be compared with the hub's own `Date`.
    pub(crate) fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        let text = self.retry_after.as_deref()?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let until = http_date(text)?;
        let now = self.hub_time().unwrap_or(now);
        Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
    }

    /// The time at the hub.
    pub(crate) fn hub_time(&self) -> Option<Timestamp> {
        http_date(self.date.as_deref()?)
    }

    /// What a refusal says.
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

/// Why the hub refused, in its own words. Its `Display` is the last line of an error's chain.
#[derive(Debug, Default)]
pub(crate) struct Refusal {
    status: u16,
    pub(crate) code: Option<ErrorCode>,
    /// The code's name, also of a code this version does not know.
    name: Option<String>,
    text: String,
    pub(crate) tracking_id: Option<String>,
}

impl Refusal {
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

    /// `ErrorCode:NAME;text`
    fn read_classic(&mut self, message: &str) {
        let Some((name, text)) = message.strip_prefix("ErrorCode:").and_then(|rest| rest.split_once(';'))
        else {
            self.text = shown(message);
            return;
        };
        self.name_code(name);
        self.text = shown(text);
    }

    /// `{"errorCode": 404103, "trackingId": …, "message": …}`
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

/// The service writes `Message` and `message`, by route and by age.
fn get<'v>(object: &'v Value, name: &str) -> Option<&'v Value> {
    let found = object.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value)
}

fn text_of<'v>(object: &'v Value, name: &str) -> Option<&'v str> {
    get(object, name)?.as_str()
}

/// Text of the hub made fit to show: one line, bounded, and without what looks like a key, since a
/// complaint about a request may quote it.
fn shown(text: &str) -> String {
    let text: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut shown = String::with_capacity(text.len().min(MAX_TEXT));
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let run = rest.find(|c| !is_key_character(c)).unwrap_or(rest.len());
        if run == 0 {
            let end = rest.find(is_key_character).unwrap_or(rest.len());
            shown.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        let word = &rest[..run];
        shown.push_str(if looks_like_a_key(word) { "***" } else { word });
        rest = &rest[run..];
    }
    match shown.char_indices().nth(MAX_TEXT) {
        Some((cut, _)) => format!("{}…", &shown[..cut]),
        None => shown,
    }
}

/// Base64, or base64 that was percent-encoded.
const fn is_key_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '%')
}

fn looks_like_a_key(word: &str) -> bool {
    // `SharedAccessKey=…` and `sig=…` are one word here.
    let value = word.trim_end_matches('=').rsplit('=').next().unwrap_or(word);
    let padded = word.ends_with('=') || word.ends_with("%3D") || word.ends_with("%3d");
    value.len() >= 40 || (padded && value.len() >= 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, header: Option<&str>, body: &str) -> Answer {
        Answer {
            status,
            error_code: header.map(str::to_owned),
            retry_after: None,
            date: None,
            body: body.as_bytes().to_vec(),
        }
    }

    /// Bodies as real hubs sent them; ids and times are made up.
    #[test]
    fn both_flavors_of_refusals_are_understood() {
        const NONE: Option<&str> = None;
        let cases = [
            // Classic, with the tracking id beside the message.
            (
                404,
                NONE,
                r#"{"Message":"ErrorCode:DeviceNotFound;d1","ExceptionMessage":"Tracking ID:0123456789abcdef0123456789abcdef-G:11-TimeStamp:11/21/2026 02:30:00"}"#,
                Some(ErrorCode::DeviceNotFound),
                Some("0123456789abcdef0123456789abcdef-G:11-TimeStamp:11/21/2026 02:30:00"),
                "the hub answered 404 DeviceNotFound: d1 (tracking id 0123456789abcdef0123456789abcdef-G:11-TimeStamp:11/21/2026 02:30:00)",
            ),
            (
                409,
                Some("DeviceAlreadyExists"),
                r#"{"Message":"ErrorCode:DeviceAlreadyExists;A device with ID 'd1' is already registered.","ExceptionMessage":""}"#,
                Some(ErrorCode::DeviceAlreadyExists),
                NONE,
                "the hub answered 409 DeviceAlreadyExists: A device with ID 'd1' is already registered.",
            ),
            (
                401,
                NONE,
                r#"{"Message":"ErrorCode:IotHubUnauthorizedAccess;Unauthorized","ExceptionMessage":""}"#,
                Some(ErrorCode::IotHubUnauthorizedAccess),
                NONE,
                "the hub answered 401 IotHubUnauthorizedAccess: Unauthorized",
            ),
            // A code this version does not know is shown all the same.
            (
                429,
                NONE,
                r#"{"Message":"ErrorCode:ThrottlingBacklogTimeout;The request has been throttled. Wait 10 seconds and try again. Operation type: CRUD"}"#,
                None,
                NONE,
                "the hub answered 429 ThrottlingBacklogTimeout: The request has been throttled. Wait 10 seconds and try again. Operation type: CRUD",
            ),
            // JSON in a string, with and without `info`.
            (
                404,
                Some("DeviceNotOnline"),
                r#"{"Message":"{\"errorCode\":404103,\"trackingId\":\"0123456789abcdef0123456789abcdef-G:11-TimeStamp:11/21/2026 02:30:00\",\"message\":\"The operation failed because the requested device isn't online.\",\"info\":{\"timeout\":\"00:00:00\"},\"timestampUtc\":\"2026-11-21T02:30:00.6536567Z\"}","ExceptionMessage":""}"#,
                Some(ErrorCode::DeviceNotOnline),
                Some("0123456789abcdef0123456789abcdef-G:11-TimeStamp:11/21/2026 02:30:00"),
                "the hub answered 404 DeviceNotOnline: The operation failed because the requested device isn't online. (tracking id 0123456789abcdef0123456789abcdef-G:11-TimeStamp:11/21/2026 02:30:00)",
            ),
            (
                400,
                NONE,
                r#"{"Message":"{\"errorCode\":\"400004\",\"message\":\"no\",\"info\":null}"}"#,
                Some(ErrorCode::ArgumentInvalid),
                NONE,
                "the hub answered 400 ArgumentInvalid: no",
            ),
            (
                400,
                NONE,
                r#"{"Message":"{\"errorCode\":400999,\"message\":\"new\"}"}"#,
                None,
                NONE,
                "the hub answered 400 400999: new",
            ),
            // Bare, as other protocols carry it.
            (
                404,
                NONE,
                r#"{"errorCode":404001,"message":"d1"}"#,
                Some(ErrorCode::DeviceNotFound),
                NONE,
                "the hub answered 404 DeviceNotFound: d1",
            ),
            // The header alone, and nothing that a hub would say.
            (
                400,
                Some("InvalidProtocolVersion"),
                "",
                Some(ErrorCode::InvalidProtocolVersion),
                NONE,
                "the hub answered 400 InvalidProtocolVersion",
            ),
            (502, NONE, "<html>Bad gateway</html>", None, NONE, "the hub answered 502"),
            (500, Some("no name <b>"), "[1]", None, NONE, "the hub answered 500"),
            (500, NONE, r#"{"Message":{"a":1},"ExceptionMessage":7}"#, None, NONE, "the hub answered 500"),
            (500, NONE, r#"{"Message":"plain text"}"#, None, NONE, "the hub answered 500: plain text"),
        ];
        for (status, header, body, code, tracking_id, display) in cases {
            let refusal = answer(status, header, body).refusal();
            assert_eq!(refusal.code, code, "{body}");
            assert_eq!(refusal.tracking_id.as_deref(), tracking_id, "{body}");
            assert_eq!(refusal.to_string(), display, "{body}");
        }
    }

    #[test]
    fn text_of_the_hub_shows_no_key_no_control_character_and_not_all_of_a_long_text() {
        let key = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ=";
        for (text, expected) in [
            (format!("bad key {key} here"), "bad key *** here"),
            (format!("HostName=h;SharedAccessKey={key}"), "HostName=h;***"),
            ("sr=h&sig=c2VjcmV0c2VjcmV0c2VjcmV0%3D&se=1".to_owned(), "sr=h&***&se=1"),
            (r#"{"primaryKey":"c2hvcnRzaG9ydHNob3J0c2g="}"#.to_owned(), r#"{"primaryKey":"***"}"#),
            ("two\r\nlines \u{1b}[31mred".to_owned(), "two  lines  [31mred"),
            (
                "etag ODgxNTgwOA== differs, \u{e9}t\u{e9}".to_owned(),
                "etag ODgxNTgwOA== differs, \u{e9}t\u{e9}",
            ),
        ] {
            assert_eq!(shown(&text), expected);
        }
        assert_eq!(shown(&"\u{e9} ".repeat(1000)).chars().count(), MAX_TEXT + 1);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_by_the_hub_s_own_clock() {
        let now: Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
        let after = |text: &str, date: Option<&str>| {
            let mut answer = answer(429, None, "");
            answer.retry_after = Some(text.to_owned());
            answer.date = date.map(str::to_owned);
            answer.retry_after(now)
        };
        let seconds = |s| Some(Duration::from_secs(s));
        assert_eq!(after("10", None), seconds(10));
        assert_eq!(after("Sat, 21 Nov 2026 00:00:30 GMT", None), seconds(30));
        let date = Some("Sat, 21 Nov 2026 00:00:10 GMT");
        assert_eq!(after("Sat, 21 Nov 2026 00:00:30 GMT", date), seconds(20));
        assert_eq!(after("Sat, 21 Nov 2026 00:00:00 GMT", date), seconds(0));
        assert_eq!(after("soon", None), None);
        assert_eq!(after("-3", None), None);
    }
}
