//! This file attaches and detaches links, and finds the link of a frame. `protocol` hands it the frames attach and
//! detach and asks the handler between [`Connection::take_attach`] and [`Connection::finish_attach`].

use super::{
    Connection, Fault,
    link::{Incoming, Link, Outgoing, Side},
};
use crate::{
    attach::{Accept, AttachRequest, AttachVerdict, Direction, LinkId, ReceiverSettleMode},
    error::{AmqpError, condition},
    performative::{Attach, Detach, encode, encode::AttachReply},
    value::Map,
};

/// The number of refused links of one session whose detach an untrusted peer may still owe. Some clients never
/// send one.
const MAX_UNTRUSTED_REFUSED: usize = 16;

impl Connection {
    /// Returns the highest handle that the peer may use.
    pub(super) fn handle_max(&self) -> u16 {
        u16::try_from(self.config.handle_max).unwrap_or(u16::MAX)
    }

    /// Returns a link, if it is attached.
    fn link(&mut self, id: LinkId) -> Option<&mut Link> {
        let link = self.session(id.channel)?.links.get_mut(&id.handle)?;
        (link.serial == id.serial && !link.detaching).then_some(link)
    }

    /// Returns a link, if it is attached and the peer sends on it.
    pub(super) fn incoming(&mut self, id: LinkId) -> Option<&mut Incoming> {
        match &mut self.link(id)?.side {
            Side::Incoming(incoming) => Some(incoming),
            Side::Outgoing(_) => None,
        }
    }

    /// Returns a link, if it is attached and we send on it.
    pub(super) fn outgoing(&mut self, id: LinkId) -> Option<&mut Outgoing> {
        match &mut self.link(id)?.side {
            Side::Outgoing(outgoing) => Some(outgoing),
            Side::Incoming(_) => None,
        }
    }

    /// Returns the link that a frame with this handle is for, or `None` if the link is detaching and the frame is to be
    /// ignored.
    ///
    /// # Errors
    /// No link is attached to this handle.
    pub(super) fn link_for(&mut self, channel: u16, handle: u32) -> Result<Option<LinkId>, Fault> {
        let Some(session) = self.session(channel) else { return Ok(None) };
        let found = u16::try_from(handle).ok().and_then(|key| Some((key, session.links.get(&key)?)));
        match found {
            Some((key, link)) => Ok((!link.detaching).then(|| link.id(channel, key))),
            None => {
                let text = format!("no link is attached to handle {handle}");
                Err(Fault::Session(channel, AmqpError::new(condition::UNATTACHED_HANDLE, text)))
            }
        }
    }

    /// Returns the peer's request for a link, or `None` if nothing is to be asked: the session is ending, or the peer
    /// was refused because it has as many links as an untrusted one may have.
    ///
    /// # Errors
    /// The handle is in use or above the maximum.
    pub(crate) fn take_attach(
        &mut self,
        channel: u16,
        attach: &Attach,
    ) -> Result<Option<AttachRequest>, Fault> {
        let handle_max = self.handle_max();
        let serial = self.serial();
        let Some(session) = self.session_for(channel)? else { return Ok(None) };
        let Some(handle) = u16::try_from(attach.handle).ok().filter(|handle| *handle <= handle_max) else {
            let text = format!("handle {} is above handle-max {handle_max}", attach.handle);
            return Err(Fault::Connection(AmqpError::new(condition::FRAMING_ERROR, text)));
        };
        // A handle that we have detached may be used again even before the peer's own detach: some clients
        // never send one for a link that was refused.
        if session.links.get(&handle).is_some_and(|link| !link.detaching) {
            let text = format!("handle {handle} is attached already");
            return Err(Fault::Session(channel, AmqpError::new(condition::HANDLE_IN_USE, text)));
        }
        let id = LinkId { serial, channel, handle };
        let request = AttachRequest {
            link: id,
            session: session.id,
            name: attach.name.clone(),
            direction: if attach.receiver { Direction::Outgoing } else { Direction::Incoming },
            source: attach.source.clone(),
            target: attach.target.clone(),
            sender_settle_mode: attach.sender_settle_mode,
            receiver_settle_mode: attach.receiver_settle_mode,
            max_message_size: attach.max_message_size,
            desired_capabilities: attach.desired_capabilities.clone(),
            properties: attach.properties.clone(),
        };
        if let Some(most) = self.untrusted_link_limit()? {
            let text = format!("a peer that has not proven who it is may have {most} links");
            tracing::info!(name = attach.name, "an AMQP link was refused: {text}");
            self.refuse(id, attach, &AmqpError::new(condition::UNAUTHORIZED_ACCESS, text));
            return Ok(None);
        }
        Ok(Some(request))
    }

    /// Answers an attach with the handler's verdict.
    pub(crate) fn finish_attach(&mut self, id: LinkId, attach: &Attach, verdict: AttachVerdict) {
        // The handler may have closed the connection meanwhile.
        if self.session(id.channel).is_none() {
            if matches!(verdict, AttachVerdict::Accept(_)) {
                self.detached.push_back((id, None));
            }
            return;
        }
        match verdict {
            AttachVerdict::Accept(accept) => self.accept(id, attach, &accept),
            AttachVerdict::Refuse(error) => self.refuse(id, attach, &error),
        }
    }

