//! Expressions as data, and how they are written. One form for every dialect: what names mean is
//! decided when a path is read (see `dialect`), so the same tree serves message routing.
//!
//! Chains (`a AND b AND c`, `1 + 2 - 3`) are flat: a tree is only as high as the text is nested, and
//! walking it needs no more stack than the depth limit allows.

use std::fmt;

use serde_json::Value;

use crate::function::Function;
use crate::number::number_value;
use crate::path::{Path, write_text};

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Undefined,
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
}

impl Literal {
    /// As JSON, which has no `undefined`.
    pub(crate) fn to_value(&self) -> Option<Value> {
        match self {
            Self::Undefined => None,
            Self::Null => Some(Value::Null),
            Self::Bool(value) => Some(Value::Bool(*value)),
            Self::Number(value) => number_value(*value),
            Self::Text(text) => Some(Value::String(text.clone())),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expression {
    Literal(Literal),
    Array(Vec<Literal>),
    Path(Path),
    Call(Function, Vec<Self>),
    Negate(Box<Self>),
    /// From left to right; all operators bind equally.
    Arithmetic(Box<Self>, Vec<(Arithmetic, Self)>),
    Compare(Box<Self>, Comparison, Box<Self>),
    /// `x IN [...]`.
    In(Box<Self>, Vec<Literal>),
    /// `x NOT IN [...]` or `x NIN [...]`.
    NotIn(Box<Self>, Vec<Literal>),
    Not(Box<Self>),
    /// Two or more.
    And(Vec<Self>),
    /// Two or more.
    Or(Vec<Self>),
}

/// How tightly an expression holds together; what binds less needs parentheses.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Binding {
    Or,
    And,
    Not,
    Comparison,
    Sum,
    Product,
    Unary,
    Primary,
}

impl Expression {
    fn binding(&self) -> Binding {
        match self {
            Self::Or(_) => Binding::Or,
            Self::And(_) => Binding::And,
            Self::Not(_) => Binding::Not,
            Self::Compare(..) | Self::In(..) | Self::NotIn(..) => Binding::Comparison,
            Self::Arithmetic(_, rest) => match rest.first() {
                Some((Arithmetic::Add | Arithmetic::Subtract, _)) => Binding::Sum,
                _ => Binding::Product,
            },
            Self::Negate(_) => Binding::Unary,
            Self::Literal(_) | Self::Array(_) | Self::Path(_) | Self::Call(..) => Binding::Primary,
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, at_least: Binding) -> fmt::Result {
        if self.binding() < at_least { write!(f, "({self})") } else { write!(f, "{self}") }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(literal) => write!(f, "{literal}"),
            Self::Array(items) => write_list(f, items),
            Self::Path(path) => write!(f, "{path}"),
            Self::Call(function, arguments) => {
                write!(f, "{}(", function.name())?;
                write_separated(f, arguments, ", ", |argument, f| write!(f, "{argument}"))?;
                f.write_str(")")
            }
            // A minus before a number would read as part of it.
            Self::Negate(operand) if matches!(**operand, Self::Literal(_)) => write!(f, "-({operand})"),
            Self::Negate(operand) => {
                f.write_str("-")?;
                operand.write(f, Binding::Unary)
            }
            Self::Arithmetic(first, rest) => {
                let product = self.binding() == Binding::Product;
                let operand = if product { Binding::Unary } else { Binding::Product };
                first.write(f, operand)?;
                rest.iter().try_for_each(|(operator, right)| {
                    write!(f, " {operator} ")?;
                    right.write(f, operand)
                })
            }
            Self::Compare(left, comparison, right) => {
                left.write(f, Binding::Sum)?;
                write!(f, " {comparison} ")?;
                right.write(f, Binding::Sum)
            }
            Self::In(operand, list) => {
                operand.write(f, Binding::Sum)?;
                f.write_str(" IN ")?;
                write_list(f, list)
            }
            Self::NotIn(operand, list) => {
                operand.write(f, Binding::Sum)?;
                f.write_str(" NOT IN ")?;
                write_list(f, list)
            }
            Self::Not(operand) => {
                f.write_str("NOT ")?;
                operand.write(f, Binding::Not)
            }
            Self::And(operands) => {
                write_separated(f, operands, " AND ", |operand, f| operand.write(f, Binding::Not))
            }
            Self::Or(operands) => {
                write_separated(f, operands, " OR ", |operand, f| operand.write(f, Binding::And))
            }
        }
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undefined => f.write_str("undefined"),
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            // Debug has the shortest form that reads the same again, with an exponent where it is long.
            Self::Number(value) => f.write_str(format!("{value:?}").trim_end_matches(".0")),
            Self::Text(text) => write_text(f, text),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        })
    }
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        })
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, items: &[Literal]) -> fmt::Result {
    f.write_str("[")?;
    write_separated(f, items, ", ", |item, f| write!(f, "{item}"))?;
    f.write_str("]")
}

/// Writes items with a separator between them.
pub(crate) fn write_separated<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    separator: &str,
    write: impl Fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(separator)?;
        }
        write(item, f)?;
    }
    Ok(())
}
