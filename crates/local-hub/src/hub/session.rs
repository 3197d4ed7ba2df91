//! [`DeviceSession`] is a device or module that has proven itself, whatever transport it uses.
//!
//! # The cast
//! A *connection* was accepted by the listener: a stream, a peer, a place among the strangers. When its peer has proven
//! itself with a credential, the transport opens a *device session*. MQTT opens one for each connection; a request over
//! HTTPS opens one for itself, which has no connection ([`DeviceSession::of_request`]).
//!
//! # What it offers
//! Everything that a transport needs of the hub for a device, and nothing of a transport: lease and settle
//! cloud-to-device messages, take and answer method calls, take the changes of desired properties that were told,
//! report, read the twin, append telemetry, keep the session's state. Packet ids, QoS, delivery tags and link handles
//! stay in the room of the transport.
//!
//! # The life of a session
//! [`Hub::connect`] checks that the identity is still the one that proved itself, gives the connection its number, and
//! closes the connection that the identity had before. The new session must wait until the old one has given back what
//! it held ([`DeviceSession::alone`]), or a message could be handed out twice. While it is open it listens to two
//! signals: *wake*, there may be something to fetch, and *closed*, with the reason. Dropping it disconnects the
//! identity, unless a newer connection stands in its place.
//!
//! # The traps
//! - Calls on the read path return a [`Gate`] and do not wait. The transport writes its acknowledgement when the gate
//!   is open, and listens to its signals meanwhile.
//! - Dropping a session commits, and must not wait. It uses the reserve of the journal, which is never refused.
//! - The end of a session is signalled when its transition has run, not when that is kept: the next session of the
//!   identity waits for the queue to be whole, and not for a disk.

use std::sync::Arc;

use iothub_models::{ErrorCode, Identity, ModelId, TwinProperties};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Hub;
use super::commit::Committed;
use super::signals::Signals;
use crate::core::c2d::LeasedC2d;
use crate::core::event::HubEvent;
use crate::core::grant::{Denied, DeviceGrant};
use crate::core::lease::{LockToken, Settlement};
use crate::core::limits::C2D_LOCK;
use crate::core::methods::{CallFailure, MethodAnswer, MethodRequest};
use crate::core::refusal::HubError;
use crate::core::registry::LastActivity;
use crate::core::service::Connected;
use crate::core::sessions::Session;
use crate::journal::{Gate, NotKept, Room, Share};

/// A device or module that has proven itself. Dropping it ends its connection, if it has one.
#[derive(Debug)]
pub(crate) struct DeviceSession {
    hub: Hub,
    id: Identity,
    last_activity: LastActivity,
    connection: Option<Connection>,
}

/// The connection of a session.
#[derive(Debug)]
struct Connection {
    number: u64,
    since: Timestamp,
    signals: Arc<Signals>,
    displaced: Option<Arc<Signals>>,
}

impl Hub {
    /// Opens the connection of an identity that was let in, and closes the one it had before. A Plug and Play model that
    /// it announces is on its twin from then on.
    ///
    /// # Errors
    /// Refused if the identity was deleted, created again or disabled since the grant was given, or if the change could
    /// not be kept.
    ///
    /// # Cancel safety
    /// Dropping the future ends the connection that it may have opened.
    pub(crate) async fn connect(
        &self,
        id: Identity,
        grant: &DeviceGrant,
        model_id: Option<&ModelId>,
    ) -> Result<DeviceSession, Denied> {
        let not_kept =
            |error: NotKept| Denied { code: ErrorCode::ServiceUnavailable, reason: error.to_string() };
        let room = self.reserve_one(Share::Service).await.map_err(not_kept)?;
        let signals = &self.0.outlets.signals;
        let Committed { answer, gate } = self.commit_with(room, |service, now| {
            let connected = service.connect(now, &id, &grant.generation_id, model_id)?;
            let displaced = connected.displaced.and_then(|number| signals.get(number));
            Ok::<_, HubError>((
                connected.number,
                signals.open(&id, connected.number),
                displaced,
                now,
                connected,
            ))
        });
        let (number, signals, displaced, since, Connected { last_activity, .. }) =
            answer.map_err(|refused| Denied { code: refused.code, reason: refused.text })?;
        let connection = Some(Connection { number, since, signals, displaced });
        // Built before anything is awaited, so that a session whose future is dropped here is closed again.
        let session = DeviceSession { hub: self.clone(), id, last_activity, connection };
        gate.wait().await.map_err(not_kept)?;
        Ok(session)
    }
}

