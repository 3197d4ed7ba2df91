//! [`Gate`] is the place where an acknowledgement waits until its transaction is kept.
//!
//! A journal makes a gate for each transaction, or one gate for several that it writes together, so that they are one
//! wake-up. The caller of a commit gets a clone of it.

use std::sync::{Arc, OnceLock};

use iothub_models::ErrorCode;
use tokio::sync::Notify;

use crate::core::refusal::HubError;

/// The reason why a change was not kept. Nothing that waited for it may be acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the change was not kept: {0}")]
pub(crate) struct NotKept(Arc<str>);

impl NotKept {
    pub(crate) fn new(reason: &str) -> Self {
        Self(reason.into())
    }

    /// Returns the refusal for the peer whose change was not kept, or whose question saw a change that was not kept.
    pub(crate) fn refusal(self) -> HubError {
        HubError::new(ErrorCode::ServiceUnavailable, self.to_string())
    }
}

/// A gate that opens once a transaction is kept, or breaks if it cannot be kept. A clone is cheap, and is
/// the same gate.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Option<Arc<Bar>>);

#[derive(Debug, Default)]
struct Bar {
    outcome: OnceLock<Result<(), NotKept>>,
    moved: Notify,
}

impl Gate {
    /// A gate that was never closed.
    pub(crate) const OPEN: Self = Self(None);

    /// Returns whether the transaction was kept; `None` while that is not known.
    pub(crate) fn outcome(&self) -> Option<Result<(), NotKept>> {
        self.0.as_ref().map_or(Some(Ok(())), |bar| bar.outcome.get().cloned())
    }

    /// Returns whether the gate is open.
    pub(crate) fn is_open(&self) -> bool {
        self.outcome() == Some(Ok(()))
    }

    /// Waits until the transaction is kept.
    ///
    /// # Errors
    /// [`NotKept`], once that is certain.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn wait(&self) -> Result<(), NotKept> {
        let Some(bar) = &self.0 else { return Ok(()) };
        loop {
            // This comes before the outcome is read, so that an outcome which is set in between is not missed.
            let moved = bar.moved.notified();
            if let Some(outcome) = bar.outcome.get() {
                return outcome.clone();
            }
            moved.await;
        }
    }
}

/// The side of a journal on which a gate is opened.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct GateKeeper(Arc<Bar>);

#[cfg(test)]
impl GateKeeper {
    /// Returns a closed gate and its keeper.
    pub(crate) fn closed() -> (Self, Gate) {
        let bar = Arc::<Bar>::default();
        (Self(Arc::clone(&bar)), Gate(Some(bar)))
    }

    /// Opens the gate, or breaks it.
    pub(crate) fn decide(self, outcome: Result<(), NotKept>) {
        let _decided_before = self.0.outcome.set(outcome);
        self.0.moved.notify_waiters();
    }
}
