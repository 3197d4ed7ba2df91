//! Expressions over a row, in three-valued logic.
//!
//! What is not there is `undefined`, and so is every operation on operands it has no meaning for: a
//! comparison between different types or with an object, arithmetic with text, NOT of a string. Only a
//! condition that is `true` selects a row. Source: *Azure IoT Hub query language*, and the behavior of
//! the document store behind it.

mod function;

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

use crate::expression::{Arithmetic, Comparison, Expression, Literal};
use crate::number::number_value;
use crate::row::Row;

/// The value of an expression.
#[derive(Clone, Debug)]
pub(crate) enum Computed<'a> {
    Undefined,
    Null,
    Bool(bool),
    Number(f64),
    Text(Cow<'a, str>),
    /// An object or an array.
    Composite(Cow<'a, Value>),
}

/// Whether a row satisfies a condition.
pub(crate) fn is_true<R: Row + ?Sized>(condition: &Expression, row: &R) -> bool {
    matches!(evaluate(condition, row), Computed::Bool(true))
}

/// The value of an expression as JSON; nothing if it is undefined. A property comes out as it is stored.
pub(crate) fn value<R: Row + ?Sized>(expression: &Expression, row: &R) -> Option<Value> {
    match expression {
        Expression::Path(path) => row.value_at(path).map(Cow::into_owned),
        expression => evaluate(expression, row).into_value(),
    }
}

pub(crate) fn evaluate<'a, R: Row + ?Sized>(expression: &'a Expression, row: &'a R) -> Computed<'a> {
    match expression {
        Expression::Literal(literal) => literal.into(),
        Expression::Array(items) => {
            let items = items.iter().filter_map(Literal::to_value).collect();
            Computed::Composite(Cow::Owned(Value::Array(items)))
        }
        Expression::Path(path) => row.value_at(path).map_or(Computed::Undefined, Computed::from),
        Expression::Call(function, arguments) => function::call(*function, arguments, row),
        Expression::Negate(operand) => match evaluate(operand, row) {
            Computed::Number(value) => Computed::Number(-value),
            _ => Computed::Undefined,
        },
        Expression::Arithmetic(first, rest) => arithmetic(first, rest, row),
        Expression::Compare(left, comparison, right) => {
            compare(&evaluate(left, row), *comparison, &evaluate(right, row)).into()
        }
        Expression::In(operand, list) => is_in(&evaluate(operand, row), list).into(),
        Expression::NotIn(operand, list) => is_in(&evaluate(operand, row), list).map(|found| !found).into(),
        Expression::Not(operand) => evaluate(operand, row).truth().map(|truth| !truth).into(),
        Expression::And(operands) => decided_by(false, operands, row),
        Expression::Or(operands) => decided_by(true, operands, row),
    }
}

/// OR is decided by the first `true`, AND by the first `false`. Without one, an operand that is neither
/// leaves the whole undefined.
fn decided_by<'a, R: Row + ?Sized>(decisive: bool, operands: &'a [Expression], row: &'a R) -> Computed<'a> {
    let mut defined = true;
    for operand in operands {
        match evaluate(operand, row).truth() {
            Some(truth) if truth == decisive => return Computed::Bool(decisive),
            Some(_) => {}
            None => defined = false,
        }
    }
    defined.then_some(!decisive).into()
}

/// Division by zero and everything else that is no finite number is undefined.
fn arithmetic<'a, R: Row + ?Sized>(
    first: &'a Expression,
    rest: &'a [(Arithmetic, Expression)],
    row: &'a R,
) -> Computed<'a> {
    let total = rest.iter().try_fold(evaluate(first, row).number(), |left, (operator, right)| {
        let (left, right) = (left?, evaluate(right, row).number()?);
        Some(Some(match operator {
            Arithmetic::Add => left + right,
            Arithmetic::Subtract => left - right,
            Arithmetic::Multiply => left * right,
            Arithmetic::Divide => left / right,
            Arithmetic::Remainder => left % right,
        }))
    });
    Computed::finite(total.flatten())
}

