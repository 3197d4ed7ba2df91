//! This file attaches and detaches links, and holds the state of a link in each direction.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::{Event, Fault, Protocol, session::Session};
use crate::{
    attach::{Accept, AttachRequest, AttachVerdict, Direction, LinkId, ReceiverSettleMode},
    delivery::{DeliveryTag, Outcome},
    error::{AmqpError, condition},
    handler::ConnectionHandler,
    links::{Links, SendOptions},
    performative::{Attach, Detach, encode, encode::AttachReply},
};

/// The number of refused links of one session whose detach an untrusted peer may still owe. Some clients never
/// send one.
const MAX_UNTRUSTED_REFUSED: usize = 16;

/// One link of a session.
#[derive(Debug)]
pub(super) struct Link {
    serial: u32,
    /// True if we sent a detach; frames that still come before the peer's are passed over.
    pub(super) detaching: bool,
    pub(super) side: Side,
}

/// The state of a link that depends on its direction.
#[derive(Debug)]
pub(super) enum Side {
    Incoming(Incoming),
    Outgoing(Outgoing),
}

/// A link the peer sends on. The default stands for a link that only waits for the peer's detach.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// The number of deliveries that may be on their way or unsettled.
    pub(super) window: u32,
    /// Deliveries the peer may still start.
    pub(super) credit: u32,
    pub(super) delivery_count: u32,
    /// Deliveries started and not settled.
    pub(super) unsettled: u32,
    pub(super) max_message_size: u64,
    pub(super) partial: Option<Partial>,
}

/// A delivery whose last transfer has not come.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) id: u32,
    pub(super) tag: DeliveryTag,
    pub(super) message_format: u32,
    pub(super) settled: bool,
    pub(super) message: BytesMut,
}

/// A link we send on.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Deliveries we may still start.
    pub(super) credit: u32,
    pub(super) delivery_count: u32,
    pub(super) drain: bool,
    pub(super) max_message_size: Option<u64>,
    pub(super) default_outcome: Option<Outcome>,
    pub(super) next_tag: u32,
    /// Messages that wait for credit or window; only the first can be partly sent.
    pub(super) queue: VecDeque<Queued>,
    /// True if the link is among those to be offered credit.
    pub(super) ready: bool,
    /// True if the handler was refused for another reason than credit.
    pub(super) blocked: bool,
}

/// A message that waits.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) message: Bytes,
    pub(super) options: SendOptions,
    /// The delivery id, the tag and the number of bytes that went, once the message is partly sent.
    pub(super) started: Option<(u32, DeliveryTag, usize)>,
}

impl Link {
    pub(super) fn id(&self, channel: u16, handle: u16) -> LinkId {
        LinkId { serial: self.serial, channel, handle }
    }

    /// Returns whether something on this link waits for the session, and ends that wait.
    pub(super) fn take_waiting(&mut self) -> bool {
        match &mut self.side {
            Side::Outgoing(outgoing) if !self.detaching => {
                std::mem::take(&mut outgoing.blocked) || !outgoing.queue.is_empty()
            }
            _ => false,
        }
    }
}

impl Protocol {
    pub(super) fn handle_max(&self) -> u16 {
        u16::try_from(self.config.handle_max).unwrap_or(u16::MAX)
    }

    /// An attached link and its session.
    pub(super) fn link(&mut self, id: LinkId) -> Option<&mut Link> {
        let link = self.session(id.channel)?.links.get_mut(&id.handle)?;
        (link.serial == id.serial && !link.detaching).then_some(link)
    }

    pub(super) fn incoming(&mut self, id: LinkId) -> Option<&mut Incoming> {
        match &mut self.link(id)?.side {
            Side::Incoming(incoming) => Some(incoming),
            Side::Outgoing(_) => None,
        }
    }

    pub(super) fn outgoing(&mut self, id: LinkId) -> Option<&mut Outgoing> {
        match &mut self.link(id)?.side {
            Side::Outgoing(outgoing) => Some(outgoing),
            Side::Incoming(_) => None,
        }
    }

