//! This file keeps the MQTT sessions that the hub remembers while devices are away.
//!
//! `hub::session` opens and keeps them for `mqtt::mailbox`. A device that connects with `CleanSession` 0
//! finds its subscriptions again, and the packet ids of the messages it was sent and did not acknowledge.
//! Official clients subscribe once in their life and rely on it. An MQTT session lives until its device connects
//! with `CleanSession` 1 or is deleted; there is at most one per identity, and it holds at most
//! [`MAX_SUBSCRIPTIONS`] subscriptions.
//! Source: *Communicate with your IoT hub using the MQTT protocol*.

use std::collections::HashMap;

use iothub_models::{DeviceId, Identity};

/// Subscriptions a device may have. Source: *IoT Hub quotas and throttling*.
pub(crate) const MAX_SUBSCRIPTIONS: usize = 5;

/// Quality of service, as far as IoT Hub has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Qos {
    AtMostOnce = 0,
    AtLeastOnce = 1,
}

/// The subscriptions of one identity: topic filters as the device wrote them, and the quality of service that
/// was granted. Which filters a device may have, and what each covers, is up to `mqtt::filters`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscriptions(Vec<(Box<str>, Qos)>);

/// One subscription more than a device may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_SUBSCRIPTIONS} subscriptions")]
pub(crate) struct TooManySubscriptions;

impl Subscriptions {
    /// Adds a subscription, or changes the quality of service of the one with the same filter.
    pub(crate) fn insert(&mut self, filter: &str, qos: Qos) -> Result<(), TooManySubscriptions> {
        if let Some((_, granted)) = self.0.iter_mut().find(|(known, _)| **known == *filter) {
            *granted = qos;
        } else if self.0.len() == MAX_SUBSCRIPTIONS {
            return Err(TooManySubscriptions);
        } else {
            self.0.push((filter.into(), qos));
        }
        Ok(())
    }

    /// Removes the subscription with exactly this filter, if there is one (MQTT 3.1.1, 3.10.4).
    pub(crate) fn remove(&mut self, filter: &str) {
        self.0.retain(|(known, _)| **known != *filter);
    }

    /// The highest quality of service granted to a filter that `covers`; `None` if there is no such filter.
    /// A message that several filters cover is sent once, with this one (MQTT 3.1.1, 3.3.5).
    pub(crate) fn covering(&self, covers: impl Fn(&str) -> bool) -> Option<Qos> {
        self.0.iter().filter(|(filter, _)| covers(filter)).map(|(_, qos)| *qos).max()
    }
}

/// A message that was sent at QoS 1 and not acknowledged: sent again under the same packet id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unacknowledged {
    /// The message in its device's queue.
    pub(crate) sequence_number: u64,
    pub(crate) packet_id: u16,
}

/// The MQTT session of one identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) subscriptions: Subscriptions,
    /// Oldest first; at most as many as the delivery window is wide.
    pub(crate) unacknowledged: Vec<Unacknowledged>,
    /// The packet id that was given last. It is kept so that an acknowledgement that arrives after a reconnect cannot
    /// settle another message.
    pub(crate) last_packet_id: u16,
}

/// All MQTT sessions of the hub.
///
/// Changes come from the connection that opened the session last, known by its number: an older one
/// that is still ending changes nothing, and neither does one whose device was deleted.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    kept: HashMap<Identity, (u64, Session)>,
}

impl Sessions {
    /// Opens the MQTT session of an identity that connects, and returns the state that was kept of it. Returns `None` if
    /// none was kept, or if the identity asks for a clean session, which discards the old one.
    pub(crate) fn open(&mut self, id: &Identity, connection: u64, clean: bool) -> Option<Session> {
        if clean {
            self.kept.remove(id);
            return None;
        }
        match self.kept.get_mut(id) {
            Some((owner, session)) => {
                *owner = connection;
                Some(session.clone())
            }
            None => {
                self.kept.insert(id.clone(), (connection, Session::default()));
                None
            }
        }
    }

    /// Keeps the MQTT session as its connection has it now. Returns whether anything has changed.
    pub(crate) fn keep(&mut self, id: &Identity, connection: u64, session: &Session) -> bool {
        match self.kept.get_mut(id) {
            Some((owner, kept)) if *owner == connection && kept != session => {
                kept.clone_from(session);
                true
            }
            _ => false,
        }
    }

