//! Any text as the condition of a route over any body: parsed or refused, and what parses has an answer.
#![no_main]

use std::borrow::Cow;

use iothub_query::{RoutedMessage, Routing, RoutingCondition};
use libfuzzer_sys::fuzz_target;

struct Message<'m>(&'m [u8]);

impl RoutedMessage for Message<'_> {
    fn property(&self, name: &str) -> Option<Cow<'_, str>> {
        name.eq_ignore_ascii_case("level").then_some(Cow::Borrowed("2"))
    }

    fn system_property(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "contentType" => Some(Cow::Borrowed("application/json")),
            "contentEncoding" => Some(Cow::Borrowed("utf-8")),
            _ => None,
        }
    }

    fn body(&self) -> &[u8] {
        self.0
    }

    fn twin(&self) -> Option<serde_json::Value> {
        None
    }
}

fuzz_target!(|data: &str| {
    let (text, body) = data.split_once('\0').unwrap_or((data, "{}"));
    if let Ok(condition) = RoutingCondition::parse(text) {
        assert_eq!(condition.to_string(), text);
        let _answer = condition.matches(&Routing::of(&Message(body.as_bytes())));
    }
});
