//! The outbox: telemetry that the hub has not acknowledged yet, in order. Pure: it opens no connection
//! and knows no clock; how much it may hold is decided at its door, in `capacity`.
//!
//! ```text
//!  front                                             back
//!  | offered on this connection | offered before | new |
//!    at most `window`, with ids    (after a loss)   no id
//! ```
//! A message leaves by its acknowledgement or when it is given up, never by being sent. Packet ids run
//! around all of 1..=65535 and go on across connections, so that a late acknowledgement of a lost
//! session fits nothing.

use std::collections::VecDeque;

/// Unacknowledged items in order. `T` is whatever travels with them.
#[derive(Debug)]
pub(crate) struct Outbox<T> {
    entries: VecDeque<Entry<T>>,
    /// How many at the front were offered on this connection.
    offered: usize,
    window: usize,
    last_id: u16,
}

#[derive(Debug)]
struct Entry<T> {
    sequence: u64,
    /// The packet id; 0 until the item is first offered in the hub's present session.
    id: u16,
    item: T,
}

/// An item to put on the wire now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Offer<'a, T> {
    pub(crate) id: u16,
    /// Whether the same session may have seen it already.
    pub(crate) dup: bool,
    pub(crate) item: &'a T,
}

/// What became of an item that its sender no longer waits for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum GivenUp<T> {
    /// It never left, and now never will.
    Queued(T),
    /// It was offered; whether the hub has it is unknown.
    Offered(T),
    /// It is not here: acknowledged a moment ago.
    Gone,
}

impl<T> Outbox<T> {
    pub(crate) fn new(window: u16) -> Self {
        Self { entries: VecDeque::new(), offered: 0, window: usize::from(window.max(1)), last_id: 0 }
    }

    pub(crate) fn push(&mut self, sequence: u64, item: T) {
        self.entries.push_back(Entry { sequence, id: 0, item });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many wait for their acknowledgement on this connection.
    pub(crate) const fn offered(&self) -> usize {
        self.offered
    }

    /// The hub has accepted a new connection. If it kept the session, what it has not acknowledged is
    /// offered again under the same ids; if not, under new ones.
    pub(crate) fn connected(&mut self, session_present: bool) {
        self.offered = 0;
        if !session_present {
            for entry in self.entries.iter_mut().take_while(|entry| entry.id != 0) {
                entry.id = 0;
            }
        }
    }

    /// The next item the window lets through.
    pub(crate) fn offer(&mut self) -> Option<Offer<'_, T>> {
        if self.offered >= self.window.min(self.entries.len()) {
            return None;
        }
        let dup = self.entries[self.offered].id != 0;
        if !dup {
            let id = if self.last_id == u16::MAX { 1 } else { self.last_id + 1 };
            // Ids in use lie between the oldest and the last, so only the oldest can be in the way.
            if self.entries[0].id == id {
                return None;
            }
            self.last_id = id;
            self.entries[self.offered].id = id;
        }
        let entry = &self.entries[self.offered];
        self.offered += 1;
        Some(Offer { id: entry.id, dup, item: &entry.item })
    }

    /// A packet id for a request that is no publish, far from those in use.
    pub(crate) fn spare_id(&self) -> u16 {
        let far = self.last_id.wrapping_add(u16::MAX / 2);
        let in_use = |id| self.entries.iter().take_while(|entry| entry.id != 0).any(|entry| entry.id == id);
        (far..=u16::MAX).chain(1..far).find(|id| *id != 0 && !in_use(*id)).unwrap_or(u16::MAX)
    }

    /// The hub acknowledged `id`; `None` if nothing here has it.
    pub(crate) fn acknowledged(&mut self, id: u16) -> Option<T> {
        let position =
            self.entries.iter().take_while(|entry| entry.id != 0).position(|entry| entry.id == id)?;
        self.remove(position)
    }

    pub(crate) fn give_up(&mut self, sequence: u64) -> GivenUp<T> {
        let Some(position) = self.entries.iter().position(|entry| entry.sequence == sequence) else {
            return GivenUp::Gone;
        };
        let was_offered = self.entries[position].id != 0;
        match self.remove(position) {
            Some(item) if was_offered => GivenUp::Offered(item),
            Some(item) => GivenUp::Queued(item),
            None => GivenUp::Gone,
        }
    }

    /// Takes everything out, oldest first.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.offered = 0;
        self.entries.drain(..).map(|entry| entry.item)
    }

    fn remove(&mut self, position: usize) -> Option<T> {
        if position < self.offered {
            self.offered -= 1;
        }
        self.entries.remove(position).map(|entry| entry.item)
    }
}

#[cfg(test)]
mod tests;
