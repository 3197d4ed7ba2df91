//! Any text as the filter by which a reader of events says where it begins.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| iothub_local_hub::fuzzing::amqp_selector(text));
