//! Groups, and what is computed over them.

use iothub_query::{Query, TooManyGroups, limits};
use serde_json::{Value, json};

fn documents() -> Vec<Value> {
    vec![
        json!({"deviceId": "a", "tags": {"site": "Oslo", "line": 1, "n": 1, "t": "x", "o": {"a": 1, "b": 2}}}),
        json!({"deviceId": "b", "tags": {"site": "Oslo", "line": 1.0, "n": 2.5, "t": "w", "o": {"b": 2, "a": 1}}}),
        json!({"deviceId": "c", "tags": {"site": "Bern", "line": "1", "n": "9", "t": 5, "o": {"a": 1}}}),
        json!({"deviceId": "d", "tags": {"site": null, "line": true, "n": null}}),
        json!({"deviceId": "e"}),
    ]
}

fn rows(text: &str) -> Value {
    let documents = documents();
    Value::Array(Query::parse(text).unwrap().run(&documents).unwrap().collect())
}

#[test]
fn a_missing_value_makes_a_group_without_the_key() {
    assert_eq!(
        rows("SELECT tags.site AS site, COUNT() AS n FROM devices GROUP BY tags.site"),
        json!([{"site": "Oslo", "n": 2}, {"site": "Bern", "n": 1}, {"site": null, "n": 1}, {"n": 1}])
    );
}

#[test]
fn groups_are_told_apart_as_values_are() {
    // 1 is 1.0, and neither '1' nor true.
    assert_eq!(
        rows("SELECT tags.line, COUNT() AS n FROM devices GROUP BY tags.line"),
        json!([{"line": 1, "n": 2}, {"line": "1", "n": 1}, {"line": true, "n": 1}, {"n": 1}])
    );
    // The order of keys does not matter.
    assert_eq!(
        rows("SELECT COUNT() AS n FROM devices GROUP BY tags.o"),
        json!([{"n": 2}, {"n": 1}, {"n": 2}])
    );
}

#[test]
fn groups_of_several_paths() {
    assert_eq!(
        rows(
            "SELECT tags.line AS l, tags.site AS s FROM devices WHERE is_defined(tags.n) GROUP BY tags.site, tags.line"
        ),
        json!([{"l": 1, "s": "Oslo"}, {"l": "1", "s": "Bern"}, {"l": true, "s": null}])
    );
}

#[test]
fn sums_and_averages_are_of_numbers_extremes_of_numbers_and_strings() {
    assert_eq!(
        rows("SELECT SUM(tags.n) AS s, AVG(tags.n) AS a, MIN(tags.n) AS lo, MAX(tags.n) AS hi FROM devices"),
        json!([{"s": 3.5, "a": 1.75, "lo": 1, "hi": "9"}])
    );
    assert_eq!(
        rows("SELECT MIN(tags.t) AS lo, MAX(tags.t) AS hi, MIN(deviceId) AS first FROM devices"),
        json!([{"lo": 5, "hi": "x", "first": "a"}])
    );
}

#[test]
fn of_nothing_only_a_count_is_known() {
    let text = "SELECT COUNT() AS n, SUM(tags.x) AS s, AVG(tags.x) AS a, MIN(tags.x) AS lo, MAX(tags.o) AS hi FROM devices";
    assert_eq!(rows(text), json!([{"n": 5}]));
    assert_eq!(rows(&format!("{text} WHERE false")), json!([{"n": 0}]));
    assert_eq!(rows("SELECT COUNT() AS n FROM devices WHERE false GROUP BY tags.site"), json!([]));
}

#[test]
fn top_counts_groups() {
    assert_eq!(rows("SELECT TOP 1 COUNT() AS n FROM devices GROUP BY tags.site"), json!([{"n": 2}]));
    assert_eq!(rows("SELECT TOP 0 COUNT() AS n FROM devices"), json!([]));
}

#[test]
fn modules_can_be_counted() {
    let modules = crate::fleet::modules();
    let query = Query::parse("SELECT deviceId, COUNT() AS n FROM devices.modules GROUP BY deviceId").unwrap();
    let rows: Vec<_> = query.run(&modules).unwrap().collect();
    assert_eq!(rows, [json!({"deviceId": "edge1", "n": 2}), json!({"deviceId": "p1", "n": 1})]);
}

#[test]
fn groups_are_bounded() {
    let query = Query::parse("SELECT COUNT() AS n FROM devices GROUP BY deviceId").unwrap();
    let documents = |count: usize| (0..count).map(|id| json!({"deviceId": id}));
    let twice = documents(limits::MAX_GROUPS).chain(documents(limits::MAX_GROUPS));
    let rows = query.run(twice).unwrap();
    assert_eq!(rows.count(), limits::MAX_GROUPS);
    assert_eq!(query.run(documents(limits::MAX_GROUPS + 1)).unwrap_err(), TooManyGroups);
}