/// Nothing where the operands cannot be compared.
fn compare(left: &Computed<'_>, comparison: Comparison, right: &Computed<'_>) -> Option<bool> {
    let order = left.order(right)?;
    Some(match comparison {
        Comparison::Equal => order == Ordering::Equal,
        Comparison::NotEqual => order != Ordering::Equal,
        Comparison::Less => order == Ordering::Less,
        Comparison::LessOrEqual => order != Ordering::Greater,
        Comparison::Greater => order == Ordering::Greater,
        Comparison::GreaterOrEqual => order != Ordering::Less,
    })
}

/// `x IN [a, b]` is `x = a OR x = b`, with its three values.
fn is_in(operand: &Computed<'_>, list: &[Literal]) -> Option<bool> {
    let mut defined = true;
    for item in list {
        match compare(operand, Comparison::Equal, &item.into()) {
            Some(true) => return Some(true),
            Some(false) => {}
            None => defined = false,
        }
    }
    defined.then_some(false)
}

/// Whether two values are equal as `=` says.
pub(crate) fn equal(left: &Value, right: &Value) -> bool {
    Computed::from(left).order(&Computed::from(right)) == Some(Ordering::Equal)
}

impl<'a> Computed<'a> {
    /// Two primitives of one type: numbers by value, strings by their characters' numbers (so `'B'` is
    /// less than `'a'`), `false` before `true`, `null` equal to itself.
    pub(crate) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => left.partial_cmp(right),
            (Self::Text(left), Self::Text(right)) => Some(left.cmp(right)),
            (Self::Bool(left), Self::Bool(right)) => Some(left.cmp(right)),
            (Self::Null, Self::Null) => Some(Ordering::Equal),
            _ => None,
        }
    }

    /// Nothing for what is no boolean: it neither selects a row nor lets NOT select it.
    fn truth(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    fn number(&self) -> Option<f64> {
        if let Self::Number(value) = self { Some(*value) } else { None }
    }

    fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    fn finite(value: Option<f64>) -> Self {
        value.filter(|value| value.is_finite()).map_or(Self::Undefined, Self::Number)
    }

    fn into_value(self) -> Option<Value> {
        match self {
            Self::Undefined => None,
            Self::Null => Some(Value::Null),
            Self::Bool(value) => Some(Value::Bool(value)),
            Self::Number(value) => number_value(value),
            Self::Text(text) => Some(Value::String(text.into_owned())),
            Self::Composite(value) => Some(value.into_owned()),
        }
    }
}

impl From<Option<bool>> for Computed<'_> {
    fn from(value: Option<bool>) -> Self {
        value.map_or(Self::Undefined, Self::Bool)
    }
}

impl<'a> From<&'a Literal> for Computed<'a> {
    fn from(literal: &'a Literal) -> Self {
        match literal {
            Literal::Undefined => Self::Undefined,
            Literal::Null => Self::Null,
            Literal::Bool(value) => Self::Bool(*value),
            Literal::Number(value) => Self::Number(*value),
            Literal::Text(text) => Self::Text(Cow::Borrowed(text)),
        }
    }
}

impl<'a> From<&'a Value> for Computed<'a> {
    fn from(value: &'a Value) -> Self {
        Self::from(Cow::Borrowed(value))
    }
}

impl<'a> From<Cow<'a, Value>> for Computed<'a> {
    fn from(value: Cow<'a, Value>) -> Self {
        match value {
            Cow::Borrowed(Value::String(text)) => Self::Text(Cow::Borrowed(text)),
            Cow::Owned(Value::String(text)) => Self::Text(Cow::Owned(text)),
            value => match &*value {
                Value::Null => Self::Null,
                Value::Bool(value) => Self::Bool(*value),
                Value::Number(number) => Self::finite(number.as_f64()),
                _ => Self::Composite(value),
            },
        }
    }
}
