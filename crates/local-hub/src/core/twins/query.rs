//! [`Paging`] answers a query over twins with one page, which it puts together from slices.
//!
//! The hub calls it a slice at a time, and frees the state for other transitions between two slices. What a page needs
//! to begin where the one before it ended is in its [`Progress`], which the client carries; the hub keeps nothing
//! between two pages.
//!
//! A slice reads the twins that an index or the order of the ids admits, or all twins where neither is of use.

use std::collections::BTreeSet;

use iothub_models::{DeviceId, ErrorCode, Identity};
use iothub_query::{Aggregation, Collection, Constraint, Hint, ItemKind, Query};
use jiff::Timestamp;
use serde_json::Value;

use super::row::{Owner, TwinRow};
use super::{TwinSet, Twins};
use crate::core::c2d::C2dQueues;
use crate::core::continuation::{Position, Progress};
use crate::core::refusal::HubError;
use crate::core::registry::Registry;

/// The most twins that one slice reads. A set with no more twins gets no index.
const SLICE: usize = 1024;
/// The most items that one slice writes.
const SLICE_ITEMS: usize = 128;
/// The size at which a page ends, whatever number of items was asked for. The service documents no such size.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// The state that a slice reads.
pub(crate) struct QueryState<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) twins: &'a mut Twins,
    pub(crate) queues: &'a C2dQueues,
    pub(crate) now: Timestamp,
    /// Returns whether the slice has taken long enough. A number of twins alone does not bound its time, since the cost
    /// of one twin depends on the query.
    pub(crate) is_over: &'a dyn Fn() -> bool,
}

/// A page that is being put together.
#[derive(Debug)]
pub(crate) struct Paging<'q> {
    query: &'q Query,
    hints: Vec<Hint>,
    /// The most items of the page.
    most: usize,
    /// The page so far: a JSON array without its closing bracket.
    body: Vec<u8>,
    items: usize,
    /// The last twin that was read.
    read: Option<Identity>,
    /// The twin of the last item.
    shown: Option<Identity>,
    /// The number of items that the query's TOP still allows.
    left: u64,
    /// For a query whose items are groups: the groups so far, and the number of them that earlier pages showed.
    groups: Option<(Aggregation<'q>, u64)>,
    /// Whether the indexes have counted this query.
    asked: bool,
}

/// A finished page.
#[derive(Debug)]
pub(crate) struct Page {
    /// The items: a JSON array.
    pub(crate) json: String,
    /// The number of its items.
    pub(crate) rows: usize,
    /// The beginning of the next page, if there is one.
    pub(crate) next: Option<Progress>,
}

/// The result of reading a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slice {
    /// There are more twins to read for this page.
    More,
    /// The page is full, and another follows unless TOP is reached.
    Full,
    /// There are no more twins.
    End,
}

impl<'q> Paging<'q> {
    pub(crate) fn new(query: &'q Query, most: usize, progress: Option<Progress>) -> Self {
        let (after, shown, left) = match progress {
            None => (None, 0, query.top().unwrap_or(u64::MAX)),
            Some(Progress { position: Position::After(after), left }) => (after, 0, left),
            Some(Progress { position: Position::Groups(shown), left }) => (None, shown, left),
        };
        Self {
            query,
            hints: query.index_hints(),
            most,
            body: b"[".to_vec(),
            items: 0,
            shown: after.clone(),
            read: after,
            left,
            groups: query.aggregation().map(|aggregation| (aggregation, shown)),
            asked: false,
        }
    }

    /// Reads the next slice of twins.
    pub(crate) fn slice(&mut self, state: QueryState<'_>) -> Result<Slice, HubError> {
        let set = match self.query.collection() {
            Collection::Devices => state.twins.devices(),
            Collection::Modules => state.twins.modules(),
            // The hub runs no jobs.
            Collection::Jobs => return Ok(Slice::End),
        };
        if set.len() > SLICE {
            if !std::mem::replace(&mut self.asked, true) {
                set.indexes.ask(&self.hints);
            }
            if set.build_indexes(SLICE) {
                return Ok(Slice::More);
            }
        }
        let (queues, now, is_over) = (state.queues, state.now, state.is_over);
        let enough = self.items + SLICE_ITEMS;
        let candidates = candidates(set, &self.hints, self.read.as_ref());
        if let Some(ids) = candidates {
            for id in &ids {
                let kept = set.get(id).zip(Owner::of(state.registry, id));
                if let Some((stored, owner)) = kept
                    && self.take(&TwinRow::new(id, owner, stored, queues, now))?
                {
                    return Ok(Slice::Full);
                }
                if self.items == enough || is_over() {
                    self.read = Some(id.clone());
                    return Ok(Slice::More);
                }
            }
            let ended = ids.len() < SLICE;
            self.read = ids.into_iter().next_back().or_else(|| self.read.take());
            return Ok(if ended { Slice::End } else { Slice::More });
        }
        let after = self.read.clone();
        let mut last: Option<&Identity> = None;
        // The registry and the twins have the same order, so that both are walked side by side.
        let mut devices = state.registry.devices_after(after.as_ref().map(|id| &id.device));
        for (number, (id, stored)) in set.after(after.as_ref()).enumerate() {
            if number == SLICE || self.items == enough || number > 0 && is_over() {
                self.read = last.cloned();
                return Ok(Slice::More);
            }
            let owner = match id.module {
                None => devices.find(|(device, _)| same(device, &id.device)).map(|(_, of)| Owner::Device(of)),
                Some(_) => Owner::of(state.registry, id),
            };
            if let Some(owner) = owner
                && self.take(&TwinRow::new(id, owner, stored, queues, now))?
            {
                return Ok(Slice::Full);
            }
            last = Some(id);
        }
        Ok(Slice::End)
    }

