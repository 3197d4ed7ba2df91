//! Telemetry that devices sent, oldest first, in a bounded list.
//!
//! The list stands where the service has its partitioned event log, and forgets as that log does: a
//! message is accepted whatever the list holds, and the oldest ones leave when there is no room. The
//! service forgets by age (one day by default), this list by count and size; it says how many left.

use std::collections::VecDeque;
use std::sync::Arc;

use iothub_models::{DeviceId, ModuleId, Properties, TelemetryMessage};
use jiff::Timestamp;

/// A telemetry message as the hub accepted it: what the device sent, and what the hub knows of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TelemetryEvent {
    /// What the device sent: body, system properties, application properties.
    pub message: TelemetryMessage,
    /// System properties that a message has no field for, by the names that readers of the event stream
    /// know, such as `iothub-outputname`.
    pub system_properties: Properties,
    /// The device whose connection it came by.
    pub device_id: DeviceId,
    /// The module, if one sent it.
    pub module_id: Option<ModuleId>,
    /// Tells apart devices that had the same id one after another.
    pub generation_id: Arc<str>,
    /// How the sender proved who it is, as JSON: the `iothub-connection-auth-method` of the service.
    pub auth_method: Arc<str>,
    /// The model the device announced when it connected (`dt-dataschema`).
    pub model_id: Option<Arc<str>>,
    /// When the hub accepted it.
    pub enqueued_time: Timestamp,
}

impl TelemetryEvent {
    /// What a protocol room hands over.
    pub(crate) const fn new(
        message: TelemetryMessage,
        device_id: DeviceId,
        generation_id: Arc<str>,
        auth_method: Arc<str>,
        enqueued_time: Timestamp,
    ) -> Self {
        Self {
            message,
            system_properties: Properties::new(),
            device_id,
            module_id: None,
            generation_id,
            auth_method,
            model_id: None,
            enqueued_time,
        }
    }

    /// What the event counts towards the list's bytes: the message, and about what the rest occupies.
    fn weight(&self) -> usize {
        self.message.size() + self.system_properties.size() + size_of::<Self>()
    }
}

/// The list.
#[derive(Debug)]
pub(crate) struct TelemetryLog {
    events: VecDeque<Arc<TelemetryEvent>>,
    bytes: usize,
    max_events: usize,
    max_bytes: usize,
    accepted: u64,
}

impl TelemetryLog {
    pub(crate) const fn new(max_events: usize, max_bytes: usize) -> Self {
        Self { events: VecDeque::new(), bytes: 0, max_events, max_bytes, accepted: 0 }
    }

    /// Takes a batch, in order. The newest message always stays, however small the bounds are.
    pub(crate) fn accept(&mut self, batch: Vec<TelemetryEvent>) {
        for event in batch {
            self.accepted += 1;
            self.bytes += event.weight();
            self.events.push_back(Arc::new(event));
            while self.events.len() > 1
                && (self.events.len() > self.max_events || self.bytes > self.max_bytes)
            {
                if let Some(oldest) = self.events.pop_front() {
                    self.bytes -= oldest.weight();
                }
            }
        }
    }

    /// What is kept, oldest first.
    pub(crate) fn events(&self) -> Vec<Arc<TelemetryEvent>> {
        self.events.iter().cloned().collect()
    }

    /// How many messages were accepted, those that left the list included.
    pub(crate) const fn accepted(&self) -> u64 {
        self.accepted
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.max_events, self.max_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(body: &str) -> TelemetryEvent {
        let id = "d1".parse().unwrap();
        TelemetryEvent::new(TelemetryMessage::new(body), id, "1".into(), "{}".into(), Timestamp::UNIX_EPOCH)
    }

    fn bodies(log: &TelemetryLog) -> Vec<String> {
        log.events().iter().map(|event| String::from_utf8(event.message.body.clone()).unwrap()).collect()
    }

    #[test]
    fn the_oldest_leave_when_the_count_is_reached() {
        let mut log = TelemetryLog::new(2, usize::MAX);
        log.accept(vec![event("a"), event("b"), event("c")]);
        assert_eq!((bodies(&log), log.accepted()), (vec!["b".to_owned(), "c".to_owned()], 3));
    }

    #[test]
    fn the_oldest_leave_when_the_bytes_are_reached_and_the_newest_stays() {
        let mut log = TelemetryLog::new(100, event("12345").weight() * 2);
        log.accept(vec![event("12345"), event("12345"), event("12345")]);
        assert_eq!(log.events().len(), 2);
        log.accept(vec![event(&"x".repeat(100_000))]);
        assert_eq!((log.events().len(), log.accepted()), (1, 4));
    }
}
