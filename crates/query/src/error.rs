//! What a query that cannot be read or run says about itself.

use thiserror::Error;

use crate::limits::MAX_GROUPS;

/// How much of the query an error quotes.
const QUOTED_CHARACTERS: usize = 40;

/// A place in a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Bytes before the place.
    pub byte: usize,
    /// Line, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
}

impl Position {
    fn of(text: &str, byte: usize) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let line = before.rsplit('\n').next().unwrap_or(before);
        Self { byte, line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
    }
}

/// Why a text is not a query. The service answers it with 400 `ArgumentInvalid`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {}, column {}: expected {expected}, found {found}", .position.line, .position.column)]
pub struct ParseError {
    /// Where reading stopped.
    pub position: Position,
    /// What could have stood there.
    pub expected: String,
    /// What stands there: a quotation in backquotes, or a description.
    pub found: String,
}

impl ParseError {
    pub(crate) fn new(
        text: &str,
        byte: usize,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self { position: Position::of(text, byte), expected: expected.into(), found: found.into() }
    }
}

/// A piece of a query as an error shows it: in backquotes, on one line, not too long.
pub(crate) fn quoted(piece: &str) -> String {
    if piece.is_empty() {
        return "the end of the query".to_owned();
    }
    let mut shown: String =
        piece.chars().take(QUOTED_CHARACTERS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if piece.chars().nth(QUOTED_CHARACTERS).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// A `GROUP BY` met more different values than are kept in memory: narrow it with `WHERE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("GROUP BY makes more than {MAX_GROUPS} groups: narrow the query with WHERE")]
pub struct TooManyGroups;