impl DeviceSession {
    /// Returns the session of one request of a device, which has no connection of its own.
    ///
    /// # Errors
    /// The identity was deleted.
    pub(crate) fn of_request(hub: &Hub, id: Identity) -> Result<Self, HubError> {
        let last_activity = hub.peek(|service, _| service.last_activity(&id));
        let last_activity = last_activity.ok_or_else(|| HubError::not_found(&id))?;
        Ok(Self { hub: hub.clone(), id, last_activity, connection: None })
    }

    /// Returns the device or module.
    pub(crate) const fn id(&self) -> &Identity {
        &self.id
    }

    /// Returns the time at which the connection was opened.
    pub(crate) fn since(&self) -> Timestamp {
        self.connection.as_ref().map_or(Timestamp::UNIX_EPOCH, |connection| connection.since)
    }

    /// Returns the signals by which the hub wakes and closes the connection; `None` for a session of one request.
    pub(crate) fn signals(&self) -> Option<&Arc<Signals>> {
        self.connection.as_ref().map(|connection| &connection.signals)
    }

    fn number(&self) -> u64 {
        // Connections begin with 1: a session without one is the owner of nothing.
        self.connection.as_ref().map_or(0, |connection| connection.number)
    }

    fn touch(&self) {
        self.last_activity.touch(self.hub.clock().now());
    }

