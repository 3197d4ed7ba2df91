//! [`Position`] and [`Kept`] tell which pieces of the service's state are kept, so that nothing is handed out that a crash
//! could take back.
//!
//! Each transition has a position, in ascending order. A message or a batch of feedback carries the position of the
//! transition that made it; a lease passes over those which the journal has not kept. When the journal releases a
//! transaction it moves [`Kept`] on, and the wake that it releases with it has the piece fetched. While no journal keeps
//! records, every position is the first one, which is always kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The position of a transition among all transitions of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position(u64);

impl Position {
    /// Returns the position after this one.
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The last position that is kept. Cheap to clone: all clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(Arc<AtomicU64>);

impl Kept {
    /// Notes that everything up to this position is kept.
    pub(crate) fn move_to(&self, position: Position) {
        self.0.fetch_max(position.0, Ordering::Release);
    }

    /// Returns whether everything up to this position is kept.
    pub(crate) fn includes(&self, position: Position) -> bool {
        position.0 <= self.0.load(Ordering::Acquire)
    }
}
