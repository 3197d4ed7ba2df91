//! Direct methods over MQTT.
//!
//! | topic | |
//! |---|---|
//! | `$iothub/methods/POST/{name}/?$rid={id}` | a back end calls a method; the body is its payload |
//! | `$iothub/methods/res/{status}/?$rid={id}` | the device's answer |
//!
//! Requests are sent at QoS 0: they are worth nothing to a later connection. Names stand in a topic as they
//! are, since most clients do not decode them. Source: *Understand and invoke direct methods from IoT Hub*.

use super::topics::TopicError;
use crate::core::methods::MethodRequest;

/// A device's answer, as far as its topic tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MethodResponse {
    pub(super) status: i32,
    /// Which call it answers; `None` for an id that this hub never gave.
    pub(super) number: Option<u64>,
}

/// The topic of a request.
pub(super) fn request_topic(request: &MethodRequest) -> String {
    format!("$iothub/methods/POST/{}/?$rid={:x}", request.name, request.number)
}

/// Reads what stands behind `$iothub/methods/res/`.
pub(super) fn parse(rest: &str) -> Result<MethodResponse, TopicError> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let status = path.strip_suffix('/').unwrap_or(path).parse().map_err(|_| TopicError::Status)?;
    let rid = query
        .split('&')
        .find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == "$rid"))
        .map(|(_, rid)| rid)
        .filter(|rid| !rid.is_empty())
        .ok_or(TopicError::NoRid)?;
    let number = u64::from_str_radix(rid, 16).ok().filter(|number| format!("{number:x}") == rid);
    Ok(MethodResponse { status, number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_carry_name_and_id_as_they_are() {
        let name = "thermostat1*getMaxMinReport%21".parse().unwrap();
        let request = MethodRequest { number: 0x2a, name, payload: "1".into() };
        assert_eq!(request_topic(&request), "$iothub/methods/POST/thermostat1*getMaxMinReport%21/?$rid=2a");
    }

    #[test]
    fn answers_of_every_client() {
        let answer = |status, number| Ok(MethodResponse { status, number });
        for (rest, expected) in [
            ("200/?$rid=2a", answer(200, Some(0x2a))),
            ("200?$rid=1", answer(200, Some(1))),
            ("-1/?$rid=1", answer(-1, Some(1))),
            ("599/?$rid=1&x=y", answer(599, Some(1))),
            ("0/?x&$rid=1", answer(0, Some(1))),
            ("2147483647/?$rid=ffffffffffffffff", answer(i32::MAX, Some(u64::MAX))),
            // Ids that no call has.
            ("200/?$rid=2A", answer(200, None)),
            ("200/?$rid=02a", answer(200, None)),
            ("200/?$rid=+1", answer(200, None)),
            ("200/?$rid=0f9a-1", answer(200, None)),
            ("200/?$rid=10000000000000000", answer(200, None)),
            ("200/", Err(TopicError::NoRid)),
            ("200/?$rid=", Err(TopicError::NoRid)),
            ("200/?rid=1", Err(TopicError::NoRid)),
            ("/?$rid=1", Err(TopicError::Status)),
            ("ok/?$rid=1", Err(TopicError::Status)),
            ("2147483648/?$rid=1", Err(TopicError::Status)),
            ("200/x/?$rid=1", Err(TopicError::Status)),
            ("", Err(TopicError::Status)),
        ] {
            assert_eq!(parse(rest), expected, "{rest}");
        }
    }
}
