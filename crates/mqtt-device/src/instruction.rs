//! What the handles ask of the task that owns the connection: a closed list.
//!
//! The queue that carries commands has no bound of its own, because every command has one: messages
//! hold a place in the outbox and requests one among those that may wait, completions and answers exist once
//! per delivery that waits for them, subscriptions once per stream. A handle can therefore always hand its
//! command over without waiting.

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::capacity::Place;
use crate::desired::Start;
use crate::error::Error;
use crate::method_calls::Answer;
use crate::requests::Pending;
use crate::subscriptions::Feed;

/// The one who waits for the outcome.
pub(crate) type Waiter = oneshot::Sender<Result<(), Error>>;

#[derive(Debug)]
pub(crate) enum Instruction {
    /// Send telemetry.
    Send { sequence: u64, message: Outgoing },
    /// Nobody waits for this message any longer.
    GiveUp { sequence: u64 },
    /// Ask the hub about the twin.
    Request { sequence: u64, pending: Pending },
    /// Nobody waits for this answer any longer.
    GiveUpRequest { sequence: u64 },
    /// A stream of desired properties begins.
    FollowDesired { start: Start },
    /// The hub has left this subscription unanswered for too long.
    Unanswered { feed: Feed },
    /// Subscribe, now and on every connection to come.
    Subscribe { feed: Feed, done: Waiter },
    /// Acknowledge a cloud-to-device message.
    Complete { epoch: u64, packet_id: u16 },
    /// Answer a call of a direct method.
    Respond(MethodResponse),
    /// The stream of calls is gone.
    CallsUnread,
    /// Send what waits, say goodbye, stop.
    Shutdown,
}

/// Telemetry in the outbox.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) waiter: Waiter,
    /// Its place in the outbox, given back when it leaves.
    pub(crate) _place: Place,
}
