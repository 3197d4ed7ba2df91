//! Claims-based security: a SAS token is put to the node `$cbs`, and again before it expires, on the
//! same pair of links.
//!
//! The message and what may come back are described in the public *AMQP Claims-based Security* draft
//! and in *Communicate with your IoT hub by using the AMQP protocol*. The audience is what the token is
//! signed for.

use std::convert::Infallible;
use std::time::Duration;

use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Receiver, Sender};
use fe2o3_amqp_types::messaging::{ApplicationProperties, Body, Message, MessageId, Outcome, Properties};
use fe2o3_amqp_types::primitives::SimpleValue;
use iothub_auth::Clock;
use jiff::Timestamp;
use serde_amqp::Value;
use uuid::Uuid;

use super::failure::{Failure, refusal};
use crate::endpoint::Credential;
use crate::error::ErrorKind;
use crate::refusal::Refusal;

const NODE: &str = "$cbs";

/// The shortest pause before a token is renewed again.
const MIN_PAUSE: Duration = Duration::from_secs(10);

/// The pair of links to `$cbs`.
pub(super) struct Cbs {
    sender: Sender,
    receiver: Receiver,
    credential: Credential,
    token_lifetime: Duration,
}

impl Cbs {
    pub(super) async fn attach(
        session: &mut SessionHandle<()>,
        credential: &Credential,
        token_lifetime: Duration,
    ) -> Result<Self, Failure> {
        let receiver = Receiver::builder()
            .name(format!("cbs-receiver-{}", Uuid::new_v4()))
            .source(NODE)
            .attach(session)
            .await?;
        let sender = Sender::builder()
            .name(format!("cbs-sender-{}", Uuid::new_v4()))
            .target(NODE)
            .attach(session)
            .await?;
        Ok(Self { sender, receiver, credential: credential.clone(), token_lifetime })
    }

    /// Puts a token signed `now`.
    pub(super) async fn put_token(&mut self, now: Timestamp) -> Result<Validity, Failure> {
        let token = self
            .credential
            .sas_token(now, self.token_lifetime)
            .map_err(|error| Failure::known(ErrorKind::InvalidArgument, error.to_string()))?;
        let id = MessageId::from(Uuid::new_v4().to_string());
        let request = Message::builder()
            .properties(Properties::builder().message_id(id.clone()).to(NODE).reply_to("cbs").build())
            .application_properties(
                ApplicationProperties::builder()
                    .insert("operation", "put-token")
                    .insert("type", "servicebus.windows.net:sastoken")
                    .insert("name", self.credential.audience())
                    .build(),
            )
            .value(token.reveal().to_owned())
            .build();
        let mut settled = Some(self.sender.send_batchable(request).await?);
        loop {
            tokio::select! {
                biased;
                reply = self.receiver.recv::<Body<Value>>() => {
                    let reply = reply?;
                    self.receiver.accept(&reply).await.map_err(|error| {
                        Failure::known(ErrorKind::Disconnected, error.to_string())
                    })?;
                    if is_reply_to(reply.message(), &id) {
                        return verdict(reply.message()).map(|()| Validity::from(now, token.expiry()));
                    }
                    tracing::debug!("an answer to an earlier put-token came late");
                }
                outcome = async { match settled.as_mut() {
                    Some(outcome) => outcome.await,
                    None => std::future::pending().await,
                } } => {
                    settled = None;
                    if let Outcome::Rejected(rejected) = outcome? {
                        return Err(rejected.error.as_ref().map_or_else(
                            || Failure::known(ErrorKind::NotAuthorized, "the hub rejected the token"),
                            |error| Failure::Refused(refusal(error)),
                        ));
                    }
                }
            }
        }
    }

    /// Renews the token for ever, see [`Validity`]. A hub that will not have a new one ends the
    /// connection when the old one expires, and connecting again tells why.
    pub(super) async fn keep_renewed(
        mut self,
        clock: Clock,
        answer_timeout: Duration,
        mut validity: Validity,
    ) -> Infallible {
        loop {
            clock.sleep_until(validity.renew_at).await;
            let now = clock.now();
            let renewed = clock.timeout(answer_timeout, Box::pin(self.put_token(now))).await;
            match renewed {
                Ok(Ok(renewed)) => {
                    tracing::debug!(expiry = %renewed.expiry, "token renewed");
                    validity = renewed;
                    continue;
                }
                Ok(Err(failure)) => tracing::warn!(?failure, "the token was not renewed, trying again"),
                Err(_elapsed) => tracing::warn!("no answer to the renewal of the token, trying again"),
            }
            validity = Validity::from(now, validity.expiry);
        }
    }
}

/// How long a token is good, and when to put the next one: when three quarters of its life are over,
/// or, where that failed, three quarters of what remained.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validity {
    expiry: Timestamp,
    renew_at: Timestamp,
}

impl Validity {
    fn from(now: Timestamp, expiry: Timestamp) -> Self {
        let left = Duration::try_from(expiry.duration_since(now)).unwrap_or_default();
        let renew_at = now.checked_add((left * 3 / 4).max(MIN_PAUSE)).unwrap_or(Timestamp::MAX);
        Self { expiry, renew_at }
    }
}

/// Whether this is the reply. Some servers leave the correlation id out, which is fine: only one
/// request is under way.
fn is_reply_to(reply: &Message<Body<Value>>, id: &MessageId) -> bool {
    let correlation = reply.properties.as_ref().and_then(|properties| properties.correlation_id.as_ref());
    correlation.is_none_or(|correlation| correlation == id)
}

/// Hubs answer 200, Event Hubs 202.
fn verdict(reply: &Message<Body<Value>>) -> Result<(), Failure> {
    let property = |name| {
        reply
            .application_properties
            .as_ref()
            .and_then(|properties| properties.iter().find_map(|(key, value)| (key == name).then_some(value)))
    };
    let text = |name| match property(name) {
        Some(SimpleValue::String(text)) => Some(text.as_str()),
        Some(SimpleValue::Symbol(symbol)) => Some(symbol.as_str()),
        _ => None,
    };
    let status = match property("status-code") {
        Some(SimpleValue::Int(status)) => *status,
        _ => return Err(Failure::known(ErrorKind::Protocol, "the answer to put-token has no status-code")),
    };
    let description = text("status-description").unwrap_or_default();
    let kind = match status {
        200 | 202 => return Ok(()),
        401 | 403 => ErrorKind::NotAuthorized,
        404 => ErrorKind::HubNotFound,
        429 => ErrorKind::Throttled,
        500.. => ErrorKind::Unavailable,
        _ => ErrorKind::Refused,
    };
    let said = Refusal::new(&format!("put-token was answered {status}"), Some(description), None);
    Err(Failure::known(kind, said.to_string()))
}
