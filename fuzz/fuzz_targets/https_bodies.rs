//! Gives any bytes to the hub as the body of an HTTPS request: identities, twins, batches of events, calls, digital
//! twins. A twin that was written can be read.
#![no_main]

use iothub_models::DigitalTwinPatch;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    iothub_local_hub::fuzzing::https_body(body);
    if let Ok(patch) = DigitalTwinPatch::parse(body) {
        let _change = patch.desired_change(&iothub_models::TwinProperties::default());
    }
});
