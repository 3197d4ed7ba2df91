//! This file takes events in from devices and from the hub's own transitions, and gives readers the stream.

use super::Hub;
use crate::core::event::HubEvent;
use crate::core::refusal::HubError;
use crate::log::EventLog;
use iothub_models::Identity;

/// The number of events whose routes are asked without a pause.
const ROUTED_AT_ONCE: usize = 8;

impl Hub {
    /// Takes telemetry, a whole read batch at once, in order. Devices are sent their acknowledgements
    /// after this returned, and only then.
    pub(crate) async fn accept_telemetry(&self, batch: Vec<HubEvent>) -> Result<(), HubError> {
        let now = self.0.clock.now();
        {
            let mut registry = self.registry();
            let mut previous = None;
            // A batch comes from one connection, so nearly always from one device.
            for event in &batch {
                let sender = (&event.device_id, &event.module_id);
                if previous != Some(sender) {
                    let id = Identity { device: event.device_id.clone(), module: event.module_id.clone() };
                    registry.touch(&id, now);
                    previous = Some(sender);
                }
            }
        }
        let mut taken = self.routed(&batch).await.into_iter();
        // Nothing waits from here on: what is told, kept and acknowledged is the same.
        self.0.activity.telemetry(&batch, now);
        let mut batch = batch;
        batch.retain(|_| taken.next().unwrap_or_default());
        self.append_events(batch);
        self.changed();
        Ok(())
    }

    /// Returns for each event of a batch whether a route sends it into the stream.
    async fn routed(&self, batch: &[HubEvent]) -> Vec<bool> {
        let mut taken = Vec::with_capacity(batch.len());
        for (index, event) in batch.iter().enumerate() {
            // A condition may read a large body or the device's twin: others get their turn in between.
            if index > 0
                && index.is_multiple_of(ROUTED_AT_ONCE)
                && !self.config().routes.take_all(event.source)
            {
                tokio::task::yield_now().await;
            }
            taken.push(self.takes(event));
        }
        taken
    }

    fn takes(&self, event: &HubEvent) -> bool {
        let id = || Identity { device: event.device_id.clone(), module: event.module_id.clone() };
        self.config().routes.take(event, &|| self.twin_of(&id()))
    }

    /// Says in the log how many events the hub holds that a consumer group has not read, for the end of a hub
    /// that forgets them.
    pub(crate) fn log_unread_events(&self) {
        let unread = self.0.events.unread();
        if unread.groups.is_empty() && unread.kept > 0 {
            tracing::info!(unread = unread.kept, "the hub ends; no reader has asked for any of its events");
        }
        for (consumer_group, unread) in unread.groups {
            if unread == 0 {
                tracing::info!(consumer_group, unread, "the hub ends; its readers have got every event");
            } else {
                tracing::warn!(consumer_group, unread, "the hub ends; its readers have not got these events");
            }
        }
    }

    /// Puts events into the stream, where they are visible at once, since nothing has to be written first.
    pub(super) fn append_events(&self, batch: Vec<HubEvent>) {
        let log = &self.0.events;
        log.append(batch, |numbered| log.release(numbered));
    }

    /// Returns the event stream.
    pub(crate) fn events(&self) -> &EventLog {
        &self.0.events
    }
}
