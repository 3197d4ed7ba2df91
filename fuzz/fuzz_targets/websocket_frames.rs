//! Any bytes as the frames of a WebSocket client. The first byte says in which pieces they are read.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| iothub_local_hub::fuzzing::websocket_frames(bytes));
