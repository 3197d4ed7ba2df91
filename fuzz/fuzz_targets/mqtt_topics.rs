//! Any text as what an MQTT client chooses: client id, user name, topics, filters, property bags; and
//! as the addresses an AMQP client chooses.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    iothub_local_hub::fuzzing::mqtt_text(text);
    iothub_local_hub::fuzzing::amqp_address(text);
});
