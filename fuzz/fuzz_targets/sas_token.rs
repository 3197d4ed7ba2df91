//! Any text as a SAS token: parsed or refused, and what parses reads the same again.
#![no_main]

use iothub_auth::SasToken;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(token) = SasToken::parse(text) {
        let again = SasToken::parse(token.reveal()).expect("a token that was read can be read again");
        assert_eq!((token.resource(), token.expiry(), token.policy()), (again.resource(), again.expiry(), again.policy()));
        let _scope = token.scope().covers(&["devices", "d"]);
    }
});
