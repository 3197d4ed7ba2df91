//! This file takes messages from the peer: it keeps their credit, puts their transfers together and settles them.
//! `protocol` gives each whole delivery to the handler.

use super::{Connection, Fault, decode_error, link::Partial, session::Received};
use crate::{
    attach::LinkId,
    codec,
    delivery::{Delivery, DeliveryId, Outcome},
    error::{AmqpError, condition},
    performative::{Transfer, encode, encode::LinkFlow},
};

impl Connection {
    /// Takes one transfer, and returns the delivery that is whole with it.
    ///
    /// # Errors
    /// The transfer is against the rules, or beyond a window, a credit or a limit.
    pub(crate) fn take_transfer(
        &mut self,
        channel: u16,
        transfer: &Transfer<'_>,
    ) -> Result<Option<(LinkId, Delivery)>, Fault> {
        if self.session_for(channel)?.is_none() {
            return Ok(None);
        }
        self.count_incoming(channel)?;
        let Some(id) = self.link_for(channel, transfer.handle)? else { return Ok(None) };
        let Some(delivery) = self.assemble(id, transfer).map_err(|error| Fault::Link(id, error))? else {
            return Ok(None);
        };
        // Nesting can straddle frames, so the scan of each was not enough.
        codec::scan_message(&delivery.message).map_err(|e| Fault::Link(id, decode_error(&e)))?;
        let DeliveryId(number) = delivery.id;
        if let Some(session) = self.session(channel) {
            let received = Received { handle: id.handle, settled: delivery.settled };
            if session.received.insert(number, received).is_some() {
                let text = format!("delivery-id {number} is in use");
                return Err(Fault::Session(channel, AmqpError::new(condition::INVALID_FIELD, text)));
            }
        }
        Ok(Some((id, delivery)))
    }

    /// Adds one transfer to the link's delivery, and returns the delivery when it is whole.
    fn assemble(&mut self, id: LinkId, transfer: &Transfer<'_>) -> Result<Option<Delivery>, AmqpError> {
        let budget = self.bytes_within(self.config.max_partial_bytes).saturating_sub(self.partial_bytes);
        let Some(link) = self.incoming(id) else {
            let text = "a transfer on a link whose sender we are";
            return Err(AmqpError::new(condition::NOT_ALLOWED, text));
        };
        let mut partial = match link.partial.take() {
            None => {
                let partial = Partial::start(transfer)?;
                let Some(left) = link.credit.checked_sub(1) else {
                    let text = "a transfer beyond the link's credit";
                    return Err(AmqpError::new(condition::TRANSFER_LIMIT_EXCEEDED, text));
                };
                link.credit = left;
                link.delivery_count = link.delivery_count.wrapping_add(1);
                link.unsettled += 1;
                partial
            }
            Some(partial) => {
                if transfer.delivery_id.is_some_and(|id| id != partial.id) {
                    link.partial = Some(partial);
                    let text = "a delivery began before the one before it was complete";
                    return Err(AmqpError::new(condition::INVALID_FIELD, text));
                }
                partial
            }
        };
        let held = partial.message.len();
        let len = held + transfer.payload.len();
        let max = link.max_message_size;
        if transfer.aborted {
            link.unsettled = link.unsettled.saturating_sub(1);
            self.partial_bytes -= held;
            self.grant(id);
            return Ok(None);
        }
        partial.settled |= transfer.settled;
        let error = if u64::try_from(len).unwrap_or(u64::MAX) > max {
            let text = format!("the message is larger than {max} bytes");
            Some(AmqpError::new(condition::MESSAGE_SIZE_EXCEEDED, text))
        } else if transfer.more && transfer.payload.len() > budget {
            let text = "too many bytes of incomplete messages on this connection";
            Some(AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, text))
        } else {
            None
        };
        if let Some(error) = error {
            link.partial = Some(partial);
            return Err(error);
        }
        if transfer.more {
            partial.message.extend_from_slice(transfer.payload);
            link.partial = Some(partial);
            self.partial_bytes += transfer.payload.len();
            return Ok(None);
        }
        self.partial_bytes -= held;
        Ok(Some(partial.finish(transfer.payload)))
    }

    /// Settles a delivery of either direction. A delivery that is not known, or whose link is gone, is passed over.
    pub(crate) fn settle(&mut self, link: LinkId, delivery: DeliveryId, outcome: &Outcome) {
        if self.outgoing(link).is_some() {
            self.settle_sent(link, delivery, outcome);
        } else {
            self.settle_received(link, delivery, outcome);
        }
    }

    /// Settles a delivery from the peer, and gives its credit back.
    pub(crate) fn settle_received(&mut self, id: LinkId, delivery: DeliveryId, outcome: &Outcome) {
        let DeliveryId(delivery) = delivery;
        if self.incoming(id).is_none() {
            return;
        }
        let Some(session) = self.session(id.channel) else { return };
        let Some(received) = session.received.get(&delivery).filter(|received| received.handle == id.handle)
        else {
            return;
        };
        let settled = received.settled;
        session.received.remove(&delivery);
        if settled {
            return self.release_credit(id);
        }
        if !session.join_accepted(delivery, outcome) {
            self.flush_accepted();
            encode::disposition(&mut self.output, id.channel, true, (delivery, delivery), outcome);
        }
        self.release_credit(id);
    }

    /// Notes that the peer has settled deliveries that it sent, so that it is told no outcome. The handler still has
    /// them, so their credit comes back when it settles too.
    pub(crate) fn note_settled(&mut self, channel: u16, first: u32, last: u32) {
        let Some(session) = self.session(channel) else { return };
        for received in session.received.range_mut(first..=last).map(|(_, received)| received) {
            received.settled = true;
        }
    }

    /// Takes a settled delivery off the number of those that use the link's window.
    fn release_credit(&mut self, id: LinkId) {
        if let Some(link) = self.incoming(id) {
            link.unsettled = link.unsettled.saturating_sub(1);
            self.grant(id);
        }
    }

    /// Grants credit again when at least half of the window can be granted.
    pub(super) fn grant(&mut self, id: LinkId) {
        let Some(link) = self.incoming(id) else { return };
        let wanted = link.window.saturating_sub(link.unsettled);
        let step = (link.window / 2).max(1);
        if wanted.saturating_sub(link.credit) >= step {
            link.credit = wanted;
            self.send_incoming_flow(id);
        }
    }

    /// Tells the peer the credit of an incoming link.
    pub(super) fn send_incoming_flow(&mut self, id: LinkId) {
        let Some(link) = self.incoming(id) else { return };
        let flow = LinkFlow {
            handle: id.handle.into(),
            delivery_count: link.delivery_count,
            credit: link.credit,
            drain: false,
        };
        let Some(session) = self.session(id.channel) else { return };
        let session = session.flow();
        encode::flow(&mut self.output, id.channel, session, Some(flow));
    }
}
