//! A lease hands out a piece of the service's state until its holder settles it: this file has the parts of leases that
//! cloud-to-device messages and batches of feedback share.
//!
//! [`c2d`](super::c2d) and [`feedback`](super::feedback) hold the pieces. A piece that is handed out is invisible under a
//! [`LockToken`], until its holder says with a [`Settlement`] what became of it or the time of its [`Lock`] is over.
//!
//! A piece is handed out only if it is kept, so that a crash cannot take back what a peer has seen. Each transition has
//! a [`Position`], in ascending order, and a piece carries the position of the transition that made it; a lease passes
//! over pieces that the journal has not kept. When the journal releases a transaction it moves [`Kept`] on, and the wake
//! that it releases with it has the piece fetched. While no journal keeps records, every position is the first one,
//! which is always kept.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use uuid::Uuid;

/// The name of one lease of one piece; the next lease of the piece has another. On the wire it is a GUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LockToken(Uuid);

impl LockToken {
    /// Returns the token that a text spells, or `None` if it spells no GUID.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }

    /// Returns the token of 16 bytes, as delivery tags carry it.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self)
    }

    /// Returns the 16 bytes of the token.
    pub(crate) const fn bytes(self) -> [u8; 16] {
        *self.0.as_bytes()
    }
}

impl fmt::Display for LockToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// A source of lock tokens that never repeat.
#[derive(Debug)]
pub(crate) struct LockTokens {
    seed: u64,
    last: u64,
}

impl LockTokens {
    /// Returns a source with this seed, which is best random: a token from before a restart must not fit another lease.
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed, last: 0 }
    }

    /// Returns the next token.
    pub(crate) const fn next(&mut self) -> LockToken {
        self.last += 1;
        LockToken(Uuid::from_u64_pair(self.seed, self.last))
    }
}

/// The lock on a piece that is handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lock {
    pub(crate) token: LockToken,
    /// The time at which the lock is over; `None` if a connection holds the piece, which gives it back when it ends.
    pub(crate) until: Option<Timestamp>,
}

impl Lock {
    /// Returns whether the time of the lock has passed.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// The holder's word on a piece that it was handed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settlement {
    /// The piece is done with.
    Complete,
    /// The holder will never take the piece.
    Reject,
    /// The holder could not take the piece now. The delivery counts as failed.
    Abandon,
    /// The piece never reached its receiver. The delivery does not count.
    Release,
}

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
