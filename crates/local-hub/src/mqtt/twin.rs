//! Reads and answers the requests that a device makes about its twin over MQTT, and names the topic of a
//! change of desired properties.
//!
//! | topic | |
//! |---|---|
//! | `$iothub/twin/GET/?$rid={id}` | the device reads its twin; the body does not count |
//! | `$iothub/twin/PATCH/properties/reported/?$rid={id}[&$version={v}]` | it changes its reported properties |
//! | `$iothub/twin/res/{status}/?$rid={id}[&$version={v}]` | the answer to either |
//! | `$iothub/twin/PATCH/properties/desired/?$version={v}` | a back end changed its desired properties |
//!
//! Answers and changes are sent at QoS 0: a later connection has no use for them and reads the twin instead.
//! Source: *Communicate with your IoT hub using the MQTT protocol*.

use iothub_models::{ErrorCode, Identity, NotJson, clamp_whole_numbers};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::activity::refused;
use crate::core::refusal::HubError;
use crate::core::truncated;
use crate::hub::{Committed, DeviceSession};
use crate::journal::{Gate, Space};

use super::topics::TopicError;

/// Longest `$rid`: official clients use UUIDs and counters.
const RID_LENGTH: usize = 256;

/// The request that a device makes about its twin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TwinRequest {
    /// The number of the request, which is echoed in the answer byte for byte.
    rid: Box<str>,
    operation: Operation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Get,
    /// A report, with the version that the reported properties must have if the device gives one.
    Report {
        expected: Option<Expected>,
    },
}

/// A `$version`, which may be no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Version(i64),
    NotANumber,
}

/// The topic and the body of an answer to a request about the twin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TwinAnswer {
    pub(super) topic: String,
    pub(super) body: Vec<u8>,
}

/// Reads the part of a topic behind `$iothub/twin/`.
pub(super) fn parse(rest: &str) -> Result<TwinRequest, TopicError> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let parameter = |name: &str| {
        query
            .split('&')
            .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
            .map(|(_, value)| value)
    };
    let rid = parameter("$rid").filter(|rid| (1..=RID_LENGTH).contains(&rid.len())).ok_or(TopicError::NoRid);
    let operation = match path.trim_end_matches('/') {
        "GET" => Operation::Get,
        "PATCH/properties/reported" => {
            let expected = parameter("$version")
                .map(|text| text.parse().map_or(Expected::NotANumber, Expected::Version));
            Operation::Report { expected }
        }
        _ => return Err(TopicError::Unknown),
    };
    Ok(TwinRequest { rid: rid?.into(), operation })
}

impl TwinRequest {
    /// Carries out the request, and returns the answer with the gate that it must wait for.
    pub(super) fn answer(
        &self,
        device: &DeviceSession,
        body: &[u8],
        space: Space,
        now: Timestamp,
    ) -> Committed<TwinAnswer> {
        let Committed { answer: done, gate } = match self.operation {
            Operation::Get => {
                let Committed { answer, gate } = device.twin_properties();
                let shown = answer.and_then(|twin| {
                    serde_json::to_vec(&twin)
                        .map_err(|error| HubError::new(ErrorCode::ServerError, error.to_string()))
                });
                Committed { answer: shown.map(|body| (200, None, body)), gate }
            }
            Operation::Report { expected } => {
                let Committed { answer, gate } = report(device, body, expected, space);
                Committed { answer: answer.map(|version| (204, Some(version), Vec::new())), gate }
            }
        };
        let answer = match done {
            Ok((status, version, body)) => TwinAnswer { topic: self.topic(status, version), body },
            Err(refusal) => self.refusal(device.id(), &refusal, now),
        };
        Committed { answer, gate }
    }

    fn topic(&self, status: u16, version: Option<i64>) -> String {
        let version = version.map(|version| format!("&$version={version}")).unwrap_or_default();
        format!("$iothub/twin/res/{status}/?$rid={}{version}", self.rid)
    }

