//! Any bytes through the scanner that stands before the decoder: it never reads past them.
#![no_main]

use iothub_amqp_server::codec::scan_value;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(length) = scan_value(bytes) {
        assert!(length <= bytes.len());
    }
});
