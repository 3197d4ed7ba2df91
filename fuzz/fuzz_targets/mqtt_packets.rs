//! Any bytes as MQTT packets, before and after the CONNECT.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| iothub_local_hub::fuzzing::mqtt_packets(bytes));
