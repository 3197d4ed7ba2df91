//! These functions read members of the JSON objects that clients send; every route with a JSON body uses them.
//!
//! Names and enumerated words are matched without regard to case, and `null` is as good as absent: clients send
//! back the objects that they read, in their own spelling. A number or a boolean may also be given as its text, as
//! the service takes it: the Azure CLI sends `"30"`. Members that nothing reads are listed by
//! [`PassedOver`](super::passed_over::PassedOver).

use iothub_models::{ErrorCode, NotJson};
use serde_json::{Map, Value};

use crate::core::refusal::HubError;

pub(super) type Parsed<T> = Result<T, HubError>;

/// The object that is the whole body.
pub(super) fn root(body: &[u8]) -> Parsed<Map<String, Value>> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(format_error("the body is not a JSON object".to_owned())),
        Err(error) => Err(format_error(format!("the body {}", NotJson::of(body, &error)))),
    }
}

/// The member of this name, or else of one that differs in case only; it may be `null`.
pub(super) fn member<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    object
        .get(name)
        .or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// The member that [`member`] returns, unless it is `null`.
pub(super) fn field<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    member(object, name).filter(|value| !value.is_null())
}

pub(super) fn text<'v>(object: &'v Map<String, Value>, name: &str) -> Parsed<Option<&'v str>> {
    match field(object, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong_type(name, "text")),
    }
}

/// Returns the truth value that this value is, or that its text spells in any case.
pub(super) fn boolean(name: &str, value: &Value) -> Parsed<bool> {
    let spelled = |text: &str| {
        let text = text.trim();
        [("true", true), ("false", false)].into_iter().find(|(word, _)| word.eq_ignore_ascii_case(text))
    };
    match value {
        Value::Bool(value) => Ok(*value),
        Value::String(text) => match spelled(text) {
            Some((_, value)) => Ok(value),
            None => Err(wrong_type(name, "true or false")),
        },
        _ => Err(wrong_type(name, "true or false")),
    }
}

/// Returns the whole number that this JSON text is, or that the JSON string spells: `30` or `"30"`. The text is
/// read as it was written, since numbers beyond 64 bits would not survive as a [`Value`].
pub(super) fn whole_number(name: &str, json: &str) -> Parsed<i128> {
    let number = match serde_json::from_str::<String>(json) {
        Ok(text) => whole_number_in(&text),
        Err(_) => json.trim().parse().ok(),
    };
    number.ok_or_else(|| wrong_type(name, "a whole number"))
}

/// Returns the whole number that a text spells, in a JSON string, a header or a query.
pub(super) fn whole_number_in(text: &str) -> Option<i128> {
    text.trim().parse().ok()
}

pub(super) fn object<'v>(
    parent: &'v Map<String, Value>,
    name: &str,
) -> Parsed<Option<&'v Map<String, Value>>> {
    match field(parent, name) {
        None => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(wrong_type(name, "an object")),
    }
}

/// Returns the texts of an array; `null` and an absent member are an empty one.
pub(super) fn texts(object: &Map<String, Value>, name: &str) -> Parsed<Vec<String>> {
    let expected = || wrong_type(name, "an array of texts");
    match field(object, name) {
        None => Ok(Vec::new()),
        Some(Value::Array(items)) => {
            items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(expected)).collect()
        }
        Some(_) => Err(expected()),
    }
}

/// Refuses a member that the service keeps and this hub does not, if it says anything.
pub(super) fn not_kept(object: &Map<String, Value>, name: &str) -> Parsed<()> {
    match field(object, name) {
        None => Ok(()),
        Some(Value::Object(members)) if members.is_empty() => Ok(()),
        Some(_) => Err(HubError::new(
            ErrorCode::ArgumentInvalid,
            format!("{name}: this hub does not keep it yet; leave it out"),
        )),
    }
}

pub(super) fn one_of<T: Copy>(name: &str, word: &str, known: &[(&str, T)]) -> Parsed<T> {
    match known.iter().find(|(text, _)| text.eq_ignore_ascii_case(word)) {
        Some((_, value)) => Ok(*value),
        None => {
            let words: Vec<_> = known.iter().map(|(text, _)| *text).collect();
            Err(HubError::new(
                ErrorCode::ArgumentInvalid,
                format!("{name}: expected is {}", words.join(", ")),
            ))
        }
    }
}

pub(super) fn wrong_type(name: &str, expected: &str) -> HubError {
    format_error(format!("{name}: expected is {expected}"))
}

fn format_error(text: String) -> HubError {
    HubError::new(ErrorCode::IotHubFormatError, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_body_that_is_no_object_is_called_what_it_is() {
        for (body, expected) in [
            ("", "the body is empty"),
            (" \n", "the body is empty"),
            ("\u{feff}{}", "the body begins with a byte order mark"),
            ("{x", "the body is not JSON: line 1, column 2"),
            ("[]", "the body is not a JSON object"),
        ] {
            let refused = root(body.as_bytes()).unwrap_err();
            assert_eq!(refused.code, ErrorCode::IotHubFormatError);
            assert!(refused.text.starts_with(expected), "{}", refused.text);
        }
    }

    #[test]
    fn numbers_and_booleans_are_read_from_their_text_too() {
        for (json, expected) in [
            ("30", Some(30)),
            ("\"30\"", Some(30)),
            ("\" 30 \"", Some(30)),
            ("-1", Some(-1)),
            ("\"-1\"", Some(-1)),
            ("99999999999999999999", Some(99_999_999_999_999_999_999)),
            ("\"99999999999999999999\"", Some(99_999_999_999_999_999_999)),
            ("30.0", None),
            ("\"30.5\"", None),
            ("\"3e1\"", None),
            ("\"\"", None),
            ("\"thirty\"", None),
            ("\"\\\"30\\\"\"", None),
            ("true", None),
            ("[30]", None),
            ("{}", None),
        ] {
            assert_eq!(whole_number("n", json).ok(), expected, "{json}");
        }
        for (value, expected) in [
            (json!(true), Some(true)),
            (json!(false), Some(false)),
            (json!("true"), Some(true)),
            (json!(" False "), Some(false)),
            (json!("TRUE"), Some(true)),
            (json!("yes"), None),
            (json!(""), None),
            (json!("1"), None),
            (json!(1), None),
            (json!([true]), None),
        ] {
            assert_eq!(boolean("b", &value).ok(), expected, "{value}");
        }
        assert_eq!(boolean("b", &json!("yes")).unwrap_err().code, ErrorCode::IotHubFormatError);
        assert_eq!(whole_number("n", "[]").unwrap_err().code, ErrorCode::IotHubFormatError);
    }
}