    /// Waits until the connection before this one has given back what it held: its messages are in the queue and its
    /// session is complete.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn alone(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        if let Some(older) = &connection.displaced {
            older.gone.cancelled().await;
            connection.displaced = None;
        }
    }

    /// Opens the state that the identity kept from its last connection, if there is any; a clean one discards it.
    ///
    /// # Errors
    /// [`NotKept`]: the device must not be told that it has a session.
    ///
    /// # Cancel safety
    /// The session may be opened although nothing was returned.
    pub(crate) async fn open_state(&self, clean: bool) -> Result<Option<Session>, NotKept> {
        let room = self.hub.reserve_one(Share::Service).await?;
        let Committed { answer, gate } =
            self.hub.commit_with(room, |service, _| service.open_session(&self.id, self.number(), clean));
        gate.wait().await?;
        Ok(answer)
    }

    /// Keeps the state of the session as it is now, and returns the gate that an acknowledgement of it must wait for.
    /// Nothing is kept of a session that was opened as a clean one.
    pub(crate) fn keep_state(&self, session: &Session, room: Room) -> Gate {
        self.hub.commit_with(room, |service, _| service.keep_session(&self.id, self.number(), session)).gate
    }

    /// Notes whether the device listens to direct methods from now on.
    pub(crate) fn listen_to_calls(&self, listens: bool) {
        self.hub.apply(|service, now| service.listen_to_calls(now, &self.id, self.number(), listens));
    }

    /// Takes calls of direct methods that wait: the oldest, and more while they have less than `bytes`.
    pub(crate) fn take_calls(&self, bytes: usize) -> Vec<MethodRequest> {
        self.hub.apply(|service, _| service.take_calls(&self.id, self.number(), bytes))
    }

    /// Passes the device's answer to a direct method on. Returns false if nobody waits for it any more.
    pub(crate) fn answer_call(&self, number: u64, answer: MethodAnswer) -> bool {
        self.touch();
        self.hub.apply(|service, _| service.answer_call(&self.id, self.number(), number, answer))
    }

    /// Ends a call that the session took and cannot pass to the device.
    pub(crate) fn decline_call(&self, number: u64, failure: CallFailure) {
        self.hub.apply(|service, _| service.decline_call(&self.id, self.number(), number, failure));
    }

    /// Returns the twin as the device sees it, with the gate that the answer must wait for.
    pub(crate) fn twin_properties(&self) -> Committed<Result<TwinProperties, HubError>> {
        self.hub.read_with(|service, _| service.twin_properties(&self.id))
    }

    /// Makes the device's change of its reported properties, and returns their new version with the gate that the
    /// answer must wait for.
    pub(crate) fn report(
        &self,
        patch: &Map<String, Value>,
        expected: Option<i64>,
        room: Room,
    ) -> Committed<Result<i64, HubError>> {
        self.touch();
        self.hub.commit_with(room, |service, now| service.report(now, &self.id, patch, expected))
    }

    /// Leases up to `max` messages, oldest first. They are invisible until they are settled or expire.
    pub(crate) fn lease_messages(&self, max: usize) -> Vec<LeasedC2d> {
        self.hub.apply(|service, now| service.lease_c2d(now, &self.id.device, max, None))
    }

    /// Leases the oldest message that nobody has, for as long as a lock lasts.
    pub(crate) fn receive_message(&self) -> Option<LeasedC2d> {
        self.touch();
        let leased =
            self.hub.apply(|service, now| service.lease_c2d(now, &self.id.device, 1, Some(C2D_LOCK)));
        leased.into_iter().next()
    }

    /// Settles one leased message, and returns once that is kept.
    ///
    /// # Errors
    /// The lock no longer holds, or the change could not be kept.
    ///
    /// # Cancel safety
    /// The message may be settled although nothing was returned.
    pub(crate) async fn settle_message(
        &self,
        lock: LockToken,
        settlement: Settlement,
    ) -> Result<(), HubError> {
        self.touch();
        self.hub.commit(|service, now| service.settle_one_c2d(now, &self.id.device, lock, settlement)).await
    }

    /// Settles leased messages without waiting until that is kept. The device gets no answer to its acknowledgement, so
    /// nothing can be promised too early.
    pub(crate) fn settle_messages(&self, locks: &[LockToken], settlement: Settlement) {
        self.touch();
        self.hub.commit_with(Room::default(), |service, now| {
            service.settle_c2d(now, &self.id.device, locks, settlement)
        });
    }

    /// Puts leased messages back in their places, and wakes the device's next connection if it is already there. Nothing
    /// that must be kept has changed by it.
    pub(crate) fn release_messages(&self, locks: &[LockToken]) {
        self.hub.apply(|service, now| service.settle_c2d(now, &self.id.device, locks, Settlement::Release));
    }

    /// Takes telemetry of the device, a whole batch at once and in order, and returns once it is kept.
    ///
    /// # Errors
    /// The batch could not be kept.
    ///
    /// # Cancel safety
    /// The batch may be kept although nothing was returned.
    pub(crate) async fn send_telemetry(&self, batch: Vec<HubEvent>) -> Result<(), HubError> {
        let room = self.hub.reserve_one(Share::Telemetry).await.map_err(NotKept::refusal)?;
        let gate = self.append_telemetry(batch, room).await;
        gate.wait().await.map_err(NotKept::refusal)
    }

    /// Takes telemetry of the device, a whole batch at once and in order. Returns the gate that the acknowledgements
    /// must wait for.
    pub(crate) async fn append_telemetry(&self, batch: Vec<HubEvent>, room: Room) -> Gate {
        self.touch();
        self.hub.append_telemetry(batch, room).await
    }
}

impl Drop for DeviceSession {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let number = connection.number;
        self.hub.commit_with(Room::default(), |service, now| service.disconnect(now, &self.id, number));
        self.hub.0.outlets.signals.remove(&self.id, number);
        connection.signals.gone.cancel();
    }
}
