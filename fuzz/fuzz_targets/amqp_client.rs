//! Gives any bytes to our back end's client over AMQP, as if a hub had sent them: frames, events, answers, batches of
//! feedback.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| iothub_amqp_service::fuzzing::hub_bytes(bytes));
