//! What a query may be at most. Everything above is refused with a [`ParseError`](crate::ParseError)
//! that names the limit, or with [`TooManyGroups`](crate::TooManyGroups).

/// Longest query, in characters (Unicode scalar values).
/// Source: *Azure IoT Hub query language*; the text says characters and not which, so a character
/// outside the basic plane counts once.
pub const MAX_CHARACTERS: usize = 8192;

/// Deepest nesting of parentheses, function calls, `NOT` and unary minus in one expression. Ours: the
/// service names none, and a parser that follows the text down without one ends in a stack overflow.
pub const MAX_DEPTH: usize = 64;

/// Most constants in one `[...]` list. Ours: the service names none.
pub const MAX_LIST_ITEMS: usize = 1000;

/// Most rows a `GROUP BY` may make. Ours: groups are kept in memory until the last row was seen.
pub const MAX_GROUPS: usize = 100_000;
