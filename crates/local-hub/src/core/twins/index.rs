//! [`TwinIndexes`] finds the twins that have a given value at a path, or a text that begins with a given one, for
//! paths that queries ask for often.
//!
//! A set of twins tells it of each change, and a query asks it for candidates. An index gives a hint and no answer:
//! it may name twins that the query does not select, and never leaves out one that it does. An index is built a piece
//! at a time; a change of a twin is brought to the part that is built already. The number of indexes is bounded: a
//! new one takes the place of the one that was not asked for longest.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use iothub_models::Identity;
use iothub_query::{Constraint, Hint, Path, Segment};
use serde_json::Value;

use super::packed::Packed;

/// The most indexes over the devices' twins, and over the modules' twins.
const MAX_INDEXES: usize = 6;
/// The most paths without an index whose queries are counted.
const MAX_COUNTED: usize = 32;
/// The number of queries after which a path gets its index.
const ASKED: u32 = 2;
/// The length to which a text is cut: the index does not tell longer texts apart that begin alike.
const TEXT_BYTES: usize = 64;
/// The most entries that are gathered for one query; with more, reading the twins themselves is quicker.
const MAX_GATHERED: usize = 8 * 1024;

/// A value in the index: one byte for its type, and the value. Equal values have equal keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key(Arc<[u8]>);

impl Key {
    /// Returns the key of a value. Objects and arrays have no key, since a query never finds them equal to anything.
    fn new(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => Self(Arc::from(*b"0")),
            Value::Bool(false) => Self(Arc::from(*b"1")),
            Value::Bool(true) => Self(Arc::from(*b"2")),
            Value::Number(number) => {
                // Queries compare numbers as floats, and zero has no sign for them.
                let number = number.as_f64()? + 0.0;
                let mut key = *b"3--------";
                key[1..].copy_from_slice(&number.to_be_bytes());
                Self(Arc::from(key))
            }
            Value::String(text) => Self::text(text),
            Value::Array(_) | Value::Object(_) => return None,
        })
    }

    fn text(text: &str) -> Self {
        let text = text.as_bytes();
        let mut key = Vec::with_capacity(1 + text.len().min(TEXT_BYTES));
        key.push(b'4');
        key.extend_from_slice(&text[..text.len().min(TEXT_BYTES)]);
        Self(key.into())
    }

    fn at(path: &Path, document: Packed<'_>) -> Option<Self> {
        let found = find(path, document)?;
        match found.text() {
            Some(text) => Some(Self::text(text)),
            None => Self::new(&found.to_value()?),
        }
    }
}

/// Returns the value at a path of tags or properties.
pub(super) fn find<'d>(path: &Path, document: Packed<'d>) -> Option<Packed<'d>> {
    path.rest().iter().try_fold(document.member(path.first())?, |value, segment| match segment {
        Segment::Name(name) => value.member(name),
        Segment::Index(index) => value.item(*index),
    })
}

/// One value of one twin. `None` is never kept: it is where a search for a value begins, since it is less than every id.
type Entry = (Key, Option<Identity>);

#[derive(Debug)]
struct Index {
    path: Path,
    entries: BTreeSet<Entry>,
    built: Built,
    /// The number of the query that asked for it last; see [`TwinIndexes::now`].
    asked: u64,
}

/// The part of an index that is built.
#[derive(Debug, PartialEq, Eq)]
enum Built {
    /// It has all twins whose ids are not greater than this one.
    UpTo(Option<Identity>),
    /// It has all twins.
    Whole,
}

impl Index {
    fn covers(&self, id: &Identity) -> bool {
        match &self.built {
            Built::Whole => true,
            Built::UpTo(last) => last.as_ref().is_some_and(|last| id <= last),
        }
    }

    fn insert(&mut self, key: Key, id: &Identity) {
        // Many twins have the same value: they share the bytes of its key.
        let mut same = self.entries.range((Included((key.clone(), None)), Unbounded));
        let key = same.next().filter(|(known, _)| *known == key).map_or(key, |(known, _)| known.clone());
        self.entries.insert((key, Some(id.clone())));
    }

    /// Returns the ids of twins with this value that are greater than `after`, in ascending order.
    fn ids<'i>(&'i self, key: &'i Key, after: Option<&Identity>) -> impl Iterator<Item = &'i Identity> {
        let from = (key.clone(), after.cloned());
        self.entries
            .range((Excluded(from), Unbounded))
            .take_while(move |(found, _)| found == key)
            .filter_map(|(_, id)| id.as_ref())
    }

    /// Returns the first `most` ids greater than `after` that the constraint admits, in ascending order; `None` if
    /// it would take too many entries to find them.
    fn candidates(
        &self,
        constraint: &Constraint,
        after: Option<&Identity>,
        most: usize,
    ) -> Option<Vec<Identity>> {
        let mut found: Vec<Identity> = match constraint {
            Constraint::Eq(value) => {
                let key = Key::new(value);
                let ids = key.iter().flat_map(|key| self.ids(key, after));
                return Some(ids.take(most).cloned().collect());
            }
            Constraint::In(values) => {
                let keys: BTreeSet<Key> = values.iter().filter_map(Key::new).collect();
                let ids = keys.iter().flat_map(|key| self.ids(key, after).take(most));
                ids.take(MAX_GATHERED).cloned().collect()
            }
            Constraint::Prefix(prefix) => {
                let key = Key::text(prefix);
                let entries = self
                    .entries
                    .range((Included((key.clone(), None)), Unbounded))
                    .take_while(|(found, _)| found.0.starts_with(&key.0));
                let ids = entries.filter_map(|(_, id)| id.as_ref()).take(MAX_GATHERED);
                let mut gathered = 0;
                let found = ids.inspect(|_| gathered += 1).filter(|id| after.is_none_or(|after| *id > after));
                let found = found.cloned().collect();
                if gathered == MAX_GATHERED {
                    return None;
                }
                found
            }
        };
        if found.len() == MAX_GATHERED {
            return None;
        }
        found.sort_unstable();
        found.truncate(most);
        Some(found)
    }
}

