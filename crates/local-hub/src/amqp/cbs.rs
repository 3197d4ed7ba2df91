//! The `$cbs` node: clients put SAS tokens here and read the answers, and what they proved counts for
//! their whole connection.
//!
//! A request is a message with the application properties `operation=put-token`, `type` and `name`, and
//! the token as its body; the answer has `status-code` (an int, 200 for hub audiences: the official Node
//! client takes nothing else) and `status-description`, and the request's message id as its correlation
//! id, in the type it came in.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use iothub_amqp_server::{
    Accept, AmqpError, AttachRequest, Body, Direction, LinkId, Links, Map, Message, Properties, SendError,
    SendOptions, SessionId, Value, condition,
};

use super::grants::{Grants, RESOURCE};
use crate::core::policies::Permission;
use crate::hub::Hub;

/// Answers that may wait for the client's receiving link.
const MAX_WAITING: usize = 16;
/// Links to this node that one connection may have, in each direction. Clients use one pair, or one for
/// each of a few sessions.
const MAX_LINKS: usize = 16;
/// The largest request. Whoever sends one has proven nothing yet, so it is far less than a link may take.
const MAX_REQUEST_BYTES: u64 = 32 * 1024;

/// The `$cbs` links of one connection, and the answers that wait for theirs.
#[derive(Debug, Default)]
pub(super) struct Cbs {
    requests: Vec<(LinkId, SessionId)>,
    answers: Vec<(LinkId, SessionId)>,
    waiting: VecDeque<(SessionId, Bytes)>,
}

impl Cbs {
    pub(super) fn attach(&mut self, request: &AttachRequest) -> Result<Accept, AmqpError> {
        let links = match request.direction {
            Direction::Incoming => &mut self.requests,
            Direction::Outgoing => &mut self.answers,
        };
        if links.len() == MAX_LINKS {
            let text = format!("a connection may have {MAX_LINKS} links to $cbs in each direction");
            return Err(AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, text));
        }
        links.push((request.link, request.session));
        Ok(Accept { max_message_size: Some(MAX_REQUEST_BYTES), ..Accept::default() })
    }

    /// Answers on a session that has no link to this node any more have nobody to wait for.
    pub(super) fn detach(&mut self, link: LinkId) {
        self.requests.retain(|(known, _)| *known != link);
        self.answers.retain(|(known, _)| *known != link);
        let (requests, answers) = (&self.requests, &self.answers);
        self.waiting.retain(|(session, _)| requests.iter().chain(answers).any(|(_, on)| on == session));
    }

    pub(super) fn takes(&self, link: LinkId) -> bool {
        self.requests.iter().any(|(known, _)| *known == link)
    }

    /// Handles one request, and queues its answer on the link of the same session: clients send the
    /// request before they grant credit for the answer, some even before they attach for it.
    pub(super) fn put_token(
        &mut self,
        link: LinkId,
        request: &Message,
        hub: &Hub,
        grants: &mut Grants,
        links: &mut Links<'_>,
    ) {
        let Some((_, session)) = self.requests.iter().find(|(known, _)| *known == link).copied() else {
            return;
        };
        let (status, description) = match verify(request, hub, grants) {
            Ok(()) => (200, "OK".to_owned()),
            Err((status, why)) => (status, why),
        };
        let answer = Message {
            properties: Properties {
                correlation_id: request.properties.message_id.clone(),
                ..Properties::default()
            },
            application_properties: Map::new()
                .with("status-code", status)
                .with("status-description", description),
            body: Body::Value(Value::Null),
            ..Message::default()
        };
        let mut bytes = BytesMut::new();
        answer.encode(&mut bytes);
        if self.waiting.len() == MAX_WAITING {
            links.close(AmqpError::new(
                condition::RESOURCE_LIMIT_EXCEEDED,
                "too many put-token requests without a link to answer on",
            ));
            return;
        }
        self.waiting.push_back((session, bytes.freeze()));
        self.flush(links);
    }

    /// Sends the answers whose link is there.
    pub(super) fn flush(&mut self, links: &mut Links<'_>) {
        let answers = &self.answers;
        self.waiting.retain(|(session, answer)| {
            let Some((link, _)) = answers.iter().find(|(_, on)| on == session) else { return true };
            match links.enqueue(*link, answer.clone(), SendOptions::settled()) {
                Ok(()) => false,
                // Not attached yet as far as the transport is concerned: with the next credit.
                Err(SendError::NotAttached) => true,
                Err(error) => {
                    let text = format!("the answer on $cbs cannot be sent: {error}");
                    links.close(AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, text));
                    false
                }
            }
        });
    }
}

/// Checks a put-token request and remembers what it proved; else the status and the text to answer.
fn verify(request: &Message, hub: &Hub, grants: &mut Grants) -> Result<(), (i32, String)> {
    let property =
        |name| request.application_properties.get(name).and_then(Value::as_str).unwrap_or_default();
    if property("operation") != "put-token" {
        return Err((400, "the operation on $cbs must be put-token".to_owned()));
    }
    if !property("type").eq_ignore_ascii_case("servicebus.windows.net:sastoken") {
        return Err((
            401,
            "this hub takes SAS tokens only, of type servicebus.windows.net:sastoken".to_owned(),
        ));
    }
    let Body::Value(Value::String(token)) = &request.body else {
        return Err((400, "the body of put-token must be the token, as a string".to_owned()));
    };
    match hub.authorize_service(token, &RESOURCE, &[Permission::ServiceConnect]) {
        Ok(grant) => {
            grants.add(&grant);
            Ok(())
        }
        // The true reason is in the hub's log. The official Python client reads the description after
        // its C core has freed it; a short one is still whole then, and the client raises what it should.
        Err(_denied) => Err((401, "Unauthorized access".to_owned())),
    }
}
