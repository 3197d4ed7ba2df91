//! Any text as a query: parsed or refused, and what parses prints as a query that means the same.
#![no_main]

use iothub_query::{Query, limits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(query) = Query::parse(text) {
        let printed = query.to_string();
        if printed.chars().count() <= limits::MAX_CHARACTERS {
            let again = Query::parse(&printed).expect("what is printed can be read");
            assert_eq!(again.to_string(), printed);
        }
        let _hints = query.index_hints();
    }
});
