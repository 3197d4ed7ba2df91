//! Keeps the application's view of the desired properties complete and in order. Pure: what arrives, the
//! time and chance are arguments.
//!
//! The hub tells changes only to a connected device, once, and numbers them. So the whole is read when
//! the application begins to listen, on every new connection, when a number is left out, and when the
//! application reads too slowly:
//!
//! | what arrives, when `seen` is the last version delivered | what becomes of it |
//! |---|---|
//! | change `seen + 1` | delivered |
//! | change up to `seen` | dropped: a repeat, or older |
//! | change beyond `seen + 1` | held, and the whole is read |
//! | the whole, newer than `seen` | delivered as such; then what is held and follows it |
//! | the whole, as old as `seen` | nothing was missed |
//! | the whole, older | not delivered, unless the hub has no session: then it is another twin |
//!
//! The last rule: a hub that forgot the session of a device may have forgotten its twin too (the device
//! was deleted and created again), and versions begin anew. With its session kept, the twin is the same,
//! and an older version is a stale response.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use iothub_models::TwinSection;
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{Changes, DesiredChange, UNREAD};
use crate::error::Error;

/// Who waits for the state at the beginning of a stream.
pub(crate) type Start = oneshot::Sender<Result<TwinSection, Error>>;

/// Between attempts to read the whole, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Tracker {
    changes: Arc<Changes>,
    /// The last version delivered; `None` until a stream has begun.
    seen: Option<i64>,
    /// The highest version the hub has told of on this connection.
    newest: i64,
    /// Whether unread changes were thrown away, which the whole must make up for.
    lagging: bool,
    /// Whether the hub had forgotten the device's session when it last connected.
    new_session: bool,
    start: Option<Start>,
    held: VecDeque<(TwinSection, usize)>,
    held_bytes: usize,
    reading: Reading,
    failures: u32,
}

/// Where reading the whole stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    NotNeeded,
    Due,
    Asked { id: u64, deadline: Timestamp },
    Paused { until: Timestamp },
}

impl Tracker {
    pub(crate) const fn new(changes: Arc<Changes>) -> Self {
        Self {
            changes,
            seen: None,
            newest: 0,
            lagging: false,
            new_session: false,
            start: None,
            held: VecDeque::new(),
            held_bytes: 0,
            reading: Reading::NotNeeded,
            failures: 0,
        }
    }

    /// A stream begins; `start` is given what its changes begin from.
    pub(crate) fn begin(&mut self, start: Start) {
        self.start = Some(start);
        self.seen = None;
        self.forget_held();
        self.failures = 0;
        self.reading = Reading::Due;
    }

    pub(crate) fn connected(&mut self, session_present: bool) {
        self.newest = 0;
        self.failures = 0;
        self.new_session |= !session_present;
        self.reading = if self.is_followed() { Reading::Due } else { Reading::NotNeeded };
    }

    pub(crate) fn disconnected(&mut self) {
        self.forget_held();
        self.reading = Reading::NotNeeded;
    }

    /// Whether anybody listens.
    pub(crate) fn is_followed(&self) -> bool {
        self.start.as_ref().is_some_and(|start| !start.is_closed())
            || (self.seen.is_some() && self.changes.is_read())
    }

    /// Whether the whole is to be asked for now.
    pub(crate) fn wants_to_read(&self) -> bool {
        self.reading == Reading::Due && self.is_followed()
    }

    pub(crate) const fn asked(&mut self, id: u64, deadline: Timestamp) {
        self.reading = Reading::Asked { id, deadline };
    }

    /// Returns whether this request is the one that reads the desired properties.
    pub(crate) fn is_asked(&self, request: u64) -> bool {
        matches!(self.reading, Reading::Asked { id, .. } if id == request)
    }

    /// When to look again.
    pub(crate) const fn timer(&self) -> Option<Timestamp> {
        match self.reading {
            Reading::Asked { deadline: at, .. } | Reading::Paused { until: at } => Some(at),
            Reading::NotNeeded | Reading::Due => None,
        }
    }

