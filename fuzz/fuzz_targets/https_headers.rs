//! Any text as the headers of messages over HTTPS, both ways, and as where the next page of a query begins.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    iothub_local_hub::fuzzing::https_headers(text);
    iothub_local_hub::fuzzing::continuation(text);
});
