//! Gives any text to the hub as the headers of messages over HTTPS, both ways, and as the continuation token of a
//! query.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    iothub_local_hub::fuzzing::https_headers(text);
    iothub_local_hub::fuzzing::continuation(text);
});
