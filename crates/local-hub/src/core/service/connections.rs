//! This file holds the transitions of connections and MQTT sessions: an identity connects, keeps its session, and
//! disconnects.
//!
//! Device sessions in `hub/session.rs` run them. A connection is a number here; its signals are in the room `hub`.

use iothub_models::{DeviceStatus, ErrorCode, Identity, ModelId};
use jiff::Timestamp;

use super::Service;
use crate::core::connections::CloseReason;
use crate::core::effects::{Happened, Record};
use crate::core::event::EventSource;
use crate::core::refusal::HubError;
use crate::core::registry::LastActivity;
use crate::core::sessions::Session;

/// A connection that was opened.
#[derive(Debug)]
pub(crate) struct Connected {
    /// The number that no other connection of this hub has or had.
    pub(crate) number: u64,
    /// The number of the connection whose place it took.
    pub(crate) displaced: Option<u64>,
    /// The time of the identity's last activity, which the connection moves on.
    pub(crate) last_activity: LastActivity,
}

impl Service {
    /// Opens a connection of an identity that proved itself as the one of this generation, and closes the connection
    /// that the identity had before. A Plug and Play model that it announces is on its twin from then on.
    ///
    /// Refused if the identity was deleted, created again or disabled since it proved itself.
    pub(crate) fn connect(
        &mut self,
        now: Timestamp,
        id: &Identity,
        generation_id: &str,
        model_id: Option<&ModelId>,
    ) -> Result<Connected, HubError> {
        let refused = |code, text: &str| Err(HubError::new(code, text));
        match self.registry.credentials(id) {
            Some(identity) if *identity.generation_id != *generation_id => {
                return refused(
                    ErrorCode::DeviceNotFound,
                    "the identity was created again while it connected",
                );
            }
            Some(identity) if identity.status == DeviceStatus::Disabled => {
                return refused(ErrorCode::DeviceDisabled, "the device was disabled while it connected");
            }
            Some(_) => {}
            None => {
                return refused(ErrorCode::DeviceNotFound, "the identity was deleted while it connected");
            }
        }
        let Some(last_activity) = self.registry.set_connected(id, true, now) else {
            return refused(ErrorCode::DeviceNotFound, "the identity was deleted while it connected");
        };
        if let Some(model_id) = model_id {
            self.twins.announce(id, model_id);
            self.effects.record(|| Record::Twin(id.clone()));
        }
        let (number, displaced) = self.connections.open(id);
        match displaced {
            Some(older) => self.effects.closed.push((older, CloseReason::NewerConnection)),
            None => self.tell_connection(id, true, now),
        }
        self.effects.happened(|| Happened::Connected(id.clone(), model_id.cloned()));
        Ok(Connected { number, displaced, last_activity })
    }

    /// Notes that a connection has ended: the identity is disconnected unless a newer connection took its place, and
    /// the calls that the connection took will not be answered.
    pub(crate) fn disconnect(&mut self, now: Timestamp, id: &Identity, connection: u64) {
        if self.connections.ended(id, connection) {
            self.registry.set_connected(id, false, now);
            self.tell_connection(id, false, now);
        }
        self.methods.ended(id, connection, now);
        self.follow_methods();
    }

    /// Returns whether the identity has a connection.
    pub(crate) fn is_connected(&self, id: &Identity) -> bool {
        self.connections.is_connected(id)
    }

    /// Opens the session of a connection, and returns what is known of it; a clean one discards what was known.
    pub(crate) fn open_session(&mut self, id: &Identity, connection: u64, clean: bool) -> Option<Session> {
        if !self.connections.is_current(id, connection) {
            return None;
        }
        self.effects.record(|| Record::Session(id.clone()));
        self.sessions.open(id, connection, clean)
    }

    /// Keeps the session as its connection has it now. Nothing is kept of a clean one, nor of a connection that is
    /// not the newest.
    pub(crate) fn keep_session(&mut self, id: &Identity, connection: u64, session: &Session) {
        if self.sessions.keep(id, connection, session) {
            self.effects.record(|| Record::Session(id.clone()));
        }
    }

    /// Adds the event that an identity connected or disconnected, if a route takes it.
    fn tell_connection(&mut self, id: &Identity, connected: bool, now: Timestamp) {
        if self.routes.want(EventSource::DeviceConnectionState) {
            let event = self.notifications.connection_state(id, connected, now);
            self.tell(vec![event], id);
        }
    }
}
