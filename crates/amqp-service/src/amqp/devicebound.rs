//! The link on which cloud-to-device messages leave.

use fe2o3_amqp::Sender;
use fe2o3_amqp::link::SendError;
use fe2o3_amqp::link::delivery::DeliveryFut;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp_types::definitions::SenderSettleMode;
use fe2o3_amqp_types::messaging::Outcome;
use jiff::Timestamp;
use uuid::Uuid;

use super::EncodedMessage;
use super::connection::Connection;
use super::failure::{self, Failure};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::refusal::Scope;

/// Where a hub takes cloud-to-device messages.
const DEVICEBOUND: &str = "/messages/devicebound";

/// An open connection with a sending link. Its token is kept fresh while one of the methods is awaited.
/// Dropped without [`close`](Self::close), the connection is cut.
pub(crate) struct SendingLink {
    sender: Sender,
    connection: Connection,
}

impl SendingLink {
    /// Connects, authorizes and attaches the link, until `deadline` at the latest.
    pub(crate) async fn open(endpoint: &Endpoint, deadline: Timestamp) -> Result<Self, Error> {
        let mut connection = Connection::open(endpoint, deadline).await?;
        let sender = connection.step(endpoint, deadline, Scope::Link, attach).await?;
        Ok(Self { sender, connection })
    }

    /// Hands one message to the connection, when the hub has given credit for it.
    ///
    /// After an error the message has not been sent, and the link is of no more use unless the error is
    /// [`TooLarge`](crate::ErrorKind::TooLarge).
    ///
    /// # Cancel safety
    /// Dropped before it is done, the message is not sent.
    pub(crate) async fn transfer(&mut self, message: &EncodedMessage) -> Result<Delivery, Error> {
        let sent = tokio::select! {
            biased;
            sent = self.sender.send_batchable_ref(&message.0) => sent,
            never = self.connection.renew() => match never {},
        };
        match sent {
            Ok(delivery) => Ok(Delivery(delivery)),
            Err(error) => Err(Failure::from(error).into_error("the message was not sent", Scope::Link)),
        }
    }

    /// Waits until the link is lost, and says why.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: [`transfer`](Self::transfer) will find the same.
    pub(crate) async fn lost(&mut self) -> Error {
        let error = tokio::select! {
            error = self.sender.on_detach() => error,
            never = self.connection.renew() => match never {},
        };
        Failure::from(error).into_error("the link was lost", Scope::Link)
    }

    /// Says goodbye: link, session and connection, each answered by the hub.
    pub(crate) async fn close(self) -> Result<(), Error> {
        let Self { sender, connection } = self;
        let closed = async {
            sender.close().await?;
            connection.close().await
        };
        closed.await.map_err(|failure: Failure| failure.into_error("closing the connection", Scope::Link))
    }
}

async fn attach(session: &mut SessionHandle<()>) -> Result<Sender, Failure> {
    let sender = Sender::builder()
        .name(format!("devicebound-{}", Uuid::new_v4()))
        .target(DEVICEBOUND)
        // The hub's verdict on each message is the point: nothing goes out settled.
        .sender_settle_mode(SenderSettleMode::Unsettled)
        .attach(session)
        .await?;
    Ok(sender)
}

/// A message that was handed to the connection.
pub(crate) struct Delivery(DeliveryFut<Result<Outcome, SendError>>);

impl Delivery {
    /// The hub's verdict: `Ok` if it has accepted the message.
    pub(crate) async fn outcome(self) -> Result<(), Error> {
        failure::outcome(self.0.await)
    }
}
