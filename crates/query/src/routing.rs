//! Conditions of message routes: text to [`RoutingCondition`], and which messages satisfy one.
//!
//! Grammar of expressions and evaluation are those of queries; names and functions are not. Source:
//! *IoT Hub message routing query syntax*. What it leaves open, and what is taken here:
//!
//! | open | here |
//! |---|---|
//! | a hyphen in a name (`$dt-subject` and `iothub-message-schema` are names) | belongs to the name if a letter, a digit or `_` follows; subtraction has a blank before the minus |
//! | a name with a dot | `a.b` is the application property with this name |
//! | types | are never converted: an application property is text, `as_number(severity) <= 2` makes a number of it |
//! | bodies in UTF-16 and UTF-32 | are not read: undefined |

mod dialect;
mod message;

use std::fmt;
use std::str::FromStr;

use crate::error::ParseError;
use crate::evaluate;
use crate::expression::Expression;
use crate::parser;
use dialect::RoutingDialect;
pub use message::{RoutedMessage, Routing};

/// The condition of a message route.
///
/// ```
/// use iothub_query::RoutingCondition;
///
/// RoutingCondition::parse("$body.Weather.Temperature = 50 AND processingPath = 'hot'")?;
/// let error = RoutingCondition::parse("level IN ['hi']").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "line 1, column 7: expected a comparison (routes have no lists: write a = 'x' OR a = 'y'), found `IN`"
/// );
/// # Ok::<_, iothub_query::ParseError>(())
/// ```
///
/// [`Display`](fmt::Display) gives the text back as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingCondition {
    text: String,
    expression: Expression,
}

impl RoutingCondition {
    /// Reads a condition. At most [`MAX_CHARACTERS`](crate::limits::MAX_CHARACTERS) long and
    /// [`MAX_DEPTH`](crate::limits::MAX_DEPTH) deep.
    ///
    /// # Errors
    /// With the place, what was expected there and what was found; an empty text is no condition.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let expression = parser::expression(text, RoutingDialect)?;
        Ok(Self { text: text.to_owned(), expression })
    }

    /// Whether a message satisfies it. Only `true` does: `null`, undefined and other values do not.
    #[must_use]
    pub fn matches(&self, message: &Routing<'_>) -> bool {
        evaluate::is_true(&self.expression, message)
    }
}

impl FromStr for RoutingCondition {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

impl fmt::Display for RoutingCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
