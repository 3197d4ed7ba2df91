//! Gives any text to the hub as the files that it reads when it starts: its state, and the program's configuration.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The program's own files, since a program has no library that could open them.
#[allow(dead_code)]
#[path = "../../crates/local-hub/src/bin/local-hub/places.rs"]
mod places;
#[allow(dead_code)]
#[path = "../../crates/local-hub/src/bin/local-hub/settings.rs"]
mod settings;

fuzz_target!(|text: &str| {
    iothub_local_hub::fuzzing::state_file(text.as_bytes());
    if let Ok(settings) = toml::from_str::<settings::Settings>(text) {
        let _builder = settings.or(settings::Settings::default()).builder();
    }
});
