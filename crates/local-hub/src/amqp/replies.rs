//! Nodes that answer: requests come in on one link, answers go out on another of the same session.
//!
//! Clients send the request before they grant credit for the answer, some even before they attach for it,
//! so answers wait, within a bound. An answer has the request's message id as its correlation id, in the
//! type it came in, `status-code` (an int: clients take no other type) and `status-description`.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use iothub_amqp_server::{
    Accept, AmqpError, AttachRequest, Body, Direction, LinkId, Links, Map, Message, Properties, SendError,
    SendOptions, SessionId, Symbol, Value, condition,
};

/// Answers that may wait for the client's receiving link.
const MAX_WAITING: usize = 16;
/// Links to one node that one connection may have, in each direction. Clients use one pair, or one for
/// each of a few sessions.
const MAX_LINKS: usize = 16;
/// The largest request. Whoever sends one may have proven nothing yet, so it is far less than a link may take.
const MAX_REQUEST_BYTES: u64 = 32 * 1024;

/// What is answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: i32,
    pub(super) description: String,
    /// What went wrong, for programs.
    pub(super) condition: Option<Symbol>,
    pub(super) body: Value,
}

impl Reply {
    pub(super) fn refusal(status: i32, condition: Option<Symbol>, description: impl Into<String>) -> Self {
        Self { status, description: description.into(), condition, body: Value::Null }
    }
}

/// A link that takes answers.
#[derive(Debug)]
struct Taker {
    link: LinkId,
    session: SessionId,
    /// The client's name for its end, to which requests may ask answers.
    address: Option<String>,
}

#[derive(Debug)]
struct Waiting {
    session: SessionId,
    reply_to: Option<String>,
    answer: Bytes,
}

/// The links of one connection to one such node, and the answers that wait for theirs.
#[derive(Debug)]
pub(super) struct Replies {
    node: &'static str,
    requests: Vec<(LinkId, SessionId)>,
    takers: Vec<Taker>,
    waiting: VecDeque<Waiting>,
}

impl Replies {
    pub(super) const fn new(node: &'static str) -> Self {
        Self { node, requests: Vec::new(), takers: Vec::new(), waiting: VecDeque::new() }
    }

    pub(super) fn attach(&mut self, request: &AttachRequest) -> Result<Accept, AmqpError> {
        let count = match request.direction {
            Direction::Incoming => self.requests.len(),
            Direction::Outgoing => self.takers.len(),
        };
        if count == MAX_LINKS {
            let text = format!("a connection may have {MAX_LINKS} links to {} in each direction", self.node);
            return Err(AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, text));
        }
        match request.direction {
            Direction::Incoming => self.requests.push((request.link, request.session)),
            Direction::Outgoing => self.takers.push(Taker {
                link: request.link,
                session: request.session,
                address: request.target.as_ref().and_then(|target| target.address.clone()),
            }),
        }
        Ok(Accept { max_message_size: Some(MAX_REQUEST_BYTES), ..Accept::default() })
    }

    /// Answers on a session that has no link to this node any more have nobody to wait for.
    pub(super) fn detach(&mut self, link: LinkId) {
        self.requests.retain(|(known, _)| *known != link);
        self.takers.retain(|taker| taker.link != link);
        let (requests, takers) = (&self.requests, &self.takers);
        self.waiting.retain(|waiting| {
            requests.iter().any(|(_, on)| *on == waiting.session)
                || takers.iter().any(|taker| taker.session == waiting.session)
        });
    }

    /// Whether requests to this node come in on the link.
    pub(super) fn takes(&self, link: LinkId) -> bool {
        self.requests.iter().any(|(known, _)| *known == link)
    }

    /// Answers a request that came on `link`, as soon as the link for it is there.
    pub(super) fn answer(&mut self, link: LinkId, request: Message, answer: Reply, links: &mut Links<'_>) {
        let Some((_, session)) = self.requests.iter().find(|(known, _)| *known == link).copied() else {
            return;
        };
        if self.waiting.len() == MAX_WAITING {
            let text = format!("too many requests to {} without a link to answer on", self.node);
            return links.close(AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, text));
        }
        let mut application_properties =
            Map::new().with("status-code", answer.status).with("status-description", answer.description);
        if let Some(condition) = answer.condition {
            application_properties.push("error-condition", condition);
        }
        let message = Message {
            properties: Properties { correlation_id: request.properties.message_id, ..Properties::default() },
            application_properties,
            body: Body::Value(answer.body),
            ..Message::default()
        };
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes);
        let reply_to = request.properties.reply_to;
        self.waiting.push_back(Waiting { session, reply_to, answer: bytes.freeze() });
        self.flush(links);
    }

    /// Sends the answers whose link is there.
    pub(super) fn flush(&mut self, links: &mut Links<'_>) {
        let (node, takers) = (self.node, &self.takers);
        self.waiting.retain(|waiting| {
            let mut on_session = takers.iter().filter(|taker| taker.session == waiting.session);
            let wanted = |taker: &&Taker| taker.address.is_some() && taker.address == waiting.reply_to;
            let taker = on_session.clone().find(wanted).or_else(|| on_session.next());
            let Some(taker) = taker else { return true };
            match links.enqueue(taker.link, waiting.answer.clone(), SendOptions::settled()) {
                Ok(()) => false,
                // Not attached yet as far as the transport is concerned: with the next credit.
                Err(SendError::NotAttached) => true,
                Err(error) => {
                    let text = format!("the answer on {node} cannot be sent: {error}");
                    links.close(AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, text));
                    false
                }
            }
        });
    }
}
