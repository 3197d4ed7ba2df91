//! This file opens and ends the connection of an identity in the hub's state, for `mqtt::mailbox`.
//!
//! A connection is opened once the device is let in and ends when it is dropped. Through it the device reaches its
//! session and its method calls.

use std::sync::Arc;

use iothub_models::{DeviceStatus, ErrorCode, Identity, ModelId};
use jiff::Timestamp;

use super::{Hub, lock};
use crate::core::connections::{Opened, Signals};
use crate::core::grant::{Denied, DeviceGrant};
use crate::core::method_calls::{CallFailure, MethodAnswer, MethodRequest};
use crate::core::sessions::Session;

/// The current connection of an identity. Dropping it marks the identity as disconnected, unless a
/// newer connection took its place.
#[derive(Debug)]
pub(crate) struct Connection {
    hub: Hub,
    id: Identity,
    number: u64,
    since: Timestamp,
    signals: Arc<Signals>,
    displaced: Option<Arc<Signals>>,
}

impl Connection {
    pub(crate) const fn id(&self) -> &Identity {
        &self.id
    }

    /// Returns the time at which it was opened.
    pub(crate) const fn since(&self) -> Timestamp {
        self.since
    }

    /// Returns the signals by which the hub wakes and ends this connection.
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

    /// Returns the session of the identity, if there is one; a clean one discards it.
    pub(crate) fn open_session(&self, clean: bool) -> Option<Session> {
        // Under the registry's lock, so that a session is not opened for a device that is being deleted.
        let _registry = self.hub.registry();
        if self.signals.close_reason().is_some() {
            return None;
        }
        lock(&self.hub.0.sessions).open(&self.id, self.number, clean)
    }

    /// Notes whether the device listens to direct methods from now on.
    pub(crate) fn listen_to_methods(&self, listens: bool) {
        let hub = &self.hub.0;
        if !listens {
            return lock(&hub.methods).unlisten(&self.id, self.number, hub.clock.now());
        }
        // Under the registry's lock, so that nobody listens for a device that is being deleted.
        let _registry = self.hub.registry();
        if self.signals.close_reason().is_none()
            && lock(&hub.methods).listen(&self.id, self.number, hub.clock.now())
        {
            self.signals.wake.notify_one();
        }
    }

    /// Takes calls of direct methods that wait: the oldest, and more while they have less than `bytes`.
    pub(crate) fn take_methods(&self, bytes: usize) -> Vec<MethodRequest> {
        lock(&self.hub.0.methods).take(&self.id, self.number, bytes)
    }

    /// Passes the device's answer to a direct method on. Returns false if nobody waits for it any more.
    pub(crate) fn answer_method(&self, number: u64, answer: MethodAnswer) -> bool {
        let hub = &self.hub.0;
        self.hub.registry().touch(&self.id, hub.clock.now());
        lock(&hub.methods).answer(&self.id, self.number, number, answer)
    }

    /// Ends a call that the connection took and cannot pass to the device.
    pub(crate) fn decline_method(&self, number: u64, failure: CallFailure) {
        lock(&self.hub.0.methods).decline(&self.id, self.number, number, failure);
    }

    /// Keeps the session as it is now. Nothing is kept if it was opened as a clean one.
    pub(crate) fn keep_session(&self, session: &Session) {
        lock(&self.hub.0.sessions).keep(&self.id, self.number, session);
    }
}

impl Hub {
    /// Opens the connection of an identity that was let in, and ends the one it had before.
    ///
    /// A Plug and Play model it announces is on its twin from then on.
    ///
    /// Refused if the identity was deleted, created again or disabled since the grant was given.
    pub(crate) fn connect(
        &self,
        id: Identity,
        grant: &DeviceGrant,
        model_id: Option<&ModelId>,
    ) -> Result<Connection, Denied> {
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
        if let Some(model_id) = model_id {
            lock(&self.0.twins).announce(&id, model_id);
        }
        let Opened { number, signals, displaced } = lock(&self.0.connections).open(id.clone());
        let now = self.0.clock.now();
        registry.set_connected(&id, true, now);
        if displaced.is_none() {
            self.tell_connection(&id, true, now);
        }
        self.0.activity.connected(&id, model_id);
        drop(registry);
        self.changed();
        Ok(Connection { hub: self.clone(), id, number, since: now, signals, displaced })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let hub = &self.hub;
        let mut registry = hub.registry();
        let was_current = lock(&hub.0.connections).ended(&self.id, self.number);
        if was_current {
            let now = hub.0.clock.now();
            registry.set_connected(&self.id, false, now);
            hub.tell_connection(&self.id, false, now);
        }
        drop(registry);
        lock(&hub.0.methods).ended(&self.id, self.number, hub.0.clock.now());
        self.signals.gone.cancel();
        hub.changed();
    }
}
