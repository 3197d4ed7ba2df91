//! Any topic and any body as what a hub publishes to our device client.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (topic, body) = text.split_once('\n').unwrap_or((text, ""));
    iothub_mqtt_device::fuzzing::hub_message(topic, body.as_bytes());
});
