//! This file reads the hub's response to a request about the twin: the twin, a new version, or a refusal with its reason.
//!
//! The driver makes the responses, and the caller of the request reads them. Source: *Communicate with an IoT hub using
//! the MQTT protocol*, the tables of status codes.

use bytes::Bytes;
use iothub_models::{NotJson, TwinProperties};
use serde_json::{Map, Value};

/// The number of characters of the hub's text that an error repeats at most.
const SHOWN: usize = 300;

/// A response of the hub whose body has not been read yet.
#[derive(Debug)]
pub(crate) struct TwinResponse {
    pub(crate) status: u16,
    pub(crate) version: Option<i64>,
    pub(crate) body: Bytes,
}

/// The reason why a response is not the expected one.
#[derive(Debug)]
pub(crate) enum Defect {
    /// The hub refused the request.
    Refused(Refused),
    /// The hub carried out the request, and the body of its response cannot be read.
    Unreadable(Option<Unreadable>),
}

/// The reason why a body is not a twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer {0}")]
pub(crate) struct Unreadable(NotJson);

/// A refusal of the hub.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    /// The id that Azure's support asks for.
    pub(crate) tracking_id: Option<String>,
    /// The reason in the hub's own words.
    pub(crate) reason: Option<Reason>,
}

/// The code and the text of a refusal.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct Reason {
    code: i64,
    message: String,
}

impl TwinResponse {
    /// Returns the twin, as the response to a request for it.
    pub(crate) fn twin(&self) -> Result<TwinProperties, Defect> {
        self.accepted()?;
        let members: Map<String, Value> =
            serde_json::from_slice(&self.body).map_err(|error| self.unreadable(&error))?;
        let twin: TwinProperties =
            serde_json::from_value(members.into()).map_err(|error| self.unreadable(&error))?;
        if twin.desired.version > 0 { Ok(twin) } else { Err(Defect::Unreadable(None)) }
    }

    /// Returns the new version of the reported properties, as the response to a patch of them.
    pub(crate) fn version(&self) -> Result<i64, Defect> {
        self.accepted()?;
        self.version.ok_or(Defect::Unreadable(None))
    }

    fn unreadable(&self, error: &serde_json::Error) -> Defect {
        Defect::Unreadable(Some(Unreadable(NotJson::of(&self.body, error))))
    }

    fn accepted(&self) -> Result<(), Defect> {
        if (200..300).contains(&self.status) {
            return Ok(());
        }
        let body: Map<String, Value> = serde_json::from_slice(&self.body).unwrap_or_default();
        let text = |name| body.get(name).and_then(Value::as_str).map(shown);
        let code = body.get("errorCode").and_then(Value::as_i64);
        let message = text("message");
        let reason = (code.is_some() || message.is_some()).then(|| Reason {
            code: code.unwrap_or_else(|| i64::from(self.status)),
            message: message.unwrap_or_default(),
        });
        Err(Defect::Refused(Refused { status: self.status, tracking_id: text("trackingId"), reason }))
    }
}

/// Returns the beginning of the hub's text, as one line of an error.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &'static str) -> TwinResponse {
        TwinResponse { status, version: None, body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn a_twin_is_read_and_anything_else_is_not() {
        let twin =
            response(200, r#"{"desired":{"a":1,"$version":2},"reported":{"$version":1}}"#).twin().unwrap();
        assert_eq!((twin.desired.version, twin.reported.version), (2, 1));
        for body in ["", "{", "[]", "{}", r#"{"desired":{"$version":"x"}}"#, r#"{"desired":{"a":1}}"#] {
            assert!(matches!(response(200, body).twin(), Err(Defect::Unreadable(_))), "{body}");
        }
        assert!(matches!(response(204, "").version(), Err(Defect::Unreadable(None))));
        assert_eq!(TwinResponse { version: Some(4), ..response(204, "") }.version().unwrap(), 4);
    }

    #[test]
    fn a_refusal_keeps_what_the_hub_says() {
        let body = r#"{"errorCode":400004,"trackingId":"t-1","message":"a\nb","timestampUtc":"2026-11-21T00:00:00Z"}"#;
        let Err(Defect::Refused(refused)) = response(400, body).version() else { panic!("refused") };
        assert_eq!((refused.status, refused.tracking_id.as_deref()), (400, Some("t-1")));
        assert_eq!(refused.reason.unwrap().to_string(), "400004: a b");
        for body in ["", "no JSON", "[1]", "{}", r#"{"errorCode":"x"}"#] {
            let Err(Defect::Refused(refused)) = response(429, body).twin() else { panic!("refused") };
            assert!(refused.reason.is_none() && refused.tracking_id.is_none(), "{body}");
        }
    }
}
