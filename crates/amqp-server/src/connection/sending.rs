//! This file sends messages to the peer: it keeps credit, windows and the queue, splits messages into frames, and
//! takes their outcomes. Handlers send through [`Links`](crate::Links); `protocol` offers them credit and tells them
//! the outcomes.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::{
    Connection, Fault,
    link::{Queued, Side},
    session::Sent,
};
use crate::{
    attach::LinkId,
    delivery::{Credit, DeliveryId, DeliveryTag, Outcome, SendError, SendOptions, SentDelivery},
    performative::{
        DeliveryState, Disposition, Flow,
        encode::{self, LinkFlow, MAX_TRANSFER_OVERHEAD, TransferHead},
    },
};

impl Connection {
    /// Returns the number of messages that a link may send now.
    pub(crate) fn credit(&mut self, link: LinkId) -> u32 {
        self.outgoing(link).map_or(0, |link| if link.queue.is_empty() { link.credit } else { 0 })
    }

    /// Returns whether a message, or a part of one, waits on the link.
    pub(crate) fn has_unsent(&mut self, link: LinkId) -> bool {
        self.outgoing(link).is_some_and(|link| !link.queue.is_empty())
    }

    /// Sends a message now, in as many frames as it needs.
    ///
    /// # Errors
    /// The message cannot leave now, or is larger than the peer takes.
    pub(crate) fn send(&mut self, id: LinkId, message: &[u8], options: SendOptions) -> Result<(), SendError> {
        self.check_size(id, message.len())?;
        self.admit(id, options.settled)?;
        let mut started = None;
        if self.write(id, message, options, &mut started).is_break() {
            // The window closed in the middle: the message goes on when it opens.
            let message = Bytes::copy_from_slice(message);
            self.queued_bytes += message.len();
            if let Some(link) = self.outgoing(id) {
                link.queue.push_back(Queued { message, options, started });
            }
        }
        Ok(())
    }

    /// Checks that a message may go out now; if not, the handler is called again when it may.
    ///
    /// # Errors
    /// The link is not attached for sending, or a message would have to wait.
    pub(crate) fn admit(&mut self, id: LinkId, settled: bool) -> Result<(), SendError> {
        let has_room = self.has_room();
        let max_unsettled = self.config.max_unsettled;
        let session = self.session(id.channel).ok_or(SendError::NotAttached)?;
        let session_takes = session.remote_window > 0 && (settled || session.sent.len() < max_unsettled);
        let link = self.outgoing(id).ok_or(SendError::NotAttached)?;
        if link.credit == 0 || !link.queue.is_empty() {
            return Err(SendError::NoCredit);
        }
        if !session_takes {
            link.blocked = true;
            return Err(SendError::NoCredit);
        }
        if !has_room {
            self.make_ready(id);
            return Err(SendError::NoCredit);
        }
        Ok(())
    }

    /// Sends a message now, or keeps it until it can leave.
    ///
    /// # Errors
    /// The queue is full, the link is not attached for sending, or the message is larger than the peer takes.
    pub(crate) fn enqueue(
        &mut self,
        id: LinkId,
        message: Bytes,
        options: SendOptions,
    ) -> Result<(), SendError> {
        match self.send(id, &message, options) {
            Err(SendError::NoCredit) => {}
            sent_or_impossible => return sent_or_impossible,
        }
        let has_bytes = self.queued_bytes + message.len() <= self.bytes_within(self.config.max_queued_bytes);
        let max_messages = self.config.max_queued_messages;
        let link = self.outgoing(id).ok_or(SendError::NotAttached)?;
        if !has_bytes || link.queue.len() >= max_messages {
            return Err(SendError::QueueFull);
        }
        let len = message.len();
        link.queue.push_back(Queued { message, options, started: None });
        self.queued_bytes += len;
        Ok(())
    }

    fn check_size(&mut self, id: LinkId, len: usize) -> Result<(), SendError> {
        let link = self.outgoing(id).ok_or(SendError::NotAttached)?;
        match link.max_message_size {
            Some(max) if u64::try_from(len).unwrap_or(u64::MAX) > max => Err(SendError::TooLarge),
            _ => Ok(()),
        }
    }

