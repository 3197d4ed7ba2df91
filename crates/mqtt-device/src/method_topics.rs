//! This file reads the MQTT topics of calls of direct methods, and writes those of the device's responses.
//!
//! `driver` calls it for each message of the hub. A call carries an id, which its response repeats; names and ids
//! stand in the topics as they are. This is the crate's own reading of the public documents, shared with no hub.
//!
//! Source: *Communicate with an IoT hub using the MQTT protocol*, "Respond to a direct method".

/// The filter to subscribe to for calls.
pub(crate) const CALLS_FILTER: &str = "$iothub/methods/POST/#";

const CALLS: &str = "$iothub/methods/POST/";
const REQUEST_ID: &str = "$rid=";

/// A call, as its topic tells it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MethodTopic<'a> {
    /// Not decoded and not checked.
    pub(crate) method: &'a str,
    /// The hub's id of the call, which the response must repeat exactly.
    pub(crate) request_id: &'a str,
}

/// Returns the call that a topic of the hub stands for, or `None` if it is not a call that can get a response.
pub(crate) fn read(topic: &str) -> Option<MethodTopic<'_>> {
    let (method, query) = topic.strip_prefix(CALLS)?.split_once('/')?;
    let query = query.strip_prefix('?').unwrap_or(query);
    let request_id = query.split('&').find_map(|pair| pair.strip_prefix(REQUEST_ID))?;
    // The response repeats the id in a topic, where MQTT 3.1.1 allows neither wildcards nor U+0000.
    let can_be_repeated = !request_id.is_empty() && !request_id.contains(['+', '#', '\0']);
    can_be_repeated.then_some(MethodTopic { method, request_id })
}

/// Returns the topic on which to respond to a call.
pub(crate) fn response(status: i32, request_id: &str) -> String {
    format!("$iothub/methods/res/{status}/?{REQUEST_ID}{request_id}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn calls_as_the_documents_show_them() {
        for (topic, method, request_id) in [
            ("$iothub/methods/POST/reboot/?$rid=1a", "reboot", "1a"),
            ("$iothub/methods/POST/thermostat1*getMaxMinReport/?$rid=7", "thermostat1*getMaxMinReport", "7"),
            ("$iothub/methods/POST/a%20b/?$rid=%41", "a%20b", "%41"),
            ("$iothub/methods/POST/reboot/$rid=1", "reboot", "1"),
            ("$iothub/methods/POST/reboot/?other=2&$rid=1&more=3", "reboot", "1"),
            ("$iothub/methods/POST//?$rid=1", "", "1"),
        ] {
            assert_eq!(read(topic), Some(MethodTopic { method, request_id }), "{topic}");
        }
        for other in [
            "$iothub/methods/POST/reboot",
            "$iothub/methods/POST/reboot/",
            "$iothub/methods/POST/reboot/?$rid=",
            "$iothub/methods/POST/reboot/?$rid=a+b",
            "$iothub/methods/POST/reboot/?$rid=#",
            "$iothub/methods/POST/reboot/?$rid=a\0",
            "$iothub/methods/POST/reboot/?rid=1",
            "$iothub/methods/res/200/?$rid=1",
            "$iothub/twin/res/200/?$rid=1",
            "",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn answers_as_the_documents_show_them() {
        assert_eq!(response(200, "1a"), "$iothub/methods/res/200/?$rid=1a");
        assert_eq!(response(-7, "%41"), "$iothub/methods/res/-7/?$rid=%41");
    }

    proptest! {
        #[test]
        fn no_topic_breaks_the_reader(rest in "\\PC*") {
            let _read = read(&rest);
            let _read = read(&format!("$iothub/methods/POST/{rest}"));
        }
    }
}
