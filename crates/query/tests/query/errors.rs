//! Texts that are no queries: where reading stops, what was expected, what was found.

use iothub_query::{Query, limits};

/// The text, the column, what was expected there and what was found.
const REFUSED: &[(&str, usize, &str, &str)] = &[
    ("", 1, "SELECT", "the end of the query"),
    ("UPDATE devices", 1, "SELECT", "`UPDATE`"),
    ("SELECT", 7, "a property, a constant, a function or `(`", "the end of the query"),
    ("SELECT * devices", 10, "FROM", "`devices`"),
    ("SELECT deviceId", 16, "`,`, AS or FROM", "the end of the query"),
    ("SELECT deviceId id FROM devices", 17, "`,`, AS or FROM", "`id`"),
    ("SELECT *, deviceId FROM devices", 9, "FROM", "`,`"),
    ("SELECT TOP * FROM devices", 12, "a number of rows after TOP", "`*`"),
    ("SELECT TOP 1.5 * FROM devices", 12, "a number of rows after TOP", "`1.5`"),
    ("SELECT TOP '1' * FROM devices", 12, "a number of rows after TOP", "`'1'`"),
    (
        "SELECT TOP 99999999999999999999 * FROM devices",
        12,
        "a number of rows after TOP",
        "`99999999999999999999`",
    ),
    ("SELECT * FROM users", 15, "devices, devices.modules or devices.jobs", "`users`"),
    ("SELECT * FROM devices.users", 23, "modules or jobs after `devices.`", "`users`"),
    ("SELECT * FROM devices d", 23, "WHERE, GROUP BY or the end of the query", "`d`"),
    ("SELECT * FROM devices ORDER BY deviceId", 23, "WHERE, GROUP BY or the end of the query", "`ORDER`"),
    ("SELECT * FROM devices WHERE", 28, "a property, a constant, a function or `(`", "the end of the query"),
    ("SELECT * FROM devices WHERE tags.a = 1 2", 40, "an operator, GROUP BY or the end of the query", "`2`"),
    (
        "SELECT * FROM devices WHERE tags.a = 1 = 2",
        40,
        "an operator, GROUP BY or the end of the query",
        "`=`",
    ),
    ("SELECT * FROM devices WHERE (tags.a = 1", 40, "an operator or `)`", "the end of the query"),
    ("SELECT * FROM devices WHERE tags.a == 1", 37, "a property, a constant, a function or `(`", "`=`"),
    (
        "SELECT * FROM devices WHERE tags.a LIKE 'x'",
        36,
        "an operator, GROUP BY or the end of the query",
        "`LIKE`",
    ),
    ("SELECT * FROM devices WHERE tags.a & 1", 36, "a name, a constant or an operator", "`&`"),
    ("SELECT * FROM devices; ", 22, "a name, a constant or an operator", "`;`"),
    // Lists.
    (
        "SELECT * FROM devices WHERE tags.a IN ('x')",
        39,
        "a list in square brackets, such as ['a', 'b']",
        "`(`",
    ),
    ("SELECT * FROM devices WHERE tags.a IN []", 40, "a constant", "`]`"),
    ("SELECT * FROM devices WHERE tags.a IN [tags.b]", 40, "a constant", "`tags`"),
    ("SELECT * FROM devices WHERE tags.a IN [1 2]", 42, "`,` or `]`", "`2`"),
    ("SELECT * FROM devices WHERE tags.a NOT 1", 40, "IN after NOT", "`1`"),
    // Functions.
    ("SELECT * FROM devices WHERE FOO(tags.a)", 29, "a function of the query language", "`FOO`"),
    ("SELECT * FROM devices WHERE COUNT() > 1", 29, "a function of the query language", "`COUNT`"),
    ("SELECT * FROM devices WHERE is_defined()", 29, "1 argument for IS_DEFINED", "0"),
    ("SELECT * FROM devices WHERE STARTSWITH(deviceId)", 29, "2 arguments for STARTSWITH", "1"),
    ("SELECT * FROM devices WHERE CONCAT('a') = 'a'", 29, "2 or more arguments for CONCAT", "1"),
    ("SELECT * FROM devices WHERE SUBSTRING('a') = 'a'", 29, "2 to 3 arguments for SUBSTRING", "1"),
    (
        "SELECT * FROM devices WHERE STARTSWITH(deviceId, )",
        50,
        "a property, a constant, a function or `(`",
        "`)`",
    ),
    ("SELECT * FROM devices WHERE STARTSWITH(deviceId 'a')", 49, "an operator, `,` or `)`", "`'a'`"),
    // Constants.
    (
        "SELECT * FROM devices WHERE tags.a = 'x",
        38,
        "' at the end of the string that begins here",
        "the end of the query",
    ),
    (
        r"SELECT * FROM devices WHERE tags.a = 'x\n'",
        40,
        r#"one of the escapes \', \", \\ and \uXXXX"#,
        r"`\n`",
    ),
    (
        r"SELECT * FROM devices WHERE tags.a = '\ud83d'",
        39,
        r#"one of the escapes \', \", \\ and \uXXXX"#,
        r"`\ud83d`",
    ),
    (
        "SELECT * FROM devices WHERE tags.a = 'it''s'",
        42,
        "an operator, GROUP BY or the end of the query",
        "`'s'`",
    ),
    ("SELECT * FROM devices WHERE tags.a = 1x", 38, "a number", "`1x`"),
    ("SELECT * FROM devices WHERE tags.a = 0xg", 38, "a number", "`0xg`"),
    ("SELECT * FROM devices WHERE tags.a = 0x11112222333344445", 38, "a number", "`0x11112222333344445`"),
    ("SELECT * FROM devices WHERE tags.a = 1e999", 38, "a number", "`1e999`"),
    // Lists and groups that do not go together.
    ("SELECT COUNT() FROM devices", 16, "AS and a name for this value", "`FROM`"),
    ("SELECT 1 FROM devices", 10, "AS and a name for this value", "`FROM`"),
    ("SELECT parentScopes[0] FROM devices", 24, "AS and a name for this value", "`FROM`"),
    ("SELECT COUNT(tags.a) AS n FROM devices", 14, "`)`: COUNT counts rows and has no argument", "`tags`"),
    ("SELECT AVG(tags.a + 1) AS n FROM devices", 19, "`)` after the property", "`+`"),
    ("SELECT tags.a, tags.b.a FROM devices", 16, "a key that no other item has (AS name)", "a second `a`"),
    (
        "SELECT deviceId, COUNT() AS n FROM devices",
        8,
        "an aggregate, or a property named in GROUP BY",
        "`deviceId`",
    ),
    ("SELECT * FROM devices GROUP BY tags.a", 8, "grouped properties and aggregates", "`*`"),
    ("SELECT tags.a FROM devices GROUP tags.a", 34, "BY after GROUP", "`tags`"),
    ("SELECT tags.a FROM devices GROUP BY 1", 37, NAME, "`1`"),
    ("SELECT tags.a FROM devices GROUP BY tags.a HAVING 1", 44, "`,` or the end of the query", "`HAVING`"),
    // Jobs.
    ("SELECT jobId FROM devices.jobs", 8, "`*`, all that devices.jobs can select", "`jobId`"),
    ("SELECT COUNT() AS n FROM devices.jobs", 8, "`*`, all that devices.jobs can select", "`COUNT`"),
    (
        "SELECT * FROM devices.jobs WHERE devices.tags.a = 1",
        34,
        "a property of the job (a query over devices.jobs cannot read twins)",
        "`devices`",
    ),
    // Names.
    ("SELECT * FROM devices WHERE tags.group = 'x'", 34, NAME, "`group`"),
    (
        "SELECT * FROM devices WHERE top = 1",
        29,
        "a property, a constant, a function or `(` (a property with this name is written [[name]])",
        "`top`",
    ),
    ("SELECT * FROM devices WHERE tags.1 = 'x'", 34, NAME, "`1`"),
    ("SELECT * FROM devices WHERE tags. = 'x'", 35, NAME, "`=`"),
    ("SELECT * FROM devices WHERE tags.[[a = 'x'", 34, "`]]` after the escaped name", "the end of the query"),
    ("SELECT * FROM devices WHERE tags.[[]] = 'x'", 34, "a name between `[[` and `]]`", "`[[]]`"),
    ("SELECT * FROM devices WHERE tags.a[b] = 'x'", 36, "a position in an array, such as 0", "`b`"),
    ("SELECT * FROM devices WHERE tags.a[-1] = 'x'", 36, "a position in an array, such as 0", "`-`"),
    (
        "SELECT * FROM devices WHERE devices = 1",
        29,
        "a property after the name of the collection",
        "`devices`",
    ),
    ("SELECT tags.a AS from FROM devices", 18, NAME, "`from`"),
];

