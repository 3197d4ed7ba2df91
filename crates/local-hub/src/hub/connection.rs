//! A device's connection as the hub sees it: opened once the device is let in, gone when dropped.

use std::sync::Arc;

use iothub_models::{DeviceStatus, ErrorCode};

use super::{Hub, lock};
use crate::authorize::{Denied, DeviceGrant};
use crate::core::connections::{ConnectionId, Opened, Signals};
use crate::core::sessions::Session;

/// The current connection of an identity. Dropping it marks the identity as disconnected, unless a
/// newer connection took its place.
#[derive(Debug)]
pub(crate) struct Connection {
    hub: Hub,
    id: ConnectionId,
    number: u64,
    signals: Arc<Signals>,
    displaced: Option<Arc<Signals>>,
}

impl Connection {
    pub(crate) const fn id(&self) -> &ConnectionId {
        &self.id
    }

    /// What the connection must listen to.
    pub(crate) const fn signals(&self) -> &Arc<Signals> {
        &self.signals
    }

    /// Waits until the connection before this one has given back what it held: its messages are in the
    /// queue and its session is complete.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn alone(&mut self) {
        if let Some(older) = &self.displaced {
            older.gone.cancelled().await;
            self.displaced = None;
        }
    }

    /// The session of the identity, if there is one; a clean one discards it.
    pub(crate) fn open_session(&self, clean: bool) -> Option<Session> {
        // Under the registry's lock, so that a session is not opened for a device that is being deleted.
        let _registry = self.hub.registry();
        if self.signals.close_reason().is_some() {
            return None;
        }
        lock(&self.hub.0.sessions).open(&self.id, self.number, clean)
    }

    /// Keeps the session as it is now. Nothing is kept if it was opened as a clean one.
    pub(crate) fn keep_session(&self, session: &Session) {
        lock(&self.hub.0.sessions).keep(&self.id, self.number, session);
    }
}

impl Hub {
    /// Opens the connection of an identity that was let in, and ends the one it had before.
    ///
    /// Refused if the identity was deleted, created again or disabled since the grant was given.
    pub(crate) fn connect(&self, id: ConnectionId, grant: &DeviceGrant) -> Result<Connection, Denied> {
        let mut registry = self.registry();
        let denied = |code, reason: &str| Err(Denied { code, reason: reason.to_owned() });
        match registry.credentials(&id) {
            Some(identity) if identity.generation_id != grant.generation_id => {
                return denied(
                    ErrorCode::DeviceNotFound,
                    "the identity was created again while it connected",
                );
            }
            Some(identity) if identity.status == DeviceStatus::Disabled => {
                return denied(ErrorCode::DeviceDisabled, "the device was disabled while it connected");
            }
            Some(_) => {}
            None => return denied(ErrorCode::DeviceNotFound, "the identity was deleted while it connected"),
        }
        let Opened { number, signals, displaced } = lock(&self.0.connections).open(id.clone());
        registry.set_connected(&id, true, self.0.clock.now());
        drop(registry);
        self.changed();
        Ok(Connection { hub: self.clone(), id, number, signals, displaced })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let hub = &self.hub;
        let mut registry = hub.registry();
        let was_current = lock(&hub.0.connections).ended(&self.id, self.number);
        if was_current {
            registry.set_connected(&self.id, false, hub.0.clock.now());
        }
        drop(registry);
        self.signals.gone.cancel();
        hub.changed();
    }
}
