//! Who is connected: one connection per identity, and the newer one wins.
//!
//! A connection is told two things from outside: that there is something for it to fetch, and that it
//! must end, with the reason. Source: *Understand and resolve Azure IoT Hub errors*, 400027.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use iothub_models::{DeviceId, ErrorCode, Identity};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::twins::DesiredChange;

/// Changes of desired properties that may wait for a connection. One that takes none of so many is
/// ended rather than left to miss one.
const MAX_TOLD: usize = 256;

/// Why the hub ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The same identity connected again.
    NewerConnection,
    /// The identity was deleted.
    DeviceDeleted,
    /// The identity was disabled.
    DeviceDisabled,
    /// The hub was emptied.
    Reset,
    /// It did not take the changes of its twin; it reads the twin again when it comes back.
    Slow,
}

impl CloseReason {
    /// What the service calls it.
    pub(crate) const fn code(self) -> ErrorCode {
        match self {
            Self::NewerConnection => ErrorCode::ConnectionForcefullyClosedOnNewConnection,
            Self::DeviceDeleted | Self::Reset => ErrorCode::DeviceNotFound,
            Self::DeviceDisabled => ErrorCode::DeviceDisabled,
            Self::Slow => ErrorCode::ThrottlingException,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NewerConnection => "the same identity opened a newer connection",
            Self::DeviceDeleted => "the device was deleted",
            Self::DeviceDisabled => "the device was disabled",
            Self::Reset => "the hub was reset",
            Self::Slow => "too many changes of its desired properties wait for the device",
        })
    }
}

/// What a connection listens to.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// There may be something to fetch for the device.
    pub(crate) wake: Notify,
    /// The connection must end.
    pub(crate) closed: CancellationToken,
    reason: OnceLock<CloseReason>,
    /// Changes of desired properties that the connection has not taken yet, oldest first.
    told: Mutex<Vec<DesiredChange>>,
    /// The connection has ended and given back what it held.
    pub(crate) gone: CancellationToken,
}

impl Signals {
    /// Why the connection must end, once it must.
    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        self.reason.get().copied()
    }

    /// Takes the changes of desired properties that came since the last call.
    pub(crate) fn take_told(&self) -> Vec<DesiredChange> {
        std::mem::take(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn close(&self, reason: CloseReason) {
        if self.reason.set(reason).is_ok() {
            self.closed.cancel();
        }
    }
}

/// A new connection, and the one it took the place of.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) number: u64,
    pub(crate) signals: Arc<Signals>,
    /// Already told to end.
    pub(crate) displaced: Option<Arc<Signals>>,
}

/// The current connection of each identity.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    current: BTreeMap<Identity, (u64, Arc<Signals>)>,
    last_number: u64,
}

impl Connections {
    /// Makes a new connection the identity's current one and ends the one before.
    pub(crate) fn open(&mut self, id: Identity) -> Opened {
        self.last_number += 1;
        let (number, signals) = (self.last_number, Arc::<Signals>::default());
        let displaced = self.current.insert(id, (number, Arc::clone(&signals))).map(|(_, older)| older);
        if let Some(older) = &displaced {
            older.close(CloseReason::NewerConnection);
        }
        Opened { number, signals, displaced }
    }

    /// Takes a connection that ended off the list; false if a newer one stands there.
    pub(crate) fn ended(&mut self, id: &Identity, number: u64) -> bool {
        let is_current = self.current.get(id).is_some_and(|(current, _)| *current == number);
        if is_current {
            self.current.remove(id);
        }
        is_current
    }

    /// Tells the device's connection, if it has one, that there is something to fetch.
    pub(crate) fn wake(&self, device: &DeviceId) {
        self.wake_one(&Identity::device(device.clone()));
    }

    /// Tells the identity's connection, if it has one, that there is something to fetch.
    pub(crate) fn wake_one(&self, id: &Identity) {
        if let Some((_, signals)) = self.current.get(id) {
            signals.wake.notify_one();
        }
    }

    /// Tells the identity's connection, if it has one, of a change of its desired properties. Nobody
    /// is told later: a device that was away reads its twin.
    pub(crate) fn tell(&self, id: &Identity, change: DesiredChange) {
        let Some((_, signals)) = self.current.get(id) else { return };
        let mut told = signals.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() == MAX_TOLD {
            drop(told);
            return signals.close(CloseReason::Slow);
        }
        told.push(change);
        drop(told);
        signals.wake.notify_one();
    }

    pub(crate) fn is_connected(&self, id: &Identity) -> bool {
        self.current.contains_key(id)
    }

    /// How many devices are connected; modules do not count.
    pub(crate) fn devices(&self) -> usize {
        self.current.keys().filter(|id| id.module.is_none()).count()
    }

    /// Ends the connections of a device and its modules.
    pub(crate) fn close_device(&mut self, device: &DeviceId, reason: CloseReason) {
        let of_device: Vec<_> = self
            .current
            .range(Identity::device(device.clone())..)
            .take_while(|(id, _)| id.device == *device)
            .map(|(id, _)| id.clone())
            .collect();
        for id in of_device {
            if let Some((_, signals)) = self.current.remove(&id) {
                signals.close(reason);
            }
        }
    }

    /// Ends the connection of one identity.
    pub(crate) fn close_one(&mut self, id: &Identity, reason: CloseReason) {
        if let Some((_, signals)) = self.current.remove(id) {
            signals.close(reason);
        }
    }

    /// Ends all connections.
    pub(crate) fn close_all(&mut self, reason: CloseReason) {
        for (_, signals) in std::mem::take(&mut self.current).into_values() {
            signals.close(reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(device: &str, module: Option<&str>) -> Identity {
        Identity { device: device.parse().unwrap(), module: module.map(|text| text.parse().unwrap()) }
    }

    #[test]
    fn the_newer_connection_wins_and_the_end_of_the_older_changes_nothing() {
        let mut connections = Connections::default();
        let old = connections.open(id("d", None));
        let new = connections.open(id("d", None));
        assert_eq!(old.signals.close_reason(), Some(CloseReason::NewerConnection));
        assert!(old.signals.closed.is_cancelled() && !new.signals.closed.is_cancelled());
        assert!(old.displaced.is_none());
        assert!(new.displaced.is_some_and(|displaced| Arc::ptr_eq(&displaced, &old.signals)));
        assert!(!connections.ended(&id("d", None), old.number));
        assert!(connections.is_connected(&id("d", None)));
        assert!(connections.ended(&id("d", None), new.number));
        assert_eq!(connections.devices(), 0);
    }

    #[test]
    fn a_device_s_modules_go_with_it_and_its_neighbours_stay() {
        let mut connections = Connections::default();
        for (device, module) in [("d", None), ("d", Some("m")), ("d2", None), ("c", None)] {
            connections.open(id(device, module));
        }
        assert_eq!(connections.devices(), 3);
        connections.close_device(&"d".parse().unwrap(), CloseReason::DeviceDeleted);
        assert_eq!(connections.devices(), 2);
        assert!(!connections.is_connected(&id("d", Some("m"))));
    }
}