const NAME: &str =
    "a name, or [[name]] for one that is a word of the language or has more than letters, digits, _ and $";

#[test]
fn errors_point_at_the_place() {
    for (text, column, expected, found) in REFUSED {
        let error = Query::parse(text).expect_err(text);
        let said =
            (error.position.line, error.position.column, error.expected.as_str(), error.found.as_str());
        assert_eq!(said, (1, *column, *expected, *found), "{text}");
        assert_eq!(error.to_string(), format!("line 1, column {column}: expected {expected}, found {found}"));
    }
}

#[test]
fn places_count_lines_characters_and_bytes() {
    let error = Query::parse("SELECT *\nFROM devices\r\nWHERE tags.ø = 'ø' AND").unwrap_err();
    assert_eq!((error.position.line, error.position.column), (3, 23));
    assert_eq!(error.position.byte, "SELECT *\nFROM devices\r\nWHERE tags.ø = 'ø' AND".len());
}

#[test]
fn an_error_stays_on_one_line_and_short() {
    let error =
        Query::parse(&format!("SELECT * FROM '{}\n{}'", "a".repeat(10), "b".repeat(5000))).unwrap_err();
    assert_eq!(error.found, format!("`'aaaaaaaaaa {}…`", "b".repeat(28)));
}

/// A query of exactly so many characters.
fn of_length(characters: usize) -> String {
    let (start, end) = ("SELECT * FROM devices WHERE tags.site = '", "'");
    format!("{start}{}{end}", "ø".repeat(characters - start.len() - end.len()))
}

