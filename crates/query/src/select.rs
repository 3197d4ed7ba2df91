//! The SELECT list as data, and how it is written.

use std::fmt;

use crate::expression::{Expression, write_separated};
use crate::path::{Path, write_name};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Select {
    /// `*`: whole documents.
    All,
    /// One value per row.
    Values(Vec<Item<Expression>>),
    /// One row per group: grouped paths and aggregates.
    Groups(Vec<Item<GroupValue>>),
}

/// One value of a row and the key it gets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item<T> {
    pub(crate) key: String,
    pub(crate) value: T,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum GroupValue {
    /// One of the paths of GROUP BY.
    Path(Path),
    Count,
    Aggregate(Aggregate, Path),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aggregate {
    Average,
    Sum,
    Minimum,
    Maximum,
}

impl Aggregate {
    pub(crate) const ALL: [Self; 4] = [Self::Average, Self::Sum, Self::Minimum, Self::Maximum];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Average => "AVG",
            Self::Sum => "SUM",
            Self::Minimum => "MIN",
            Self::Maximum => "MAX",
        }
    }
}

impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Values(items) => write_separated(f, items, ", ", |item, f| {
                let path = match &item.value {
                    Expression::Path(path) => Some(path),
                    _ => None,
                };
                write_item(f, &item.value, path, &item.key)
            }),
            Self::Groups(items) => write_separated(f, items, ", ", |item, f| {
                let path = match &item.value {
                    GroupValue::Path(path) => Some(path),
                    _ => None,
                };
                write_item(f, &item.value, path, &item.key)
            }),
        }
    }
}

/// A path that gets its own last name as key needs no alias.
fn write_item(
    f: &mut fmt::Formatter<'_>,
    value: &impl fmt::Display,
    path: Option<&Path>,
    key: &str,
) -> fmt::Result {
    write!(f, "{value}")?;
    if path.and_then(Path::last_name) == Some(key) {
        return Ok(());
    }
    f.write_str(" AS ")?;
    write_name(f, key)
}

impl fmt::Display for GroupValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{path}"),
            Self::Count => f.write_str("COUNT()"),
            Self::Aggregate(aggregate, path) => write!(f, "{}({path})", aggregate.name()),
        }
    }
}