    /// The link a frame with this handle is for. `Ok(None)`: it is detaching, ignore the frame.
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

    pub(super) fn take_attach(
        &mut self,
        channel: u16,
        attach: &Attach,
        handler: &mut dyn ConnectionHandler,
    ) -> Result<(), Fault> {
        let handle_max = self.handle_max();
        let serial = self.serial();
        let Some(session) = self.session_for(channel)? else { return Ok(()) };
        let Some(handle) = u16::try_from(attach.handle).ok().filter(|handle| *handle <= handle_max) else {
            let text = format!("handle {} is above handle-max {handle_max}", attach.handle);
            return Err(Fault::Connection(AmqpError::new(condition::FRAMING_ERROR, text)));
        };
        // A handle we have detached may be used again even before the peer's own detach: some clients
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
            return Ok(());
        }
        let verdict = handler.on_attach(request, &mut Links { protocol: self });
        // The handler may have closed the connection meanwhile.
        if self.session(channel).is_none() {
            if matches!(verdict, AttachVerdict::Accept(_)) {
                self.events.push_back(Event::Detached(id, None));
            }
            return Ok(());
        }
        match verdict {
            AttachVerdict::Accept(accept) => self.accept(id, attach, &accept),
            AttachVerdict::Refuse(error) => self.refuse(id, attach, &error),
        }
        Ok(())
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
            Side::Outgoing(Outgoing {
                credit: 0,
                delivery_count: 0,
                drain: false,
                max_message_size: attach.max_message_size,
                default_outcome: attach.default_outcome.clone(),
                next_tag: 0,
                queue: VecDeque::new(),
                ready: false,
                blocked: false,
            })
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

    /// Answers with an attach, so that the peer has a link to be told about, and detaches it.
    fn refuse(&mut self, id: LinkId, attach: &Attach, error: &AmqpError) {
        let reply = AttachReply {
            sender_settle_mode: attach.sender_settle_mode,
            receiver_settle_mode: ReceiverSettleMode::First,
            echo_termini: false,
            max_message_size: self.config.max_message_size,
            offered_capabilities: &[],
            properties: &crate::value::Map::new(),
        };
        encode::attach(&mut self.output, id.channel, attach, &reply);
        encode::detach(&mut self.output, id.channel, attach.handle, true, Some(error));
        // Kept until the peer's detach, so that its frames for the link are known to be stale.
        let side = Side::Incoming(Incoming::default());
        if let Some(session) = self.session(id.channel) {
            session.links.insert(id.handle, Link { serial: id.serial, detaching: true, side });
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
            link.detaching = true;
            // Only the name of the link stays; the bytes that it held go now.
            let stale = Side::Incoming(Incoming::default());
            let held =
                Link { serial: id.serial, detaching: true, side: std::mem::replace(&mut link.side, stale) };
            self.forget(&held);
        }
        self.events.push_back(Event::Detached(id, Some(error)));
    }

    /// The peer detaches; a link or session that is not there is gone already, which some clients overlook.
    pub(super) fn take_detach(&mut self, channel: u16, detach: &Detach) {
        self.flush_accepted();
        let Some(session) = self.session(channel) else { return };
        let Ok(handle) = u16::try_from(detach.handle) else { return };
        let Some(link) = session.links.remove(&handle) else { return };
        session.forget_deliveries(handle);
        if !link.detaching {
            encode::detach(&mut self.output, channel, detach.handle, detach.closed, None);
            self.events.push_back(Event::Detached(link.id(channel, handle), detach.error.clone()));
        }
        self.forget(&link);
    }

    /// Gives back the bytes a link held.
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

impl Session {
    /// Drops the unsettled deliveries of a link that goes away.
    fn forget_deliveries(&mut self, handle: u16) {
        self.sent.retain(|_, sent| sent.handle != handle);
        self.received.retain(|_, received| received.handle != handle);
    }
}
