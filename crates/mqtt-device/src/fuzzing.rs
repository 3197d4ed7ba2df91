//! This file lets the fuzz targets reach the parsers of a hub's messages. It exists only while fuzzing.

use bytes::Bytes;
use iothub_models::TwinSection;
use jiff::Timestamp;

use crate::method_calls::Calls;
use crate::topics::Topics;
use crate::twin_response::{Defect, TwinResponse};
use crate::twin_topics::TwinTopic;
use crate::{diagnosis, method_topics, twin_topics};

/// Reads a PUBLISH of a hub as the client of the device `d1` does: as a cloud-to-device message, as a
/// response about the twin, as a change of desired properties, and as a call of a method, to which it responds.
///
/// # Panics
/// If a response would go to a topic that MQTT does not allow, or an error would not be one line.
#[expect(clippy::expect_used, reason = "a broken fuzz target must stop")]
pub fn hub_message(topic: &str, body: &[u8]) {
    let identity = "HostName=h;DeviceId=d1;SharedAccessKey=a2V5".parse().expect("it is a connection string");
    let payload = Bytes::copy_from_slice(body);
    drop(Topics::new(&identity, None, None).c2d_message(topic, &payload));
    match twin_topics::read(topic) {
        Some(TwinTopic::Response { status, version, .. }) => {
            let response = TwinResponse { status, version, body: payload };
            for defect in [response.twin().err(), response.version().err()].into_iter().flatten() {
                one_line(&identity.device_id, defect);
            }
        }
        Some(TwinTopic::DesiredChange) => drop(serde_json::from_slice::<TwinSection>(body)),
        None => {}
    }
    if let Some(call) = method_topics::read(topic) {
        let response = method_topics::response(200, call.request_id);
        assert!(!response.contains(['+', '#', '\0']), "{response:?} is no topic to publish to");
        let calls = Calls::default();
        let _reader = calls.reader();
        drop(calls.arrived(&call, body, Timestamp::UNIX_EPOCH));
    }
}

fn one_line(device_id: &iothub_models::DeviceId, defect: Defect) {
    let error = diagnosis::request_failed(device_id, "reading the twin", defect);
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(!error.to_string().contains('\n') && !source.contains('\n'), "{error}: {source}");
}
