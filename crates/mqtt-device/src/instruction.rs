//! This file defines [`Instruction`], which the handles of a client send to the task that owns the connection.
//!
//! `shared_client`, `c2d` and `methods` send instructions, and `driver` carries them out. The queue between them has no
//! bound of its own, because every kind of instruction has one: a message has a place in the outbox, a request has one
//! of the places for requests, a completion or a response exists once for each delivery that waits for it, and a
//! subscription once for each stream. A handle can therefore always send its instruction without waiting.

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::capacity::Place;
use crate::desired::Start;
use crate::error::Error;
use crate::method_calls::MethodResponse;
use crate::requests::Pending;
use crate::subscriptions::Feed;

/// The sender that tells a waiting handle the outcome.
pub(crate) type Waiter = oneshot::Sender<Result<(), Error>>;

/// An instruction of a handle to the task that owns the connection.
#[derive(Debug)]
pub(crate) enum Instruction {
    /// Send telemetry.
    Send { sequence: u64, message: Outgoing },
    /// Give up a message: its sender no longer waits.
    GiveUp { sequence: u64 },
    /// Send a request about the twin.
    Request { sequence: u64, pending: Pending },
    /// Give up a request: its sender no longer waits.
    GiveUpRequest { sequence: u64 },
    /// Read the desired properties and follow their changes: a stream of them begins.
    FollowDesired { start: Start },
    /// Connect again if the hub has still not acknowledged this subscription: the time to wait for it is over.
    Unacknowledged { feed: Feed },
    /// Subscribe, now and on every connection to come.
    Subscribe { feed: Feed, done: Waiter },
    /// Acknowledge a cloud-to-device message.
    Complete { epoch: u64, packet_id: u16 },
    /// Send the response to a call of a direct method.
    Respond(MethodResponse),
    /// Respond to the calls that were not read: the stream of calls was dropped.
    CallsUnread,
    /// Send all that waits, disconnect and end.
    Shutdown,
}

/// A telemetry message in the outbox.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) waiter: Waiter,
    /// The place of the message in the outbox, which it frees when it leaves.
    pub(crate) _place: Place,
}
