//! How much the outbox may hold, by count and by bytes: a place is taken before a message is handed to
//! the connection's task and given back when it leaves. Knows nothing of the messages themselves.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::options::{OutboxLimits, WhenFull};

/// The places of the outbox. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Capacity {
    messages: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    when_full: WhenFull,
}

/// The place of one message, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _message: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// Why there is no place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    Full,
    Closed,
}

impl Capacity {
    pub(crate) fn new(limits: &OutboxLimits) -> Self {
        Self {
            messages: Arc::new(Semaphore::new(limits.messages)),
            bytes: Arc::new(Semaphore::new(limits.bytes)),
            when_full: limits.when_full,
        }
    }

    /// Waits for a place for `size` bytes, in the order of asking; does not wait where a full outbox
    /// refuses.
    ///
    /// # Cancel safety
    /// Dropping the future takes no place.
    pub(crate) async fn take(&self, size: u32) -> Result<Place, NoPlace> {
        match self.when_full {
            WhenFull::Refuse => self.try_take(size),
            WhenFull::Wait => {
                let (messages, bytes) = (Arc::clone(&self.messages), Arc::clone(&self.bytes));
                let message = messages.acquire_owned().await.map_err(|_| NoPlace::Closed)?;
                let bytes = bytes.acquire_many_owned(size).await.map_err(|_| NoPlace::Closed)?;
                Ok(Place { _message: message, _bytes: bytes })
            }
        }
    }

    /// A place for `size` bytes if there is one now. Those who wait already come first.
    pub(crate) fn try_take(&self, size: u32) -> Result<Place, NoPlace> {
        let refused = |error| match error {
            TryAcquireError::NoPermits => NoPlace::Full,
            TryAcquireError::Closed => NoPlace::Closed,
        };
        let message = Arc::clone(&self.messages).try_acquire_owned().map_err(refused)?;
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(size).map_err(refused)?;
        Ok(Place { _message: message, _bytes: bytes })
    }

    /// From now on there is no place for anything new.
    pub(crate) fn close(&self) {
        self.messages.close();
        self.bytes.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(when_full: WhenFull) -> Capacity {
        Capacity::new(&OutboxLimits { messages: 2, bytes: 100, when_full })
    }

    #[tokio::test]
    async fn refuses_by_count_and_by_bytes() {
        let places = capacity(WhenFull::Refuse);
        let first = places.take(60).await.unwrap();
        assert_eq!(places.take(41).await.unwrap_err(), NoPlace::Full);
        let _second = places.take(40).await.unwrap();
        assert_eq!(places.take(0).await.unwrap_err(), NoPlace::Full);
        drop(first);
        assert!(places.take(60).await.is_ok());
    }

    #[tokio::test]
    async fn waits_until_a_place_is_free_or_all_is_closed() {
        let places = capacity(WhenFull::Wait);
        let first = places.take(100).await.unwrap();
        let waiting = tokio::spawn({
            let places = places.clone();
            async move { places.take(1).await }
        });
        drop(first);
        let _second = waiting.await.unwrap().unwrap();
        let closed = tokio::spawn({
            let places = places.clone();
            async move { places.take(100).await.map(drop) }
        });
        places.close();
        assert_eq!(closed.await.unwrap(), Err(NoPlace::Closed));
    }
}
