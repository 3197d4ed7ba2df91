//! This file writes the MQTT topics of requests about the twin, and reads those of the hub's responses and of changes of
//! desired properties. The topics name no device, since the connection does. It is this crate's own reading of the
//! public documents, and no hub shares it.
//!
//! Source: *Communicate with an IoT hub using the MQTT protocol*, "Retrieving a device twin's properties",
//! "Update device twin's reported properties" and "Receiving desired properties update notifications".

use crate::property_bag;

/// The filter to subscribe to for responses to requests.
pub(crate) const RESPONSES_FILTER: &str = "$iothub/twin/res/#";

/// The filter to subscribe to for changes of desired properties.
pub(crate) const DESIRED_FILTER: &str = "$iothub/twin/PATCH/properties/desired/#";

const RESPONSES: &str = "$iothub/twin/res/";
const DESIRED: &str = "$iothub/twin/PATCH/properties/desired/";

/// The meaning of a topic of the hub.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TwinTopic {
    /// The response to a request; `request_id` is `None` if no request of this client has the id.
    Response { status: u16, request_id: Option<u64>, version: Option<i64> },
    /// The desired properties were changed.
    DesiredChange,
}

/// Returns the topic on which to ask for the twin.
pub(crate) fn get(request_id: u64) -> String {
    format!("$iothub/twin/GET/?$rid={request_id:x}")
}

/// Returns the topic on which to patch the reported properties; with `expected`, only if they have that version.
pub(crate) fn report(request_id: u64, expected: Option<i64>) -> String {
    let version = expected.map(|version| format!("&$version={version}")).unwrap_or_default();
    format!("$iothub/twin/PATCH/properties/reported/?$rid={request_id:x}{version}")
}

/// Returns the meaning of a topic of the hub, or `None` if it is not about the twin.
pub(crate) fn read(topic: &str) -> Option<TwinTopic> {
    if topic.starts_with(DESIRED) {
        return Some(TwinTopic::DesiredChange);
    }
    let (status, bag) = topic.strip_prefix(RESPONSES)?.split_once('/')?;
    let (mut request_id, mut version) = (None, None);
    for (name, value) in property_bag::pairs(bag) {
        match &*name {
            "$rid" => request_id = u64::from_str_radix(&value, 16).ok(),
            "$version" => version = value.parse().ok(),
            _ => {}
        }
    }
    Some(TwinTopic::Response { status: status.parse().ok()?, request_id, version })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_as_the_documents_show_them() {
        assert_eq!(get(0x1a), "$iothub/twin/GET/?$rid=1a");
        assert_eq!(report(0x1a, None), "$iothub/twin/PATCH/properties/reported/?$rid=1a");
        assert_eq!(report(1, Some(7)), "$iothub/twin/PATCH/properties/reported/?$rid=1&$version=7");
    }

    #[test]
    fn answers_as_the_documents_show_them() {
        for (topic, status, request_id, version) in [
            ("$iothub/twin/res/200/?$rid=1a", 200, Some(0x1a), None),
            ("$iothub/twin/res/204/?$rid=1a&$version=6", 204, Some(0x1a), Some(6)),
            ("$iothub/twin/res/204/?$version=6&$rid=1a", 204, Some(0x1a), Some(6)),
            ("$iothub/twin/res/429/?$rid=not-ours", 429, None, None),
            ("$iothub/twin/res/400/", 400, None, None),
        ] {
            assert_eq!(read(topic), Some(TwinTopic::Response { status, request_id, version }), "{topic}");
        }
        assert_eq!(read("$iothub/twin/PATCH/properties/desired/?$version=3"), Some(TwinTopic::DesiredChange));
        for other in
            ["$iothub/twin/res/", "$iothub/twin/res/abc/?$rid=1", "devices/d1/messages/devicebound/", ""]
        {
            assert_eq!(read(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_topic_breaks_the_reader(rest in "\\PC*", request_id: u64) {
            let _read = read(&rest);
            let _read = read(&format!("$iothub/twin/res/{rest}"));
            let response = format!("$iothub/twin/res/200/?{}", get(request_id).split_once('?').unwrap().1);
            prop_assert_eq!(
                read(&response),
                Some(TwinTopic::Response { status: 200, request_id: Some(request_id), version: None })
            );
        }
    }
}