    /// Returns the limit for links if the peer is untrusted and has that many on its connection already; otherwise
    /// `None`.
    ///
    /// # Errors
    /// The peer has left too many refused links without a detach. Each of them takes memory until then.
    fn untrusted_link_limit(&self) -> Result<Option<usize>, Fault> {
        if self.trusted {
            return Ok(None);
        }
        let most = self.config.untrusted.links;
        let links = || self.sessions.iter().flatten().flat_map(|session| session.links.values());
        if links().count() >= most + MAX_UNTRUSTED_REFUSED {
            let text = format!("more than {MAX_UNTRUSTED_REFUSED} refused links wait for the peer's detach");
            return Err(Fault::Connection(AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, text)));
        }
        let attached = links().filter(|link| !link.detaching).count();
        Ok((attached >= most).then_some(most))
    }

    /// Attaches a link, and grants the peer its first credit if it sends on it.
    fn accept(&mut self, id: LinkId, attach: &Attach, accept: &Accept) {
        let limit = self.config.max_message_size;
        let max_message_size = accept.max_message_size.map_or(limit, |size| size.min(limit));
        // Incoming links are settled by us at once, whatever the peer asks: a sender that asks for
        // `second` and gets it waits for a settlement of its own that some clients never send.
        let receiver_settle_mode =
            if attach.receiver { attach.receiver_settle_mode } else { ReceiverSettleMode::First };
        let reply = AttachReply {
            sender_settle_mode: accept.sender_settle_mode.unwrap_or(attach.sender_settle_mode),
            receiver_settle_mode,
            echo_termini: true,
            max_message_size,
            offered_capabilities: &accept.offered_capabilities,
            properties: &accept.properties,
        };
        encode::attach(&mut self.output, id.channel, attach, &reply);
        let side = if attach.receiver {
            Side::Outgoing(Outgoing::new(attach.max_message_size, attach.default_outcome.clone()))
        } else {
            Side::Incoming(Incoming {
                window: accept.credit,
                credit: 0,
                delivery_count: attach.initial_delivery_count.unwrap_or(0),
                unsettled: 0,
                max_message_size,
                partial: None,
            })
        };
        if let Some(session) = self.session(id.channel) {
            session.links.insert(id.handle, Link { serial: id.serial, detaching: false, side });
        }
        self.grant(id);
    }

    /// Refuses a link: answers with an attach, so that there is a link to which the error can belong, and detaches it.
    fn refuse(&mut self, id: LinkId, attach: &Attach, error: &AmqpError) {
        let reply = AttachReply {
            sender_settle_mode: attach.sender_settle_mode,
            receiver_settle_mode: ReceiverSettleMode::First,
            echo_termini: false,
            max_message_size: self.config.max_message_size,
            offered_capabilities: &[],
            properties: &Map::new(),
        };
        encode::attach(&mut self.output, id.channel, attach, &reply);
        encode::detach(&mut self.output, id.channel, attach.handle, true, Some(error));
        if let Some(session) = self.session(id.channel) {
            session.links.insert(id.handle, Link::stale(id.serial));
        }
    }

    /// Detaches a link with an error and waits for the peer to follow.
    pub(crate) fn detach(&mut self, id: LinkId, error: AmqpError) {
        if self.link(id).is_none() {
            return;
        }
        self.flush_accepted();
        encode::detach(&mut self.output, id.channel, id.handle.into(), true, Some(&error));
        let Some(session) = self.session(id.channel) else { return };
        session.forget_deliveries(id.handle);
        if let Some(link) = session.links.get_mut(&id.handle) {
            // Only the name of the link stays; the bytes that it held go now.
            let held = std::mem::replace(link, Link::stale(id.serial));
            self.forget(&held);
        }
        self.detached.push_back((id, Some(error)));
    }

    /// Detaches a link because the peer does. A link or session that is not there is gone already, which some clients
    /// overlook.
    pub(crate) fn take_detach(&mut self, channel: u16, detach: &Detach) {
        self.flush_accepted();
        let Some(session) = self.session(channel) else { return };
        let Ok(handle) = u16::try_from(detach.handle) else { return };
        let Some(link) = session.links.remove(&handle) else { return };
        session.forget_deliveries(handle);
        if !link.detaching {
            encode::detach(&mut self.output, channel, detach.handle, detach.closed, None);
            self.detached.push_back((link.id(channel, handle), detach.error.clone()));
        }
        self.forget(&link);
    }

    /// Gives back the bytes that a link held.
    pub(super) fn forget(&mut self, link: &Link) {
        match &link.side {
            Side::Incoming(incoming) => {
                let held = incoming.partial.as_ref().map_or(0, |partial| partial.message.len());
                self.partial_bytes = self.partial_bytes.saturating_sub(held);
            }
            Side::Outgoing(outgoing) => {
                let held: usize = outgoing.queue.iter().map(|queued| queued.message.len()).sum();
                self.queued_bytes = self.queued_bytes.saturating_sub(held);
            }
        }
    }
}
