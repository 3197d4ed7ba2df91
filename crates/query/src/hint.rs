//! What an index may know of a condition: equalities and prefixes that every selected document
//! satisfies. Sound and incomplete: a document that a hint does not admit is never selected, one that
//! all hints admit may still not be.

use serde_json::Value;

use crate::evaluate::equal;
use crate::expression::{Comparison, Expression, Literal};
use crate::function::Function;
use crate::path::Path;

/// Something that every document selected by a query satisfies.
#[derive(Clone, Debug, PartialEq)]
pub struct Hint {
    /// Where the value stands.
    pub path: Path,
    /// What is known of it.
    pub constraint: Constraint,
}

/// What is known of a value.
///
/// Values are strings, numbers, booleans or null, and equal as `=` says: an index must find `1` under
/// `1.0`, and must not find `'1'`.
#[derive(Clone, Debug, PartialEq)]
pub enum Constraint {
    /// It equals this one.
    Eq(Value),
    /// It equals one of these; of none means that nothing is selected.
    In(Vec<Value>),
    /// It is a string that begins so.
    Prefix(String),
}

impl Constraint {
    /// Whether a document with this value (or without one) may be selected.
    #[must_use]
    pub fn admits(&self, value: Option<&Value>) -> bool {
        let Some(value) = value else { return false };
        match self {
            Self::Eq(wanted) => equal(value, wanted),
            Self::In(wanted) => wanted.iter().any(|wanted| equal(value, wanted)),
            Self::Prefix(prefix) => value.as_str().is_some_and(|text| text.starts_with(prefix)),
        }
    }
}

/// The hints of a condition: those of its conjuncts, each of which must be true.
pub(crate) fn hints(condition: &Expression) -> Vec<Hint> {
    match condition {
        Expression::And(operands) => operands.iter().flat_map(hints).collect(),
        condition => prefix(condition).or_else(|| values(condition)).into_iter().collect(),
    }
}

fn prefix(condition: &Expression) -> Option<Hint> {
    let Expression::Call(Function::StartsWith, arguments) = condition else { return None };
    let [Expression::Path(path), Expression::Literal(Literal::Text(prefix))] = arguments.as_slice() else {
        return None;
    };
    Some(Hint { path: path.clone(), constraint: Constraint::Prefix(prefix.clone()) })
}

fn values(condition: &Expression) -> Option<Hint> {
    let (path, mut values) = path_and_values(condition)?;
    let constraint =
        if values.len() == 1 { Constraint::Eq(values.remove(0)) } else { Constraint::In(values) };
    Some(Hint { path: path.clone(), constraint })
}

/// The only values with which one path can make a condition true. Nothing equals `undefined`.
fn path_and_values(condition: &Expression) -> Option<(&Path, Vec<Value>)> {
    match condition {
        Expression::Compare(left, Comparison::Equal, right) => match (&**left, &**right) {
            (Expression::Path(path), Expression::Literal(literal))
            | (Expression::Literal(literal), Expression::Path(path)) => {
                Some((path, literal.to_value().into_iter().collect()))
            }
            _ => None,
        },
        Expression::In(operand, list) => match &**operand {
            Expression::Path(path) => Some((path, list.iter().filter_map(Literal::to_value).collect())),
            _ => None,
        },
        // `a = 1 OR a = 2`, all over one path.
        Expression::Or(operands) => {
            let mut operands = operands.iter().map(path_and_values);
            let (path, mut all) = operands.next()??;
            for operand in operands {
                let (other, values) = operand?;
                if other != path {
                    return None;
                }
                all.extend(values);
            }
            Some((path, all))
        }
        Expression::Path(path) => Some((path, vec![Value::Bool(true)])),
        Expression::Not(operand) => match &**operand {
            Expression::Path(path) => Some((path, vec![Value::Bool(false)])),
            _ => None,
        },
        _ => None,
    }
}
