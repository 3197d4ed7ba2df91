//! Gives any topic and any body to our device client, as if a hub had published them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (topic, body) = text.split_once('\n').unwrap_or((text, ""));
    iothub_mqtt_device::fuzzing::hub_message(topic, body.as_bytes());
});
