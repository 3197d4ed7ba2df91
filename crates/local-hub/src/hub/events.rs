//! This file takes telemetry in from devices, and gives readers the event stream.
//!
//! Device sessions call it. Telemetry does not lock the service: a batch takes the lock of its partition once.

use iothub_models::Identity;

use super::Hub;
use crate::core::effects::Effects;
use crate::core::event::HubEvent;
use crate::journal::{Gate, Space, Transaction};
use crate::log::EventLog;

/// The number of events whose routes are asked without a pause.
const ROUTED_AT_ONCE: usize = 8;

impl Hub {
    /// Takes telemetry, a whole read batch at once, in order. Returns the gate that its acknowledgements must wait for.
    pub(super) async fn append_telemetry(&self, mut batch: Vec<HubEvent>, space: Space) -> Gate {
        let now = self.clock().now();
        let mut taken = self.routed(&batch).await.into_iter();
        // Nothing waits from here on, so that the same events are told, kept and acknowledged.
        self.activity().telemetry(&batch, now);
        batch.retain(|_| taken.next().unwrap_or_default());
        if batch.is_empty() {
            // No route takes any of it; somebody may wait for the device's activity all the same.
            self.0.journal.release_at_once(Effects::default());
            return Gate::OPEN;
        }
        let (mut space, mut gate) = (space, Gate::OPEN);
        self.0.log.append(batch, |numbered| {
            let transaction = Transaction {
                effects: Effects::default(),
                events: Some(numbered),
                space: std::mem::take(&mut space),
            };
            gate = self.0.journal.append(transaction);
        });
        gate
    }

    /// Returns for each event of a batch whether a route sends it into the stream.
    async fn routed(&self, batch: &[HubEvent]) -> Vec<bool> {
        let mut taken = Vec::with_capacity(batch.len());
        for (index, event) in batch.iter().enumerate() {
            // A condition may read a large body or the device's twin: others get their turn in between.
            if index > 0 && index.is_multiple_of(ROUTED_AT_ONCE) && !self.0.routes.take_all(event.source) {
                tokio::task::yield_now().await;
            }
            taken.push(self.takes(event));
        }
        taken
    }

    fn takes(&self, event: &HubEvent) -> bool {
        let id = || Identity::new(event.device_id.clone(), event.module_id.clone());
        self.0.routes.take(event, &|| self.twin_value(&id()))
    }

    /// Logs how many events the hub holds that a consumer group has not read, for the end of a hub that forgets them.
    pub(crate) fn log_unread_events(&self) {
        let unread = self.0.log.unread();
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

    /// Returns the event stream.
    pub(crate) fn events(&self) -> &EventLog {
        &self.0.log
    }
}
