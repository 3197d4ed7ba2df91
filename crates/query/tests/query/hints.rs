//! What an index can know of a condition. That hints never lose a document is checked on generated
//! conditions inside the crate.

use iothub_query::{Constraint, Hint, Path, Query};
use serde_json::{Value, json};

fn hints(condition: &str) -> Vec<Hint> {
    Query::parse(&format!("SELECT * FROM devices WHERE {condition}")).unwrap().index_hints()
}

fn id(constraint: Constraint) -> Hint {
    Hint { path: Path::root("deviceId"), constraint }
}

fn equal(value: impl Into<Value>) -> Constraint {
    Constraint::Eq(value.into())
}

fn any_of(values: &[&str]) -> Constraint {
    Constraint::In(values.iter().map(|value| json!(value)).collect())
}

#[test]
fn conjuncts_that_an_index_can_answer_give_hints() {
    let site = |constraint| Hint { path: Path::root("tags").join("site"), constraint };
    for (condition, expected) in [
        ("deviceId = 'a'", vec![id(equal("a"))]),
        ("'a' = devices.DeviceId", vec![id(equal("a"))]),
        ("deviceId IN ['a', 'b']", vec![id(any_of(&["a", "b"]))]),
        ("deviceId IN ['a']", vec![id(equal("a"))]),
        ("id = 'a' OR deviceId IN ['b', 'c']", vec![id(any_of(&["a", "b", "c"]))]),
        ("STARTSWITH(deviceId, 'p-')", vec![id(Constraint::Prefix("p-".to_owned()))]),
        ("deviceId = 'a' AND (tags.site = 'b' AND tags.x > 1)", vec![id(equal("a")), site(equal("b"))]),
        ("tags.site", vec![site(equal(true))]),
        ("NOT tags.site", vec![site(equal(false))]),
        ("tags.site = 1.0", vec![site(equal(1))]),
        ("tags.site = null", vec![site(equal(Value::Null))]),
        ("tags.site = undefined", vec![site(Constraint::In(vec![]))]),
        ("tags.site IN [1, undefined]", vec![site(equal(1))]),
    ] {
        assert_eq!(hints(condition), expected, "{condition}");
    }
}

#[test]
fn what_an_index_cannot_answer_gives_none() {
    for condition in [
        "deviceId != 'a'",
        "NOT (deviceId = 'a')",
        "deviceId NIN ['a']",
        "deviceId = 'a' OR tags.site = 'b'",
        "deviceId = 'a' OR tags.x > 1",
        "deviceId = tags.name",
        "deviceId > 'a'",
        "NOT STARTSWITH(deviceId, 'a')",
        "STARTSWITH('abc', deviceId)",
        "ENDSWITH(deviceId, 'a')",
        "LOWER(deviceId) = 'a'",
        "true",
    ] {
        assert_eq!(hints(condition), [], "{condition}");
    }
    assert_eq!(Query::parse("SELECT * FROM devices").unwrap().index_hints(), []);
}

#[test]
fn constraints_admit_what_equals() {
    assert!(equal(1).admits(Some(&json!(1.0))));
    assert!(!equal(1).admits(Some(&json!("1"))));
    assert!(!equal(1).admits(None));
    assert!(equal(Value::Null).admits(Some(&Value::Null)));
    assert!(any_of(&["a", "b"]).admits(Some(&json!("b"))));
    assert!(!any_of(&[]).admits(Some(&json!("b"))));
    assert!(Constraint::Prefix("ab".to_owned()).admits(Some(&json!("abc"))));
    assert!(!Constraint::Prefix("ab".to_owned()).admits(Some(&json!("a"))));
}
