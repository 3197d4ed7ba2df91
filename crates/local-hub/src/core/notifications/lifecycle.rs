//! The body of a device lifecycle notification: the twin that was created or deleted.
//!
//! Source: *Azure IoT Hub non-telemetry event schemas*, "Device lifecycle events".

use iothub_models::{Identity, TwinSection};
use serde_json::{Value, json};

use super::twin_change::whole;
use crate::core::twins::TwinState;

/// The time of a section that nobody has written, in these notifications.
const NEVER: &str = "0001-01-01T00:00:00Z";

pub(super) fn body(about: &Identity, twin: &TwinState) -> Value {
    let mut body = whole(about, twin);
    let properties = &twin.document.properties;
    for (name, section) in [("desired", &properties.desired), ("reported", &properties.reported)] {
        if is_untouched(section) {
            body["properties"][name]["$metadata"] = json!({"$lastUpdated": NEVER});
        }
    }
    body
}

/// The first version is that of a new twin.
const fn is_untouched(section: &TwinSection) -> bool {
    section.version == 1
}