    /// Forgets the MQTT session of one identity.
    pub(crate) fn remove(&mut self, id: &Identity) {
        self.kept.remove(id);
    }

    pub(crate) fn clear(&mut self) {
        self.kept.clear();
    }

    /// The device was deleted: nothing of it or its modules is kept.
    pub(crate) fn remove_device(&mut self, device: &DeviceId) {
        self.kept.retain(|id, _| id.device != *device);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Identity {
        let (device, module) = text.split_once('/').map_or((text, None), |(d, m)| (d, Some(m)));
        Identity { device: device.parse().unwrap(), module: module.map(|m| m.parse().unwrap()) }
    }

    fn subscribed() -> Session {
        let mut session = Session {
            unacknowledged: vec![Unacknowledged { sequence_number: 7, packet_id: 3 }],
            last_packet_id: 4,
            ..Session::default()
        };
        session.subscriptions.insert("devices/d/messages/devicebound/#", Qos::AtLeastOnce).unwrap();
        session
    }

    #[test]
    fn a_session_is_found_again_until_a_clean_connect() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.open(&id("d"), 1, false), None);
        assert_eq!(sessions.open(&id("d"), 2, false), Some(Session::default()), "an empty one is one too");
        sessions.keep(&id("d"), 2, &subscribed());
        assert_eq!(sessions.open(&id("d/m"), 3, false), None, "a module is another identity");
        assert_eq!(sessions.open(&id("d"), 4, false), Some(subscribed()));
        assert_eq!(sessions.open(&id("d"), 5, true), None);
        sessions.keep(&id("d"), 5, &subscribed());
        assert_eq!(sessions.open(&id("d"), 6, false), None, "a clean connection leaves nothing behind");
    }

    #[test]
    fn only_the_newest_connection_changes_a_session() {
        let mut sessions = Sessions::default();
        sessions.open(&id("d"), 1, false);
        sessions.open(&id("d"), 2, false);
        sessions.keep(&id("d"), 1, &subscribed());
        assert_eq!(sessions.open(&id("d"), 3, false), Some(Session::default()));
    }

    #[test]
    fn nothing_is_kept_for_a_device_that_was_deleted() {
        let mut sessions = Sessions::default();
        for (number, id) in [id("d"), id("d/m"), id("e")].iter().enumerate() {
            sessions.open(id, number as u64, false);
        }
        sessions.remove_device(&"d".parse().unwrap());
        sessions.keep(&id("d"), 0, &subscribed());
        assert_eq!(sessions.open(&id("d"), 3, false), None);
        assert_eq!(sessions.open(&id("d/m"), 4, false), None);
        assert!(sessions.open(&id("e"), 5, false).is_some());
    }

    #[test]
    fn the_sixth_subscription_is_refused_and_a_repeated_one_is_not() {
        let mut subscriptions = Subscriptions::default();
        for filter in ["a", "b", "c", "d", "e"] {
            subscriptions.insert(filter, Qos::AtMostOnce).unwrap();
        }
        assert_eq!(subscriptions.insert("f", Qos::AtMostOnce), Err(TooManySubscriptions));
        let granted = |subscriptions: &Subscriptions| subscriptions.covering(|filter| filter == "a");
        subscriptions.insert("a", Qos::AtLeastOnce).unwrap();
        assert_eq!(granted(&subscriptions), Some(Qos::AtLeastOnce));
        subscriptions.remove("A");
        assert_eq!(granted(&subscriptions), Some(Qos::AtLeastOnce), "filters have case");
        subscriptions.remove("a");
        assert_eq!(granted(&subscriptions), None);
        subscriptions.insert("f", Qos::AtMostOnce).unwrap();
    }

    #[test]
    fn of_overlapping_filters_the_highest_quality_counts() {
        let mut subscriptions = Subscriptions::default();
        for (filter, qos) in [("a/#", Qos::AtMostOnce), ("a/b/#", Qos::AtLeastOnce), ("a/+", Qos::AtMostOnce)]
        {
            subscriptions.insert(filter, qos).unwrap();
        }
        assert_eq!(subscriptions.covering(|filter| filter.starts_with("a/")), Some(Qos::AtLeastOnce));
    }
}
