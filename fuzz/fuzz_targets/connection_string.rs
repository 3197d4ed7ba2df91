//! Any text as a connection string: parsed or refused with an error that shows no value.
#![no_main]

use iothub_auth::{DeviceConnectionString, EventHubsConnectionString, ServiceConnectionString};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(device) = text.parse::<DeviceConnectionString>() {
        let again: DeviceConnectionString = device.reveal().parse().expect("what was read is written readably");
        assert_eq!(device.device_id, again.device_id);
        assert_eq!(device.address, again.address);
    }
    if let Ok(service) = text.parse::<ServiceConnectionString>() {
        let again: ServiceConnectionString = service.reveal().parse().expect("what was read is written readably");
        assert_eq!(service.address, again.address);
    }
    let _events = text.parse::<EventHubsConnectionString>();
});
