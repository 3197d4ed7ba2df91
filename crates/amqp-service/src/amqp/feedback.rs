//! The link on which feedback arrives.
//!
//! | | |
//! |---|---|
//! | node | `/messages/servicebound/feedback` |
//! | body | one data section: a JSON array of records |
//! | user id | the hub's name |
//! | annotation `iothub-enqueuedtime` | when the hub made the batch, a timestamp |
//! | complete, abandon, refuse | the outcomes accepted, released, rejected, settled at once |
//!
//! Source: *Send cloud-to-device messages from an IoT hub*, "Message feedback", and the official clients.

use fe2o3_amqp::Receiver;
use fe2o3_amqp::link::RecvError;
use fe2o3_amqp::link::delivery::DeliveryInfo;
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp_types::definitions::{AmqpError, Error as AmqpProblem};
use fe2o3_amqp_types::messaging::{Body, Message};
use jiff::Timestamp;
use serde_amqp::Value;
use uuid::Uuid;

use super::connection::Connection;
use super::event::body;
use super::failure::Failure;
use super::value::timestamp;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::refusal::Scope;

const FEEDBACK: &str = "/messages/servicebound/feedback";

/// Largest batch taken: 64 records have some 20 KB.
const MAX_BATCH: u64 = 1024 * 1024;

/// A batch as it came, not looked into.
pub(crate) struct Arrived {
    pub(crate) body: Vec<u8>,
    pub(crate) hub_name: Option<String>,
    pub(crate) enqueued_time: Option<Timestamp>,
    pub(crate) delivery: Unsettled,
}

/// What it takes to settle a batch.
#[derive(Debug)]
pub(crate) struct Unsettled(DeliveryInfo);

/// What shall become of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is dealt with.
    Complete,
    /// It shall come again.
    Abandon,
    /// It cannot be read, and shall not come again.
    Refuse,
}

/// An open connection with a link that brings feedback. Its token is kept fresh while
/// [`next`](Self::next) is awaited. Dropped without [`close`](Self::close), the connection is cut.
pub(crate) struct FeedbackLink {
    receiver: Receiver,
    connection: Connection,
}

impl FeedbackLink {
    /// Connects, authorizes and attaches the link, until `deadline` at the latest.
    pub(crate) async fn open(endpoint: &Endpoint, deadline: Timestamp) -> Result<Self, Error> {
        let mut connection = Connection::open(endpoint, deadline).await?;
        let receiver = connection.step(endpoint, deadline, Scope::Link, attach).await?;
        Ok(Self { receiver, connection })
    }

    /// Lets the hub send one batch.
    pub(crate) async fn ask(&mut self) -> Result<(), Error> {
        self.receiver.set_credit(1).await.map_err(|error| lost(Failure::from(error)))
    }

    /// The next batch. `None` stands for one that was no message; it has been refused.
    ///
    /// # Cancel safety
    /// Dropping the future loses no batch.
    pub(crate) async fn next(&mut self) -> Result<Option<Arrived>, Error> {
        let received = tokio::select! {
            biased;
            received = self.receiver.recv::<Body<Value>>() => received,
            never = self.connection.renew() => match never {},
        };
        match received {
            Ok(delivery) => {
                let (info, message) = delivery.into_parts();
                Ok(Some(arrived(message, Unsettled(info))))
            }
            Err(RecvError::MessageDecode(error)) => {
                self.settle(Unsettled(error.info), Verdict::Refuse).await?;
                Ok(None)
            }
            Err(error) => Err(lost(Failure::from(error))),
        }
    }

    /// Settles a batch that came over this link.
    pub(crate) async fn settle(&mut self, batch: Unsettled, verdict: Verdict) -> Result<(), Error> {
        let settled = match verdict {
            Verdict::Complete => self.receiver.accept(batch.0).await,
            Verdict::Abandon => self.receiver.release(batch.0).await,
            Verdict::Refuse => {
                let why = Some("it is no array of feedback records".to_owned());
                self.receiver.reject(batch.0, AmqpProblem::new(AmqpError::DecodeError, why, None)).await
            }
        };
        settled.map_err(|error| lost(Failure::from(error)))
    }

    /// Says goodbye: link, session and connection, each answered by the hub.
    pub(crate) async fn close(self) -> Result<(), Error> {
        let Self { receiver, connection } = self;
        let closed = async {
            receiver.close().await?;
            connection.close().await
        };
        closed.await.map_err(|failure: Failure| failure.into_error("closing the connection", Scope::Link))
    }
}

async fn attach(session: &mut SessionHandle<()>) -> Result<Receiver, Failure> {
    let receiver = Receiver::builder()
        .name(format!("feedback-{}", Uuid::new_v4()))
        .source(FEEDBACK)
        .max_message_size(MAX_BATCH)
        // A batch is locked for a minute when it is sent: only as many come as are asked for.
        .credit_mode(CreditMode::Manual)
        .attach(session)
        .await?;
    Ok(receiver)
}

fn arrived(message: Message<Body<Value>>, delivery: Unsettled) -> Arrived {
    let properties = message.properties.unwrap_or_default();
    let annotations = message.message_annotations.unwrap_or_default();
    let enqueued_time = annotations
        .iter()
        .find_map(|(key, value)| (*key == "iothub-enqueuedtime".into()).then(|| timestamp(value))?);
    let body = body(message.body).unwrap_or_default();
    let hub_name = properties.user_id.and_then(|user| String::from_utf8(user.into_vec()).ok());
    Arrived { body, hub_name, enqueued_time, delivery }
}

fn lost(failure: Failure) -> Error {
    failure.into_error("the link was lost", Scope::Link)
}