    /// The time of [`timer`](Self::timer) has come.
    pub(crate) fn time_came(&mut self, now: Timestamp, chance: f64) {
        match self.reading {
            Reading::Asked { deadline, .. } if deadline <= now => self.pause(now, chance),
            Reading::Paused { until } if until <= now => self.reading = Reading::Due,
            _ => {}
        }
    }

    /// The hub told of a change that takes `size` bytes.
    pub(crate) fn changed(&mut self, patch: TwinSection, size: usize) {
        if !self.is_followed() {
            return;
        }
        self.newest = self.newest.max(patch.version);
        match self.seen {
            Some(seen) if patch.version <= seen => {}
            Some(seen) if patch.version == seen + 1 && !self.lagging => {
                self.deliver(DesiredChange::Patch(patch), size);
            }
            _ => {
                if self.held.len() < UNREAD.items && self.held_bytes + size <= UNREAD.bytes {
                    self.held_bytes += size;
                    self.held.push_back((patch, size));
                } else {
                    // `newest` remembers that there was more.
                    self.forget_held();
                }
                self.read_unless_asked();
            }
        }
    }

    /// Takes in the whole desired properties, from a response of `size` bytes.
    pub(crate) fn read(&mut self, whole: TwinSection, size: usize, now: Timestamp, chance: f64) {
        self.reading = Reading::NotNeeded;
        let (before, version) = (self.seen, whole.version);
        let mut stale = false;
        match (self.start.take(), before) {
            (Some(start), _) => {
                self.seen = Some(version);
                self.lagging = false;
                self.changes.clear();
                // Whoever asked may be gone; then nobody reads the changes either.
                let _gone = start.send(Ok(whole));
            }
            (None, Some(seen)) if version < seen && !self.new_session => stale = true,
            (None, Some(seen)) => {
                if version != seen || std::mem::take(&mut self.lagging) {
                    self.lagging = false;
                    self.deliver(DesiredChange::Full(whole), size);
                }
            }
            (None, None) => return,
        }
        self.new_session &= stale;
        self.held_bytes = 0;
        for (patch, size) in std::mem::take(&mut self.held) {
            // What follows is delivered, what is known dropped, and what lies beyond a gap held again.
            self.changed(patch, size);
        }
        let behind = self.lagging || self.seen.is_some_and(|seen| seen < self.newest);
        if stale || (behind && self.seen == before) {
            self.pause(now, chance);
        } else if behind {
            self.reading = Reading::Due;
        } else {
            self.failures = 0;
        }
    }

    /// The whole could not be read.
    pub(crate) fn could_not_read(&mut self, error: Error, now: Timestamp, chance: f64) {
        if !error.is_retryable()
            && let Some(start) = self.start.take()
        {
            self.reading = Reading::NotNeeded;
            let _gone = start.send(Err(error));
            return;
        }
        tracing::warn!(%error, "the desired properties could not be read: trying again");
        self.pause(now, chance);
    }

    /// No stream can begin: the hub refuses what it needs, or the client ends.
    pub(crate) fn refuse(&mut self, error: Error) {
        if let Some(start) = self.start.take() {
            let _gone = start.send(Err(error));
        }
    }

    /// There will be no more changes.
    pub(crate) fn close(&mut self, closed: Error) {
        self.refuse(closed);
        self.changes.close();
    }

    fn deliver(&mut self, change: DesiredChange, size: usize) {
        self.seen = Some(change.version());
        if self.changes.push(change, size).is_err() {
            // The reader is slow: one whole instead of many changes.
            self.changes.clear();
            self.lagging = true;
            self.read_unless_asked();
        }
    }

    fn read_unless_asked(&mut self) {
        if self.reading == Reading::NotNeeded {
            self.reading = Reading::Due;
        }
    }

    fn pause(&mut self, now: Timestamp, chance: f64) {
        let longest = Duration::from_secs(1 << self.failures.min(6)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        let pause = longest.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
        self.reading = Reading::Paused { until: now.checked_add(pause).unwrap_or(Timestamp::MAX) };
    }

    fn forget_held(&mut self) {
        self.held.clear();
        self.held_bytes = 0;
    }
}

#[cfg(test)]
mod tests;
