//! This file looks at the hub from beside it: for tests, and for programs that embed it.

use super::Hub;
use crate::activity::ActivityStream;
use crate::core::event::HubEvent;
use crate::core::refusal::HubError;

impl Hub {
    /// Returns all events that are kept.
    pub(crate) fn kept_events(&self) -> Vec<HubEvent> {
        self.0.log.kept()
    }

    /// Begins to record what happens, and returns the stream of records.
    pub(crate) fn listen(&self) -> ActivityStream {
        self.0.activity.stream()
    }

    /// Forgets all identities and everything the hub holds for them, and closes their connections.
    pub(crate) async fn clear(&self) -> Result<(), HubError> {
        self.commit(|service, now| {
            service.clear();
            // Under the lock of the service, so that no event of an identity that is gone comes after the reset.
            self.0.log.clear(now);
            Ok(())
        })
        .await
    }

    /// Waits until `reached` returns true; it is asked now and after every change.
    pub(crate) async fn wait_until(&self, mut reached: impl FnMut() -> bool) {
        let mut changes = self.0.outlets.changes.subscribe();
        while !reached() {
            // The sender lives as long as this hub does, so waiting cannot fail.
            let _changed = changes.changed().await;
        }
    }
}