#[test]
fn length_is_counted_in_characters() {
    assert!(Query::parse(&of_length(limits::MAX_CHARACTERS)).is_ok());
    let error = Query::parse(&of_length(limits::MAX_CHARACTERS + 1)).unwrap_err();
    assert_eq!(error.to_string(), "line 1, column 8193: expected at most 8192 characters, found more");
    let endless = "x".repeat(10_000_000);
    assert_eq!(Query::parse(&endless).unwrap_err().position.byte, 8192);
}

#[test]
fn lists_are_bounded() {
    let list = |count| format!("SELECT * FROM devices WHERE tags.a IN [{}1]", "1,".repeat(count - 1));
    assert!(Query::parse(&list(limits::MAX_LIST_ITEMS)).is_ok());
    let error = Query::parse(&list(limits::MAX_LIST_ITEMS + 1)).unwrap_err();
    assert_eq!(error.expected, "at most 1000 constants in a list");
}

/// Runs on half the stack that a thread has by default, which is enough without optimization too.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(1024 * 1024).spawn(work).unwrap().join().unwrap();
}

#[test]
fn depth_is_bounded_for_everything_that_nests() {
    for (open, close) in [
        ("(", ")"),
        ("NOT ", ""),
        ("- ", ""),
        ("(NOT ", ")"),
        ("LOWER(", ")"),
        ("1 + 1 * -(tags.b = 1 AND tags.b < (", "))"),
        ("tags.b = 1 OR tags.b = 1 AND NOT 1 < 1 + 1 * -(", ")"),
        ("CONCAT('a', -", ")"),
    ] {
        on_a_small_stack(move || {
            let nested = |times: usize| {
                format!("SELECT * FROM devices WHERE {}tags.a{}", open.repeat(times), close.repeat(times))
            };
            // Whatever is taken can be printed, evaluated, copied, compared and dropped.
            let deepest = (1..=limits::MAX_DEPTH).rev().find_map(|times| Query::parse(&nested(times)).ok());
            let deepest = deepest.unwrap();
            assert_eq!(Query::parse(&deepest.to_string()).as_ref(), Ok(&deepest), "{open}");
            assert!(!deepest.clone().matches(&serde_json::json!({"tags": {"a": {}}})));

            let error = Query::parse(&nested(limits::MAX_DEPTH + 1)).unwrap_err();
            assert!(error.expected.starts_with("at most 64 nested"), "{error}");
            // As many as a text can hold.
            let most = (limits::MAX_CHARACTERS - 40) / (open.len() + close.len());
            assert!(Query::parse(&nested(most)).unwrap_err().expected.starts_with("at most 64 nested"));
        });
    }
}

#[test]
fn long_chains_are_not_deep() {
    for (first, link) in
        [("tags.a", " + 1"), ("tags.a", " * 2"), ("tags.a", " OR tags.a"), ("tags.a", " AND tags.a")]
    {
        on_a_small_stack(move || {
            let links = link.repeat((limits::MAX_CHARACTERS - 40) / link.len());
            let query = Query::parse(&format!("SELECT * FROM devices WHERE {first}{links}")).unwrap();
            assert_eq!(Query::parse(&query.to_string()).unwrap(), query);
            assert!(!query.matches(&serde_json::json!({"tags": {"a": 1}})));
        });
    }
}
