//! This file begins and ends sessions, and keeps the two windows that bound transfers (AMQP 1.0, part 2, section 2.5).
//! `protocol` hands it the frames begin, end and flow. A session answers on the channel number that the peer chose.

use super::{Connection, Fault, session::Session};
use crate::{
    attach::SessionId,
    delivery::Outcome,
    error::{AmqpError, condition},
    performative::{Begin, Flow, encode},
};

impl Connection {
    /// Returns the session on a channel, unless it is ending or was never there.
    pub(super) fn session(&mut self, channel: u16) -> Option<&mut Session> {
        let session = self.sessions.get_mut(usize::from(channel))?.as_deref_mut()?;
        (!session.ending).then_some(session)
    }

    /// Returns the session that a frame is for, or `None` if the session is ending and the frame is to be ignored.
    ///
    /// # Errors
    /// There is no session on this channel.
    pub(super) fn session_for(&mut self, channel: u16) -> Result<Option<&mut Session>, Fault> {
        match self.sessions.get_mut(usize::from(channel)) {
            Some(Some(session)) => Ok((!session.ending).then_some(session)),
            _ => {
                let text = format!("there is no session on channel {channel}");
                Err(Fault::Connection(AmqpError::new(condition::NOT_ALLOWED, text)))
            }
        }
    }

    /// Begins the session that the peer asks for.
    ///
    /// # Errors
    /// The channel is in use or above the maximum, or the peer has as many sessions as it may have.
    pub(crate) fn take_begin(&mut self, channel: u16, begin: &Begin) -> Result<(), Fault> {
        if channel >= self.config.max_sessions.max(1) {
            let text = format!("channel {channel} is above channel-max");
            return Err(Fault::Connection(AmqpError::new(condition::FRAMING_ERROR, text)));
        }
        let most = self.config.untrusted.sessions;
        if !self.trusted && self.sessions.iter().flatten().count() >= most {
            let text = format!("a peer that has not proven who it is may have {most} sessions");
            return Err(Fault::Connection(AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, text)));
        }
        let place = usize::from(channel);
        if self.sessions.len() <= place {
            self.sessions.resize_with(place + 1, || None);
        }
        if self.sessions[place].is_some() {
            let text = format!("channel {channel} is in use");
            return Err(Fault::Connection(AmqpError::new(condition::FRAMING_ERROR, text)));
        }
        let session = Box::new(Session::new(
            SessionId(self.serial()),
            begin.next_outgoing_id,
            self.config.incoming_window,
            begin.incoming_window,
        ));
        let handle_max = self.handle_max().into();
        encode::begin(&mut self.output, channel, session.flow(), handle_max);
        self.sessions[place] = Some(session);
        Ok(())
    }

    /// Ends a session because the peer does. A session that is not there has ended already.
    pub(crate) fn take_end(&mut self, channel: u16, error: Option<&AmqpError>) {
        self.flush_accepted();
        if self.session(channel).is_some() {
            encode::end(&mut self.output, channel, None);
            self.drop_links(channel, error);
        }
        if let Some(place) = self.sessions.get_mut(usize::from(channel)) {
            *place = None;
        }
    }

    /// Ends a session with an error and waits for the peer to follow.
    pub(crate) fn end_session(&mut self, channel: u16, error: AmqpError) {
        self.flush_accepted();
        if self.session(channel).is_some() {
            encode::end(&mut self.output, channel, Some(&error));
            self.drop_links(channel, Some(&error));
            if let Some(session) = self.session(channel) {
                session.ending = true;
            }
        }
    }

    /// Ends all sessions without a frame for each; a close ends them for the peer.
    pub(super) fn drop_sessions(&mut self, error: Option<&AmqpError>) {
        for channel in 0..self.sessions.len() {
            self.drop_links(u16::try_from(channel).unwrap_or(u16::MAX), error);
        }
        self.sessions.clear();
    }

    fn drop_links(&mut self, channel: u16, error: Option<&AmqpError>) {
        let Some(session) = self.session(channel) else { return };
        session.sent.clear();
        session.received.clear();
        for (handle, link) in std::mem::take(&mut session.links) {
            if !link.detaching {
                self.detached.push_back((link.id(channel, handle), error.cloned()));
            }
            self.forget(&link);
        }
    }

    /// Takes the peer's windows, and the credit of a link if the flow names one.
    ///
    /// # Errors
    /// The flow names a link that is not attached.
    pub(crate) fn take_flow(&mut self, channel: u16, flow: &Flow) -> Result<(), Fault> {
        let Some(session) = self.session(channel) else { return Ok(()) };
        // The peer counts from the last transfer it has seen; those on their way have used up its window.
        let on_the_way = session.next_outgoing_id.wrapping_sub(flow.next_incoming_id.unwrap_or(0));
        session.remote_window = flow.incoming_window.saturating_sub(on_the_way);
        if let Some(handle) = flow.handle {
            self.take_link_flow(channel, handle, flow)?;
        } else if flow.echo {
            self.send_session_flow(channel);
        }
        self.resume_session(channel);
        Ok(())
    }

    /// Goes on with the links that waited for the session's window or for settlements.
    pub(crate) fn resume_session(&mut self, channel: u16) {
        let Some(session) = self.session(channel) else { return };
        let waiting: Vec<_> = session
            .links
            .iter_mut()
            .filter_map(|(handle, link)| link.take_waiting().then(|| link.id(channel, *handle)))
            .collect();
        for link in waiting {
            self.pump(link);
            self.make_ready(link);
        }
    }

    pub(super) fn send_session_flow(&mut self, channel: u16) {
        if let Some(Some(session)) = self.sessions.get(usize::from(channel)) {
            encode::flow(&mut self.output, channel, session.flow(), None);
        }
    }

    /// Counts a transfer frame against the incoming window, and opens the window again in time.
    ///
    /// # Errors
    /// The window was closed.
    pub(super) fn count_incoming(&mut self, channel: u16) -> Result<(), Fault> {
        let window = self.config.incoming_window.max(1);
        let Some(session) = self.session(channel) else { return Ok(()) };
        let Some(left) = session.incoming_window.checked_sub(1) else {
            let text = "a transfer beyond the incoming window";
            return Err(Fault::Session(channel, AmqpError::new(condition::WINDOW_VIOLATION, text)));
        };
        session.next_incoming_id = session.next_incoming_id.wrapping_add(1);
        session.incoming_window = left;
        if left <= window / 2 {
            session.incoming_window = window;
            self.send_session_flow(channel);
        }
        Ok(())
    }

    /// Tells the peer which of its deliveries were accepted.
    pub(crate) fn flush_accepted(&mut self) {
        for (channel, session) in self.sessions.iter_mut().enumerate() {
            if let Some(range) = session.as_mut().and_then(|session| session.accepted.take()) {
                let channel = u16::try_from(channel).unwrap_or(u16::MAX);
                encode::disposition(&mut self.output, channel, true, range, &Outcome::Accepted);
            }
        }
    }
}
