//! A query that was read: what it asks for, and the rows it makes of documents.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::aggregation::Aggregation;
use crate::collection::Collection;
use crate::dialect::Strictness;
use crate::error::{ParseError, TooManyGroups};
use crate::evaluate;
use crate::expression::{Expression, write_separated};
use crate::hint::{self, Hint};
use crate::parser;
use crate::path::Path;
use crate::row::Row;
use crate::select::Select;

/// A query of the IoT Hub query language.
///
/// It holds no reference to the text it was read from; [`Display`](fmt::Display) writes it in one canonical form that
/// reads the same again. Source: *Azure IoT Hub query language*.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    pub(crate) select: Select,
    pub(crate) top: Option<u64>,
    pub(crate) collection: Collection,
    pub(crate) filter: Option<Expression>,
    pub(crate) group_by: Vec<Path>,
}

/// What the items of a result are: the value of the `x-ms-item-type` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ItemKind {
    /// Whole device or module twins.
    Twin,
    /// Whole device jobs.
    DeviceJob,
    /// Objects with the selected values.
    Raw,
}

impl ItemKind {
    /// As the header spells it. Official clients compare the case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Twin => "Twin",
            Self::DeviceJob => "DeviceJob",
            Self::Raw => "Raw",
        }
    }
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// With the place, what was expected there and what was found.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Self::parse_as(text, Strictness::default())
    }

    /// Reads a query, more or less strictly.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_as(text: &str, strictness: Strictness) -> Result<Self, ParseError> {
        parser::query(text, strictness)
    }

    /// Reads what jobs (`queryCondition`) and configurations (`targetCondition`) carry: `*` for all
    /// devices, a condition, or `FROM devices.modules WHERE condition`. The query selects whole documents.
    ///
    /// # Errors
    /// As [`parse`](Self::parse); an empty condition is none.
    pub fn parse_condition(text: &str) -> Result<Self, ParseError> {
        parser::condition(text, Strictness::default())
    }

    /// Where the documents come from.
    #[must_use]
    pub const fn collection(&self) -> Collection {
        self.collection
    }

    /// What the items of the result are.
    #[must_use]
    pub const fn item_kind(&self) -> ItemKind {
        match (&self.select, self.collection) {
            (Select::All, Collection::Jobs) => ItemKind::DeviceJob,
            (Select::All, _) => ItemKind::Twin,
            _ => ItemKind::Raw,
        }
    }

    /// Most items of the whole result, over all its pages.
    #[must_use]
    pub const fn top(&self) -> Option<u64> {
        self.top
    }

    /// Whether the result has rows of groups (aggregates, GROUP BY) and so needs all documents first.
    #[must_use]
    pub const fn is_aggregate(&self) -> bool {
        matches!(self.select, Select::Groups(_))
    }

    /// Whether a document satisfies the condition. Only `true` does; undefined does not.
    pub fn matches<R: Row + ?Sized>(&self, row: &R) -> bool {
        self.filter.as_ref().is_none_or(|filter| evaluate::is_true(filter, row))
    }

    /// The item that a document gives, if it satisfies the condition. An aggregate query has no item per
    /// document and gives none here: see [`aggregation`](Self::aggregation).
    ///
    /// For a caller that walks the documents itself; [`top`](Self::top) is then its to count.
    pub fn evaluate<R: Row + ?Sized>(&self, row: &R) -> Option<Value> {
        if !self.matches(row) {
            return None;
        }
        match &self.select {
            Select::All => Some(row.document().into_owned()),
            Select::Values(items) => {
                let entry = |(key, expression)| Some((key, evaluate::value(expression, row)?));
                let entries = items.iter().map(|item| (item.key.clone(), &item.value)).filter_map(entry);
                // What is undefined has no key in the row.
                Some(Value::Object(entries.collect::<Map<_, _>>()))
            }
            Select::Groups(_) => None,
        }
    }

    /// The empty groups of an aggregate query, to be fed with documents. Nothing for other queries.
    #[must_use]
    pub fn aggregation(&self) -> Option<Aggregation<'_>> {
        match &self.select {
            Select::Groups(items) => Some(Aggregation::new(self, items)),
            _ => None,
        }
    }

    /// Runs the query. Without aggregates a document is read when its item is asked for, and none is
    /// kept; with them all documents are read at once.
    ///
    /// # Errors
    /// [`TooManyGroups`], only with GROUP BY.
    pub fn run<I>(&self, rows: I) -> Result<Results<'_, I::IntoIter>, TooManyGroups>
    where
        I: IntoIterator,
        I::Item: Row,
    {
        let source = match self.aggregation() {
            None => Source::Documents { query: self, rows: rows.into_iter() },
            Some(mut aggregation) => {
                for row in rows {
                    aggregation.add(&row)?;
                }
                Source::Groups(aggregation.finish().into_iter())
            }
        };
        Ok(Results { source, left: self.top.unwrap_or(u64::MAX) })
    }

    /// What an index can know of the condition: every document that satisfies it is admitted by every
    /// hint. A hub may read only the documents that one of them (or all) admits; it still has to ask
    /// [`matches`](Self::matches).
    #[must_use]
    pub fn index_hints(&self) -> Vec<Hint> {
        self.filter.as_ref().map(hint::hints).unwrap_or_default()
    }
}

impl FromStr for Query {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SELECT ")?;
        if let Some(top) = self.top {
            write!(f, "TOP {top} ")?;
        }
        write!(f, "{} FROM {}", self.select, self.collection)?;
        if let Some(filter) = &self.filter {
            write!(f, " WHERE {filter}")?;
        }
        if !self.group_by.is_empty() {
            f.write_str(" GROUP BY ")?;
            write_separated(f, &self.group_by, ", ", |path, f| write!(f, "{path}"))?;
        }
        Ok(())
    }
}

/// The items of a result, as they are asked for.
#[derive(Debug)]
pub struct Results<'q, I> {
    source: Source<'q, I>,
    /// TOP.
    left: u64,
}

#[derive(Debug)]
enum Source<'q, I> {
    Documents { query: &'q Query, rows: I },
    Groups(std::vec::IntoIter<Value>),
}

impl<I> Iterator for Results<'_, I>
where
    I: Iterator,
    I::Item: Row,
{
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        // No document is read beyond the last item.
        self.left = self.left.checked_sub(1)?;
        match &mut self.source {
            Source::Documents { query, rows } => rows.find_map(|row| query.evaluate(&row)),
            Source::Groups(rows) => rows.next(),
        }
    }
}
