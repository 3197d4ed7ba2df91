//! [`Session`] is the state of one session: its two windows (AMQP 1.0, part 2, section 2.5), its links, and the
//! deliveries of both directions that are not settled. The state knows nothing of the connection around it;
//! `session_frames` begins and ends sessions, and the files beside it count and settle.

use std::collections::BTreeMap;

use super::link::Link;
use crate::{
    attach::SessionId,
    delivery::{DeliveryTag, Outcome},
    performative::encode::SessionFlow,
};

/// The number of transfers that we say we may send before the peer's next flow. The peer's own window is the bound
/// that counts.
const OUTGOING_WINDOW: u32 = 2048;

/// One session of a connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// True if we sent an end. Frames of the peer that still come before its own end are passed over.
    pub(super) ending: bool,
    /// The id of the next transfer frame from the peer.
    pub(super) next_incoming_id: u32,
    /// The number of transfer frames that the peer may still send.
    pub(super) incoming_window: u32,
    /// The id of our next transfer frame.
    pub(super) next_outgoing_id: u32,
    /// The number of transfer frames that the peer takes.
    pub(super) remote_window: u32,
    pub(super) next_delivery_id: u32,
    /// The links by handle. We answer on the handle that the peer chose.
    pub(super) links: BTreeMap<u16, Link>,
    /// The deliveries to the peer that are not settled, by delivery id.
    pub(super) sent: BTreeMap<u32, Sent>,
    /// The deliveries from the peer that the handler has not settled, by delivery id.
    pub(super) received: BTreeMap<u32, Received>,
    /// The first and the last of the deliveries that are accepted and not told yet: consecutive ids become one
    /// disposition.
    pub(super) accepted: Option<(u32, u32)>,
}

/// A delivery from the peer that the handler has not settled.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) handle: u16,
    /// True if the peer has settled the delivery: it is told no outcome, but the delivery's credit stays in use.
    pub(super) settled: bool,
}

/// A delivery to the peer that is not settled.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) handle: u16,
    pub(super) tag: DeliveryTag,
    /// True if the peer told an outcome and waits for ours.
    pub(super) awaits_echo: bool,
}

impl Session {
    /// Returns a session that has just begun, with the windows of both sides.
    pub(super) fn new(
        id: SessionId,
        next_incoming_id: u32,
        incoming_window: u32,
        remote_window: u32,
    ) -> Self {
        Self {
            id,
            ending: false,
            next_incoming_id,
            incoming_window,
            next_outgoing_id: 0,
            remote_window,
            next_delivery_id: 0,
            links: BTreeMap::new(),
            sent: BTreeMap::new(),
            received: BTreeMap::new(),
            accepted: None,
        }
    }

    /// Returns the session's part of a flow frame.
    pub(super) fn flow(&self) -> SessionFlow {
        SessionFlow {
            next_incoming_id: self.next_incoming_id,
            incoming_window: self.incoming_window,
            next_outgoing_id: self.next_outgoing_id,
            outgoing_window: OUTGOING_WINDOW,
        }
    }

    /// Adds the outcome of a delivery to the acceptances that are told together, and returns whether that was
    /// possible. If not, the acceptances must be told before the outcome.
    pub(super) fn join_accepted(&mut self, delivery: u32, outcome: &Outcome) -> bool {
        let joined = match (outcome, self.accepted) {
            (Outcome::Accepted, Some((first, last)))
                if last.wrapping_add(1) == delivery && delivery > first =>
            {
                (first, delivery)
            }
            (Outcome::Accepted, None) => (delivery, delivery),
            _ => return false,
        };
        self.accepted = Some(joined);
        true
    }

    /// Drops the unsettled deliveries of a link that goes away.
    pub(super) fn forget_deliveries(&mut self, handle: u16) {
        self.sent.retain(|_, sent| sent.handle != handle);
        self.received.retain(|_, received| received.handle != handle);
    }
}
