//! Indexes over the values at paths of twins that queries ask for often: which twins have this value, or
//! one that begins so.
//!
//! An index is a hint and no more: it may name twins that a query does not select, and never leaves out
//! one that it does. It is built a piece at a time, and every change of a twin is brought to what is
//! built already. There are few, and the one that nobody asked for longest makes room.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use iothub_models::Identity;
use iothub_query::{Constraint, Hint, Path, Segment};
use serde_json::Value;

use super::packed::Packed;

/// Indexes over twins of one kind.
const MAX_INDEXES: usize = 6;
/// Paths that are counted before they have an index.
const MAX_COUNTED: usize = 32;
/// A path gets its index when this many queries asked for it.
const ASKED: u32 = 2;
/// Bytes of a text that the index tells apart.
const TEXT_BYTES: usize = 64;
/// Entries that may be gathered for one answer; with more, reading the twins themselves is quicker.
const MAX_GATHERED: usize = 8 * 1024;

/// What the index knows of a value: a byte for its type, and the value. Equal values have equal keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key(Arc<[u8]>);

impl Key {
    /// Objects and arrays equal nothing, and have none.
    fn new(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => Self(Arc::from(*b"0")),
            Value::Bool(false) => Self(Arc::from(*b"1")),
            Value::Bool(true) => Self(Arc::from(*b"2")),
            Value::Number(number) => {
                // As queries compare them: as floats, and zero without a sign.
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

/// The value at a path of tags or properties.
pub(super) fn find<'d>(path: &Path, document: Packed<'d>) -> Option<Packed<'d>> {
    path.rest().iter().try_fold(document.member(path.first())?, |value, segment| match segment {
        Segment::Name(name) => value.member(name),
        Segment::Index(index) => value.item(*index),
    })
}

/// One value of one twin. `None` comes before every id.
type Entry = (Key, Option<Identity>);

#[derive(Debug)]
struct Index {
    path: Path,
    entries: BTreeSet<Entry>,
    built: Built,
    /// When it was asked for last; see [`TwinIndexes::now`].
    asked: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Built {
    /// For all ids up to this one.
    UpTo(Option<Identity>),
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
        // Many twins have one value: they share its bytes.
        let mut same = self.entries.range((Included((key.clone(), None)), Unbounded));
        let key = same.next().filter(|(known, _)| *known == key).map_or(key, |(known, _)| known.clone());
        self.entries.insert((key, Some(id.clone())));
    }

    /// The ids after `after` with this value, in their order.
    fn ids<'i>(&'i self, key: &'i Key, after: Option<&Identity>) -> impl Iterator<Item = &'i Identity> {
        let from = (key.clone(), after.cloned());
        self.entries
            .range((Excluded(from), Unbounded))
            .take_while(move |(found, _)| found == key)
            .filter_map(|(_, id)| id.as_ref())
    }

    /// The first `most` ids after `after` that the constraint admits, in their order.
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

/// The indexes over twins of one kind.
#[derive(Debug, Default)]
pub(crate) struct TwinIndexes {
    indexes: Vec<Index>,
    /// Paths without an index, and how many queries asked for them; the latest last.
    counted: Vec<(Path, u32)>,
    /// Grows with every query.
    now: u64,
}

impl TwinIndexes {
    /// A query asks for these. A path that was asked for often enough gets an index, which is to be built.
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

    /// Brings a change of a twin to the indexes.
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

    /// Takes up to `most` more twins into an index that is not whole; whether one still is not.
    /// `twins` gives those after an id.
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

    /// The next ids after `after`, at most `most` and in their order, among which all twins are that the
    /// hints admit, up to the last of them; `None` if no index knows. Fewer than `most` are all there are.
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
        // The sparsest one reaches furthest with as many ids; one that ends reaches to the end.
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