    /// Writes a delivery's transfers from where it stands, and breaks off when the window closes.
    /// The first of them takes a credit and a delivery id; the caller has seen that there is one.
    fn write(
        &mut self,
        id: LinkId,
        message: &[u8],
        options: SendOptions,
        started: &mut Option<(u32, DeliveryTag, usize)>,
    ) -> ControlFlow<()> {
        let max_payload = self.frame_limit.saturating_sub(MAX_TRANSFER_OVERHEAD).max(1);
        let Some(Some(session)) = self.sessions.get_mut(usize::from(id.channel)) else {
            return ControlFlow::Continue(());
        };
        loop {
            if session.remote_window == 0 {
                return ControlFlow::Break(());
            }
            let (delivery_id, delivery_tag, at) = match *started {
                Some(started) => started,
                None => {
                    let Some(Side::Outgoing(link)) =
                        session.links.get_mut(&id.handle).map(|link| &mut link.side)
                    else {
                        return ControlFlow::Continue(());
                    };
                    link.credit = link.credit.saturating_sub(1);
                    link.delivery_count = link.delivery_count.wrapping_add(1);
                    let tag = options.tag.unwrap_or_else(|| {
                        link.next_tag = link.next_tag.wrapping_add(1);
                        link.next_tag.into()
                    });
                    let delivery_id = session.next_delivery_id;
                    session.next_delivery_id = delivery_id.wrapping_add(1);
                    if !options.settled {
                        let sent = Sent { handle: id.handle, tag, awaits_echo: false };
                        session.sent.insert(delivery_id, sent);
                    }
                    (delivery_id, tag, 0)
                }
            };
            let end = message.len().min(at + max_payload);
            let more = end < message.len();
            let head = TransferHead {
                handle: id.handle.into(),
                delivery_id,
                delivery_tag,
                message_format: options.message_format,
                settled: options.settled,
            };
            encode::transfer(&mut self.output, id.channel, head, more, &message[at..end]);
            session.remote_window -= 1;
            session.next_outgoing_id = session.next_outgoing_id.wrapping_add(1);
            if !more {
                return ControlFlow::Continue(());
            }
            *started = Some((delivery_id, delivery_tag, end));
        }
    }

    /// Sends the messages that are queued on a link, as far as credit, window and unsettled deliveries allow.
    pub(super) fn pump(&mut self, id: LinkId) {
        let max_unsettled = self.config.max_unsettled;
        loop {
            let Some(session) = self.session(id.channel) else { return };
            let unsettled_full = session.sent.len() >= max_unsettled;
            let Some(link) = self.outgoing(id) else { return };
            let can_start = |queued: &Queued| link.credit > 0 && (queued.options.settled || !unsettled_full);
            let allowed = link.queue.front().is_some_and(|next| next.started.is_some() || can_start(next));
            if !allowed {
                return;
            }
            let Some(mut next) = link.queue.pop_front() else { return };
            if self.write(id, &next.message, next.options, &mut next.started).is_break() {
                if let Some(link) = self.outgoing(id) {
                    link.queue.push_front(next);
                }
                return;
            }
            self.queued_bytes = self.queued_bytes.saturating_sub(next.message.len());
        }
    }

    /// Takes the credit that the peer grants a link, and sends the messages that waited for it.
    pub(super) fn take_link_flow(&mut self, channel: u16, handle: u32, flow: &Flow) -> Result<(), Fault> {
        let Some(id) = self.link_for(channel, handle)? else { return Ok(()) };
        if self.outgoing(id).is_none() {
            if flow.echo {
                self.send_incoming_flow(id);
            }
            return Ok(());
        }
        self.pump_with_credit(id, flow);
        if flow.echo && !flow.drain {
            self.send_outgoing_flow(id, false);
        }
        self.make_ready(id);
        Ok(())
    }

    /// Counts the credit of a flow, and sends the messages that waited for it.
    fn pump_with_credit(&mut self, id: LinkId, flow: &Flow) {
        if let Some(link) = self.outgoing(id) {
            // The peer counts from the last delivery it has seen; those on their way have used up its credit.
            let on_the_way = link.delivery_count.wrapping_sub(flow.delivery_count.unwrap_or(0));
            link.credit = flow.link_credit.unwrap_or(0).saturating_sub(on_the_way);
            link.drain = flow.drain;
        }
        self.pump(id);
    }

