//! Gives any text to our back end's client over HTTPS as the answer of a hub: a status, three headers, a body.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &str)| {
    let (status, text) = input;
    let (headers, body) = text.split_once("\n\n").unwrap_or(("", text));
    iothub_rest_service::fuzzing::hub_response(status, headers, body.as_bytes());
});
