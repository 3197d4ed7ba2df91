//! [`Connections`] knows which connection each identity has: one for each, and the newer one wins.
//!
//! A connection is a number here. The service closes connections by number and the room `hub` has the signals that
//! reach them. Source: *Understand and resolve Azure IoT Hub errors*, 400027.

use std::collections::BTreeMap;
use std::fmt;

use iothub_models::{DeviceId, ErrorCode, Identity};

/// The reason for which the hub closes a connection.
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
    /// The connection did not take the changes of its twin. The device reads the twin again when it comes back.
    Slow,
}

impl CloseReason {
    /// Returns the service's code for the reason.
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

/// The current connection of each identity, by its number.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    current: BTreeMap<Identity, u64>,
    last_number: u64,
}

impl Connections {
    /// Makes a new connection the identity's current one. Returns its number, and that of the connection whose place
    /// it took.
    pub(crate) fn open(&mut self, id: &Identity) -> (u64, Option<u64>) {
        self.last_number += 1;
        (self.last_number, self.current.insert(id.clone(), self.last_number))
    }

    /// Takes a connection that ended off the list. Returns false if a newer one stands there, or none.
    pub(crate) fn ended(&mut self, id: &Identity, number: u64) -> bool {
        let is_current = self.is_current(id, number);
        if is_current {
            self.current.remove(id);
        }
        is_current
    }

    /// Returns the number of the identity's connection, if it has one.
    pub(crate) fn current(&self, id: &Identity) -> Option<u64> {
        self.current.get(id).copied()
    }

    /// Returns whether this connection is the one that the identity has.
    pub(crate) fn is_current(&self, id: &Identity, number: u64) -> bool {
        self.current(id) == Some(number)
    }

    /// Returns whether the identity has a connection.
    pub(crate) fn is_connected(&self, id: &Identity) -> bool {
        self.current.contains_key(id)
    }

    /// Returns how many devices are connected; modules do not count.
    pub(crate) fn devices(&self) -> usize {
        self.current.keys().filter(|id| id.module.is_none()).count()
    }

    /// Takes the connections of a device and its modules off the list, and returns their numbers.
    pub(crate) fn remove_device(&mut self, device: &DeviceId) -> Vec<u64> {
        let from_device = self.current.range(Identity::device(device.clone())..);
        let of_device = from_device.take_while(|(id, _)| id.device == *device).map(|(id, _)| id.clone());
        let of_device: Vec<_> = of_device.collect();
        of_device.iter().filter_map(|id| self.current.remove(id)).collect()
    }

    /// Takes the connection of one identity off the list, and returns its number.
    pub(crate) fn remove(&mut self, id: &Identity) -> Option<u64> {
        self.current.remove(id)
    }

    /// Takes all connections off the list, and returns their numbers.
    pub(crate) fn remove_all(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.current).into_values().collect()
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
        let (older, displaced) = connections.open(&id("d", None));
        assert_eq!(displaced, None);
        let (newer, displaced) = connections.open(&id("d", None));
        assert_eq!(displaced, Some(older));
        assert!(!connections.ended(&id("d", None), older));
        assert!(connections.is_connected(&id("d", None)));
        assert!(connections.ended(&id("d", None), newer));
        assert_eq!(connections.devices(), 0);
    }

    #[test]
    fn a_device_s_modules_go_with_it_and_its_neighbours_stay() {
        let mut connections = Connections::default();
        let ids = [("d", None), ("d", Some("m")), ("d2", None), ("c", None)];
        let numbers = ids.map(|(device, module)| connections.open(&id(device, module)).0);
        assert_eq!(connections.devices(), 3);
        assert_eq!(connections.remove_device(&"d".parse().unwrap()), numbers[..2]);
        assert_eq!(connections.devices(), 2);
        assert!(!connections.is_connected(&id("d", Some("m"))));
    }
}