    /// Returns the refusal as an answer, with the body from which the official Node client takes an error.
    fn refusal(&self, id: &Identity, refusal: &HubError, now: Timestamp) -> TwinAnswer {
        let tracking_id = Uuid::new_v4().simple().to_string();
        let operation = match self.operation {
            Operation::Get => "read twin",
            Operation::Report { .. } => "report",
        };
        refused(operation, &refusal.text).of(id).code(refusal.code).tracking_id(&tracking_id).tell();
        let body = json!({
            "errorCode": refusal.code.number(),
            "trackingId": tracking_id,
            "message": refusal.text,
            "timestampUtc": truncated(now).to_string(),
        });
        TwinAnswer { topic: self.topic(refusal.code.http_status(), None), body: body.to_string().into() }
    }
}

fn report(
    device: &DeviceSession,
    body: &[u8],
    expected: Option<Expected>,
    space: Space,
) -> Committed<Result<i64, HubError>> {
    let refused = |refusal| Committed { answer: Err(refusal), gate: Gate::OPEN };
    let expected = match expected {
        Some(Expected::NotANumber) => {
            return refused(HubError::new(ErrorCode::ArgumentInvalid, "$version is not a whole number"));
        }
        Some(Expected::Version(version)) => Some(version),
        None => None,
    };
    match object(body) {
        Ok(patch) => device.report(&patch, expected, space),
        Err(refusal) => refused(refusal),
    }
}

fn object(body: &[u8]) -> Result<Map<String, Value>, HubError> {
    // A number beyond 64 bits stays a whole number, which the limits of twins refuse.
    match serde_json::from_slice(&clamp_whole_numbers(body)) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => {
            Err(HubError::new(ErrorCode::ArgumentInvalid, "the reported properties must be a JSON object"))
        }
        Err(error) => {
            let text = format!("the body with the reported properties {}", NotJson::of(body, &error));
            Err(HubError::new(ErrorCode::IotHubFormatError, text))
        }
    }
}

/// The topic of a change of desired properties.
pub(super) fn desired_topic(version: i64) -> String {
    format!("$iothub/twin/PATCH/properties/desired/?$version={version}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(rid: &str, operation: Operation) -> Result<TwinRequest, TopicError> {
        Ok(TwinRequest { rid: rid.into(), operation })
    }

    #[test]
    fn requests_of_every_client() {
        let report = |expected| Operation::Report { expected };
        for (rest, expected) in [
            ("GET/?$rid=0f9a-1", request("0f9a-1", Operation::Get)),
            ("GET?$rid=1", request("1", Operation::Get)),
            ("PATCH/properties/reported/?$rid=a", request("a", report(None))),
            (
                "PATCH/properties/reported/?$rid=a&$version=7",
                request("a", report(Some(Expected::Version(7)))),
            ),
            (
                "PATCH/properties/reported/?$version=x&$rid=a",
                request("a", report(Some(Expected::NotANumber))),
            ),
            ("GET/", Err(TopicError::NoRid)),
            ("GET/?$rid=", Err(TopicError::NoRid)),
            ("GET/?rid=1", Err(TopicError::NoRid)),
            ("PATCH/properties/desired/?$rid=1", Err(TopicError::Unknown)),
            ("PUT/?$rid=1", Err(TopicError::Unknown)),
            ("", Err(TopicError::Unknown)),
        ] {
            assert_eq!(parse(rest), expected, "{rest}");
        }
        assert_eq!(parse(&format!("GET/?$rid={}", "x".repeat(257))), Err(TopicError::NoRid));
    }

    #[test]
    fn answers_have_the_rid_first() {
        let TwinRequest { rid, operation } = request("r/1", Operation::Get).unwrap();
        let request = TwinRequest { rid, operation };
        assert_eq!(request.topic(200, None), "$iothub/twin/res/200/?$rid=r/1");
        assert_eq!(request.topic(204, Some(9)), "$iothub/twin/res/204/?$rid=r/1&$version=9");
        let refused = request.refusal(
            &Identity::device("d".parse().unwrap()),
            &HubError::new(ErrorCode::ArgumentInvalid, "why"),
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(refused.topic, "$iothub/twin/res/400/?$rid=r/1");
        let body: Value = serde_json::from_slice(&refused.body).unwrap();
        assert_eq!((&body["errorCode"], &body["message"]), (&json!(400_004), &json!("why")));
    }
}
