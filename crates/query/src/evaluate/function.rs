//! What each function computes. An argument that is undefined, or of a type the function has no meaning
//! for, gives `undefined`; only the questions about types (`IS_...`) always have an answer.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

use super::{Computed, evaluate};
use crate::expression::Expression;
use crate::function::Function;
use crate::row::Row;

/// The parser has checked the number of arguments.
pub(super) fn call<'a, R: Row + ?Sized>(
    function: Function,
    arguments: &'a [Expression],
    row: &'a R,
) -> Computed<'a> {
    let result = match arguments {
        [x] => of_one(function, evaluate(x, row)),
        [x, y] => of_two(function, &evaluate(x, row), &evaluate(y, row)),
        [x, y, z] if function == Function::Substring => {
            substring(&evaluate(x, row), &evaluate(y, row), Some(&evaluate(z, row)))
        }
        many if function == Function::Concat => concat(many, row),
        _ => None,
    };
    result.unwrap_or(Computed::Undefined)
}

fn of_one(function: Function, x: Computed<'_>) -> Option<Computed<'_>> {
    use Computed::{Bool, Composite, Null, Number, Text, Undefined};
    let answer = match function {
        Function::IsDefined => !matches!(x, Undefined),
        Function::IsBool => matches!(x, Bool(_)),
        Function::IsNumber => matches!(x, Number(_)),
        Function::IsString => matches!(x, Text(_)),
        Function::IsNull => matches!(x, Null),
        Function::IsObject => matches!(&x, Composite(value) if value.is_object()),
        Function::IsArray => matches!(&x, Composite(value) if value.is_array()),
        Function::IsPrimitive => !matches!(x, Undefined | Composite(_)),
        Function::Lower => return Some(text(x.text()?.to_lowercase())),
        Function::Upper => return Some(text(x.text()?.to_uppercase())),
        Function::Length => return Some(count(x.text()?)),
        Function::AsNumber => return as_number(&x),
        function => return mathematics(function, x.number()?),
    };
    Some(Bool(answer))
}

fn mathematics<'a>(function: Function, x: f64) -> Option<Computed<'a>> {
    let result = match function {
        Function::Abs => x.abs(),
        Function::Exp => x.exp(),
        Function::Square => x * x,
        Function::Ceiling => x.ceil(),
        Function::Floor => x.floor(),
        Function::Sqrt => x.sqrt(),
        // Zero has no sign here.
        Function::Sign => match x.partial_cmp(&0.0)? {
            Ordering::Less => -1.0,
            Ordering::Equal => 0.0,
            Ordering::Greater => 1.0,
        },
        _ => return None,
    };
    Some(Computed::finite(Some(result)))
}

fn of_two<'a>(function: Function, x: &Computed<'_>, y: &Computed<'_>) -> Option<Computed<'a>> {
    let answer = match function {
        Function::StartsWith => x.text()?.starts_with(y.text()?),
        Function::EndsWith => x.text()?.ends_with(y.text()?),
        Function::Contains => x.text()?.contains(y.text()?),
        Function::ArrayContains => return array_contains(x, y),
        Function::IndexOf => {
            let (x, y) = (x.text()?, y.text()?);
            return Some(x.find(y).map_or(Computed::Number(-1.0), |byte| count(&x[..byte])));
        }
        Function::Substring => return substring(x, y, None),
        Function::Concat => return Some(text([x.text()?, y.text()?].concat())),
        Function::Power => return Some(Computed::finite(Some(x.number()?.powf(y.number()?)))),
        _ => return None,
    };
    Some(Computed::Bool(answer))
}

/// Elements are compared as `=` compares; one that cannot be compared is not the one looked for.
fn array_contains<'a>(array: &Computed<'_>, wanted: &Computed<'_>) -> Option<Computed<'a>> {
    let Computed::Composite(array) = array else { return None };
    let elements = array.as_array()?;
    if matches!(wanted, Computed::Undefined | Computed::Composite(_)) {
        return None;
    }
    let is_wanted = |element: &Value| Computed::from(element).order(wanted) == Some(Ordering::Equal);
    Some(Computed::Bool(elements.iter().any(is_wanted)))
}

/// From a position, counted from 0, so many characters or to the end. What lies beyond the end is empty.
fn substring<'a>(
    whole: &Computed<'_>,
    start: &Computed<'_>,
    length: Option<&Computed<'_>>,
) -> Option<Computed<'a>> {
    let start = position(start)?;
    let length = length.map_or(Some(usize::MAX), position)?;
    Some(text(whole.text()?.chars().skip(start).take(length).collect()))
}

/// A number that can count characters.
fn position(number: &Computed<'_>) -> Option<usize> {
    let value = number.number().filter(|value| *value >= 0.0 && value.fract() == 0.0)?;
    // Not negative, without a fraction, and saturating.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Some(value as usize)
}

fn concat<'a, R: Row + ?Sized>(parts: &'a [Expression], row: &'a R) -> Option<Computed<'a>> {
    let mut whole = String::new();
    for part in parts {
        whole.push_str(evaluate(part, row).text()?);
    }
    Some(text(whole))
}

/// Text that is a number as the language writes it in decimal; a number stays what it is.
fn as_number<'a>(x: &Computed<'_>) -> Option<Computed<'a>> {
    if let Computed::Number(value) = x {
        return Some(Computed::Number(*value));
    }
    // Rust's own reading also takes `inf` and `nan`, which begin with letters.
    let digits = x.text()?;
    let numeric = digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E'));
    Some(Computed::finite(digits.parse().ok().filter(|_| numeric)))
}

/// How many characters (Unicode scalar values).
fn count<'a>(text: &str) -> Computed<'a> {
    // Documents are far smaller than 2^52 characters.
    #[expect(clippy::cast_precision_loss)]
    Computed::Number(text.chars().count() as f64)
}

fn text<'a>(text: String) -> Computed<'a> {
    Computed::Text(Cow::Owned(text))
}
