//! Locks: who has something that was handed out, for how long, and how it may come back.
//!
//! Cloud-to-device messages and batches of feedback live by the same rules: what is handed out is
//! invisible under a lock token, until its holder settles it or the lock's time is over.

use std::fmt;

use jiff::Timestamp;
use uuid::Uuid;

/// Names one hand-out of one thing; the next hand-out has another. On the wire it is a GUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LockToken(Uuid);

impl LockToken {
    /// The token of this text, if it can be one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }

    /// The token of 16 bytes, as delivery tags carry it.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self)
    }

    /// Its 16 bytes.
    pub(crate) const fn bytes(self) -> [u8; 16] {
        *self.0.as_bytes()
    }
}

impl fmt::Display for LockToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// Makes lock tokens that never repeat.
#[derive(Debug)]
pub(crate) struct LockTokens {
    seed: u64,
    last: u64,
}

impl LockTokens {
    /// `seed` is best random: a token from before a restart must not fit another hand-out.
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed, last: 0 }
    }

    pub(crate) const fn next(&mut self) -> LockToken {
        self.last += 1;
        LockToken(Uuid::from_u64_pair(self.seed, self.last))
    }
}

/// A lock on something handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lock {
    pub(crate) token: LockToken,
    /// When it is over; `None` while a connection has it, which gives it back when it ends.
    pub(crate) until: Option<Timestamp>,
}

impl Lock {
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// What a holder says of what it was handed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settlement {
    /// It is done.
    Complete,
    /// It can never be done.
    Reject,
    /// It could not be done now. Counts as a failed delivery.
    Abandon,
    /// It never reached whom it was for. Does not count.
    Release,
}
