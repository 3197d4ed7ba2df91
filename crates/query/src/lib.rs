//! The Azure IoT Hub query language: text to [`Query`], documents to results.
//!
//! ```
//! use iothub_query::Query;
//! use serde_json::json;
//!
//! let twins = [json!({"deviceId": "p1", "tags": {"site": "Oslo"}}), json!({"deviceId": "q1"})];
//! let query = Query::parse("SELECT deviceId FROM devices WHERE tags.site = 'Oslo'")?;
//! let found: Vec<_> = query.run(&twins)?.collect();
//! assert_eq!(found, [json!({"deviceId": "p1"})]);
//!
//! let error = Query::parse("SELECT * FROM devices WHERE tags.site IN ('Oslo')").unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "line 1, column 42: expected a list in square brackets, such as ['a', 'b'], found `(`"
//! );
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! Pure: no clock, no sockets, no pages; a text of any content and length is parsed or refused in bounded
//! time and stack ([`limits`]). What the service leaves open is decided at the place in the code that
//! meets it.
//!
//! | question | answer |
//! |---|---|
//! | what does it read | [`Query::collection`] |
//! | what are its results | [`Query::item_kind`] |
//! | which documents | [`Query::matches`] on anything that is a [`Row`] |
//! | which need not even be looked at | [`Query::index_hints`] |
//! | the results | [`Query::run`], or [`Query::evaluate`] and [`Query::aggregation`] document by document |
//!
//! The conditions of message routes are the same language with other names: [`RoutingCondition`].

mod aggregation;
mod collection;
mod dialect;
mod error;
mod evaluate;
mod expression;
mod function;
#[cfg(test)]
mod generated;
mod hint;
mod lexer;
pub mod limits;
mod number;
mod parser;
mod path;
mod query;
mod routing;
mod row;
mod select;
mod token;

pub use aggregation::Aggregation;
pub use collection::Collection;
pub use dialect::Strictness;
pub use error::{ParseError, Position, TooManyGroups};
pub use hint::{Constraint, Hint};
pub use path::{Path, Segment};
pub use query::{ItemKind, Query, Results};
pub use routing::{RoutedMessage, Routing, RoutingCondition};
pub use row::Row;