/// The indexes over the devices' twins, or over the modules' twins.
#[derive(Debug, Default)]
pub(crate) struct TwinIndexes {
    indexes: Vec<Index>,
    /// Paths without an index, each with the number of queries that asked for it. The latest one is last.
    counted: Vec<(Path, u32)>,
    /// The number of queries so far.
    now: u64,
}

impl TwinIndexes {
    /// Counts a query with these hints. A path that was asked for often enough gets an index, which has no twins
    /// until [`build`](Self::build) adds them.
    pub(crate) fn ask(&mut self, hints: &[Hint]) {
        self.now += 1;
        for hint in hints {
            let path = &hint.path;
            if !matches!(path.first(), "tags" | "properties") {
                continue;
            }
            if let Some(index) = self.indexes.iter_mut().find(|index| index.path == *path) {
                index.asked = self.now;
                continue;
            }
            let counted = self.counted.iter().position(|(counted, _)| counted == path);
            let asked = counted.map_or(1, |position| self.counted.remove(position).1 + 1);
            if asked >= ASKED {
                self.open(path.clone());
            } else {
                if self.counted.len() == MAX_COUNTED {
                    self.counted.remove(0);
                }
                self.counted.push((path.clone(), asked));
            }
        }
    }

    fn open(&mut self, path: Path) {
        if self.indexes.len() == MAX_INDEXES {
            let oldest = self.indexes.iter().enumerate().min_by_key(|(_, index)| index.asked);
            if let Some((oldest, _)) = oldest {
                self.indexes.swap_remove(oldest);
            }
        }
        let built = Built::UpTo(None);
        self.indexes.push(Index { path, entries: BTreeSet::new(), built, asked: self.now });
    }

    /// Brings the change of a twin from `old` to `new` to all indexes; either is `None` where there is no twin.
    pub(super) fn changed(&mut self, id: &Identity, old: Option<Packed<'_>>, new: Option<Packed<'_>>) {
        for index in &mut self.indexes {
            if !index.covers(id) {
                continue;
            }
            let old = old.and_then(|old| Key::at(&index.path, old));
            let new = new.and_then(|new| Key::at(&index.path, new));
            if old == new {
                continue;
            }
            if let Some(key) = old {
                index.entries.remove(&(key, Some(id.clone())));
            }
            if let Some(key) = new {
                index.insert(key, id);
            }
        }
    }

    /// Adds up to `most` more twins to an index that is not complete, and returns whether there are more to add.
    /// `twins` returns the twins whose ids are greater than an id.
    pub(super) fn build<'t, I>(&mut self, most: usize, twins: impl Fn(Option<&Identity>) -> I) -> bool
    where
        I: Iterator<Item = (&'t Identity, Packed<'t>)>,
    {
        let Some(index) = self.indexes.iter_mut().find(|index| index.built != Built::Whole) else {
            return false;
        };
        let after = match &index.built {
            Built::UpTo(after) => after.clone(),
            Built::Whole => None,
        };
        let mut last = None;
        for (id, document) in twins(after.as_ref()).take(most) {
            if let Some(key) = Key::at(&index.path, document) {
                index.insert(key, id);
            }
            last = Some(id);
        }
        index.built = match last {
            Some(last) => Built::UpTo(Some(last.clone())),
            None => Built::Whole,
        };
        self.indexes.iter().any(|index| index.built != Built::Whole)
    }

    /// Returns up to `most` candidate ids greater than `after`, in ascending order; `None` if no complete index fits
    /// the hints.
    ///
    /// A candidate need not match. No twin between `after` and the last candidate matches without being one, and
    /// after fewer than `most` candidates no twin matches.
    pub(crate) fn candidates(
        &self,
        hints: &[Hint],
        after: Option<&Identity>,
        most: usize,
    ) -> Option<Vec<Identity>> {
        let whole = |hint: &Hint| {
            self.indexes.iter().find(|index| index.path == hint.path && index.built == Built::Whole)
        };
        let known = hints.iter().filter_map(|hint| whole(hint)?.candidates(&hint.constraint, after, most));
        // Of several full answers the one whose last id is greatest covers the most twins. An answer with fewer ids
        // than `most` covers all twins; of several such answers the shortest is best.
        known.max_by(|left, right| {
            let ends = |ids: &Vec<Identity>| ids.len() < most;
            let fewer = || right.len().cmp(&left.len());
            ends(left)
                .cmp(&ends(right))
                .then_with(|| if ends(left) { fewer() } else { left.last().cmp(&right.last()) })
        })
    }
}

#[cfg(test)]
mod tests;
