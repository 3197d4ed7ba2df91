//! Gives any bytes to the hub as the certificates of a device: in the handshake, in the checks of both X.509 types, and as
//! the text of a CA file. The bytes are one certificate, and also a chain, with a length before each certificate.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    iothub_local_hub::fuzzing::device_certificates(bytes);
});
