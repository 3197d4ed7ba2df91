//! This file groups rows and computes COUNT, AVG, SUM, MIN and MAX over the groups.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde_json::{Map, Value};

use crate::error::TooManyGroups;
use crate::evaluate::Computed;
use crate::limits::MAX_GROUPS;
use crate::number::number_value;
use crate::query::Query;
use crate::row::Row;
use crate::select::{Aggregate, GroupValue, Item};

/// The groups of an aggregate query while documents are added to them.
///
/// Memory grows with the number of groups, never with the number of documents.
#[derive(Debug)]
pub struct Aggregation<'q> {
    query: &'q Query,
    items: &'q [Item<GroupValue>],
    groups: Vec<Vec<State>>,
    /// Group by the canonical text of its values.
    index: HashMap<String, usize>,
}

/// The state of one item in a group.
#[derive(Clone, Debug)]
enum State {
    /// The value the group has in common; nothing where the documents have none.
    Value(Option<Value>),
    Count(u64),
    Numbers {
        sum: f64,
        count: u64,
    },
    Extreme(Option<Value>),
}

impl<'q> Aggregation<'q> {
    pub(crate) fn new(query: &'q Query, items: &'q [Item<GroupValue>]) -> Self {
        let mut aggregation = Self { query, items, groups: Vec::new(), index: HashMap::new() };
        if query.group_by.is_empty() {
            // All documents are one group, which is there even without a document.
            aggregation.index.insert(String::new(), 0);
            aggregation.groups.push(items.iter().map(|item| State::new(&item.value)).collect());
        }
        aggregation
    }

    /// Adds a document to its group, if it satisfies the condition. Documents without a value at a path
    /// of GROUP BY form a group of their own.
    ///
    /// # Errors
    /// [`TooManyGroups`] if it would need a new group and there is no room.
    pub fn add<R: Row + ?Sized>(&mut self, row: &R) -> Result<(), TooManyGroups> {
        if !self.query.matches(row) {
            return Ok(());
        }
        let mut key = String::new();
        for path in &self.query.group_by {
            write_canonical(row.value_at(path).as_deref(), &mut key);
            key.push(',');
        }
        let full = self.groups.len() == MAX_GROUPS;
        let group = match self.index.entry(key) {
            Entry::Occupied(group) => *group.get(),
            Entry::Vacant(_) if full => return Err(TooManyGroups),
            Entry::Vacant(entry) => {
                self.groups.push(self.items.iter().map(|item| State::of_group(&item.value, row)).collect());
                *entry.insert(self.groups.len() - 1)
            }
        };
        if let Some(states) = self.groups.get_mut(group) {
            for (state, item) in states.iter_mut().zip(self.items) {
                state.add(&item.value, row);
            }
        }
        Ok(())
    }

    /// Returns one row per group, in the order in which the groups appeared. [`Query::top`] is not applied.
    #[must_use]
    pub fn finish(self) -> Vec<Value> {
        self.into_rows().collect()
    }

    /// Returns the rows of [`finish`](Self::finish), each made when it is asked for: a page of the result shows a
    /// thousand of perhaps a hundred thousand groups.
    pub fn into_rows(self) -> impl Iterator<Item = Value> + use<'q> {
        let items = self.items;
        let row = move |states: Vec<State>| {
            let entries = states.into_iter().zip(items);
            let entries =
                entries.filter_map(|(state, item)| Some((item.key.clone(), state.finish(&item.value)?)));
            Value::Object(entries.collect::<Map<_, _>>())
        };
        self.groups.into_iter().map(row)
    }
}

impl State {
    fn new(value: &GroupValue) -> Self {
        match value {
            GroupValue::Path(_) => Self::Value(None),
            GroupValue::Count => Self::Count(0),
            GroupValue::Aggregate(Aggregate::Average | Aggregate::Sum, _) => {
                Self::Numbers { sum: 0.0, count: 0 }
            }
            GroupValue::Aggregate(Aggregate::Minimum | Aggregate::Maximum, _) => Self::Extreme(None),
        }
    }

    /// Of a group that this document opens.
    fn of_group<R: Row + ?Sized>(value: &GroupValue, row: &R) -> Self {
        match value {
            GroupValue::Path(path) => Self::Value(row.value_at(path).map(Cow::into_owned)),
            other => Self::new(other),
        }
    }

    fn add<R: Row + ?Sized>(&mut self, value: &GroupValue, row: &R) {
        match (self, value) {
            (Self::Count(count), _) => *count += 1,
            // Whatever is no number is passed over.
            (Self::Numbers { sum, count }, GroupValue::Aggregate(_, path)) => {
                if let Some(number) = row.value_at(path).and_then(|value| value.as_f64()) {
                    *sum += number;
                    *count += 1;
                }
            }
            (Self::Extreme(extreme), GroupValue::Aggregate(aggregate, path)) => {
                let Some(value) = row.value_at(path).filter(|value| value.is_number() || value.is_string())
                else {
                    return;
                };
                let wanted =
                    if *aggregate == Aggregate::Minimum { Ordering::Less } else { Ordering::Greater };
                if extreme.as_ref().is_none_or(|extreme| rank(&value, extreme) == Some(wanted)) {
                    *extreme = Some(value.into_owned());
                }
            }
            _ => {}
        }
    }

    /// Nothing (no key) where no document had a value to compute with.
    fn finish(self, value: &GroupValue) -> Option<Value> {
        match self {
            Self::Value(value) | Self::Extreme(value) => value,
            Self::Count(count) => Some(Value::from(count)),
            Self::Numbers { count: 0, .. } => None,
            Self::Numbers { sum, count } => match value {
                // More than 2^52 documents do not exist.
                #[expect(clippy::cast_precision_loss)]
                GroupValue::Aggregate(Aggregate::Average, _) => number_value(sum / count as f64),
                _ => number_value(sum),
            },
        }
    }
}

/// MIN and MAX look at numbers and strings only; where both occur, numbers come first, as in the order
/// of types of the service's back end.
fn rank(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(_), Value::String(_)) => Some(Ordering::Less),
        (Value::String(_), Value::Number(_)) => Some(Ordering::Greater),
        (left, right) => Computed::from(left).order(&Computed::from(right)),
    }
}

/// Writes a value so that equal values, and only they, have equal texts: numbers as `=` sees them,
/// objects whatever the order of their keys.
fn write_canonical(value: Option<&Value>, text: &mut String) {
    match value {
        None => text.push('~'),
        Some(Value::Number(number)) => {
            let number = number.as_f64().and_then(number_value).unwrap_or_default();
            text.push_str(&number.to_string());
        }
        Some(Value::Array(elements)) => {
            text.push('[');
            for element in elements {
                write_canonical(Some(element), text);
                text.push(',');
            }
            text.push(']');
        }
        Some(Value::Object(entries)) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (key, value) in entries {
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write_canonical(Some(value), text);
                text.push(',');
            }
            text.push('}');
        }
        Some(plain) => text.push_str(&plain.to_string()),
    }
}