    /// Puts a link in line to be offered its credit, if it has any or is to give it back.
    pub(super) fn make_ready(&mut self, id: LinkId) {
        if let Some(link) = self.outgoing(id)
            && !link.ready
            && (link.drain || (link.credit > 0 && link.queue.is_empty()))
        {
            link.ready = true;
            self.ready.push_back(id);
        }
    }

    /// Returns the credit that the handler of a link may use now, if there is any. The link leaves the line of those
    /// that are to be offered credit; [`Connection::finish_offer`] must follow when the handler was asked.
    pub(crate) fn take_offer(&mut self, id: LinkId) -> Option<Credit> {
        let link = self.outgoing(id)?;
        link.ready = false;
        let drain = link.drain;
        let available = self.credit(id);
        (available > 0).then_some(Credit { available, drain })
    }

    /// Takes back the credit that the handler left unused, if the peer drains the link.
    pub(crate) fn finish_offer(&mut self, id: LinkId) {
        if let Some(link) = self.outgoing(id)
            && link.drain
            && link.queue.is_empty()
            && !link.blocked
            && !link.ready
        {
            link.delivery_count = link.delivery_count.wrapping_add(link.credit);
            link.credit = 0;
            link.drain = false;
            self.send_outgoing_flow(id, true);
        }
    }

    /// Tells the peer the credit that is left on an outgoing link.
    fn send_outgoing_flow(&mut self, id: LinkId, drain: bool) {
        let Some(link) = self.outgoing(id) else { return };
        let flow = LinkFlow {
            handle: id.handle.into(),
            delivery_count: link.delivery_count,
            credit: link.credit,
            drain,
        };
        let Some(session) = self.session(id.channel) else { return };
        let session = session.flow();
        encode::flow(&mut self.output, id.channel, session, Some(flow));
    }

    /// Returns the next delivery for which a disposition brings an outcome that the handler has not heard. `left` holds
    /// the first and the last id that are still to be looked at; it is `None` once there are none.
    pub(crate) fn next_outcome(
        &mut self,
        channel: u16,
        left: &mut Option<(u32, u32)>,
        disposition: &Disposition,
    ) -> Option<(LinkId, SentDelivery)> {
        while let Some((first, last)) = *left {
            let session = self.session(channel)?;
            let (id, sent) = session.sent.range_mut(first..=last).next()?;
            let (id, handle, tag, echoing) = (*id, sent.handle, sent.tag, sent.awaits_echo);
            *left = id.checked_add(1).filter(|next| *next <= last).map(|next| (next, last));
            let link = session.links.get(&handle);
            let default = link.and_then(|link| match &link.side {
                Side::Outgoing(outgoing) => outgoing.default_outcome.clone(),
                Side::Incoming(_) => None,
            });
            let link = link.map(|link| link.id(channel, handle));
            let outcome = match (&disposition.state, disposition.settled) {
                (Some(DeliveryState::Outcome(outcome)), _) => Some(outcome.clone()),
                (_, true) => Some(default.unwrap_or(Outcome::Released)),
                (_, false) => None, // progress only
            };
            if disposition.settled {
                session.sent.remove(&id);
            } else if outcome.is_some()
                && let Some(sent) = session.sent.get_mut(&id)
            {
                sent.awaits_echo = true;
            }
            // A peer that repeats itself, or settles after it told the outcome, has been heard.
            if !echoing && let (Some(link), Some(outcome)) = (link, outcome) {
                let sent = SentDelivery { id: DeliveryId(id), tag, outcome, settled: disposition.settled };
                return Some((link, sent));
            }
        }
        None
    }

    /// Settles a delivery to the peer: the second step for a peer that settles second, or a settlement of our own.
    pub(crate) fn settle_sent(&mut self, id: LinkId, delivery: DeliveryId, outcome: &Outcome) {
        let DeliveryId(delivery) = delivery;
        if self.outgoing(id).is_none() {
            return;
        }
        let Some(session) = self.session(id.channel) else { return };
        if session.sent.get(&delivery).is_some_and(|sent| sent.handle == id.handle) {
            session.sent.remove(&delivery);
            encode::disposition(&mut self.output, id.channel, false, (delivery, delivery), outcome);
            self.resume_session(id.channel);
        }
    }
}