    /// Adds the item that the query makes of a twin to the page, unless the page is full, and returns whether the page
    /// is finished. A full page is finished when there is an item for the next page, or when TOP is reached.
    fn take(&mut self, row: &TwinRow<'_>) -> Result<bool, HubError> {
        if let Some((groups, _)) = &mut self.groups {
            groups.add(row).map_err(|error| HubError::new(ErrorCode::ArgumentInvalid, error.to_string()))?;
            return Ok(false);
        }
        if self.is_full() {
            return Ok(self.left == 0 || self.query.matches(row));
        }
        if self.query.item_kind() == ItemKind::Twin {
            if !self.query.matches(row) {
                return Ok(false);
            }
            let twin = row.twin()?;
            self.push(|body| serde_json::to_writer(body, &twin))?;
        } else {
            let Some(item) = self.query.evaluate(row) else { return Ok(false) };
            self.push(|body| serde_json::to_writer(body, &item))?;
        }
        self.shown = Some(row.id.clone());
        Ok(self.left == 0)
    }

    fn is_full(&self) -> bool {
        self.left == 0 || self.items == self.most || self.body.len() >= PAGE_BYTES
    }

    fn push(&mut self, write: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>) -> Result<(), HubError> {
        if self.items > 0 {
            self.body.push(b',');
        }
        write(&mut self.body).map_err(|error| HubError::new(ErrorCode::ServerError, error.to_string()))?;
        self.items += 1;
        self.left -= 1;
        Ok(())
    }

    /// Returns the page. `slice` is the result of its last slice: the page is full, or there are no more twins.
    pub(crate) fn finish(mut self, slice: Slice) -> Result<Page, HubError> {
        let next = match self.groups.take() {
            Some((groups, shown)) => {
                let before = usize::try_from(shown).unwrap_or(usize::MAX);
                let mut rows = groups.into_rows().skip(before);
                while !self.is_full()
                    && let Some(row) = rows.next()
                {
                    self.push(|body| serde_json::to_writer(body, &row))?;
                }
                let more = self.left > 0 && rows.next().is_some();
                more.then(|| Position::Groups(shown + self.items as u64))
            }
            None => (slice == Slice::Full && self.left > 0).then(|| Position::After(self.shown.take())),
        };
        let (left, rows) = (self.left, self.items);
        self.body.push(b']');
        let json = String::from_utf8(self.body)
            .map_err(|error| HubError::new(ErrorCode::ServerError, error.to_string()))?;
        Ok(Page { json, rows, next: next.map(|position| Progress { position, left }) })
    }
}

/// Returns whether two ids are equal. The registry and the twins share the text of an id, so that comparing the
/// addresses is mostly enough.
fn same(left: &DeviceId, right: &DeviceId) -> bool {
    std::ptr::eq(left.as_str(), right.as_str()) || left == right
}

/// Returns up to a slice of candidate ids greater than `after`, in ascending order; `None` if all twins must be read.
/// A candidate need not match. After fewer candidates than a slice no twin matches.
fn candidates(set: &TwinSet, hints: &[Hint], after: Option<&Identity>) -> Option<Vec<Identity>> {
    let of_id = hints.iter().find(|hint| hint.path.first() == "deviceId" && hint.path.rest().is_empty());
    if let Some(hint) = of_id {
        return Some(ids(set, &hint.constraint, after));
    }
    set.indexes.candidates(hints, after, SLICE)
}

/// Returns up to a slice of ids greater than `after` whose device the constraint admits, in ascending order.
fn ids(set: &TwinSet, constraint: &Constraint, after: Option<&Identity>) -> Vec<Identity> {
    let wanted: BTreeSet<DeviceId> = match constraint {
        Constraint::Eq(value) => device_id(value).into_iter().collect(),
        Constraint::In(values) => values.iter().filter_map(device_id).collect(),
        Constraint::Prefix(prefix) => {
            let begins = |id: &&Identity| id.device.as_str().starts_with(prefix.as_str());
            let slice = |ids: &mut dyn Iterator<Item = &Identity>| ids.take(SLICE).cloned().collect();
            return match (prefix.parse().map(Identity::device), after) {
                // No id begins with a text that is no id.
                (Err(_), _) if !prefix.is_empty() => Vec::new(),
                (Ok(first), after) if after.is_none_or(|after| *after < first) => {
                    slice(&mut set.from(&first).map(|(id, _)| id).take_while(begins))
                }
                _ => slice(&mut set.after(after).map(|(id, _)| id).take_while(begins)),
            };
        }
    };
    let of_device = |device: DeviceId| {
        let first = Identity::device(device.clone());
        set.from(&first).map(|(id, _)| id).take_while(move |id| id.device == device)
    };
    let found = wanted.into_iter().flat_map(of_device);
    found.filter(|id| after.is_none_or(|after| *id > after)).take(SLICE).cloned().collect()
}

fn device_id(value: &Value) -> Option<DeviceId> {
    value.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests;
