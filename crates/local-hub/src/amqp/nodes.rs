//! [`Nodes`] handles one AMQP connection: it accepts or refuses links, and hands each message to its node.
//! `amqp` makes one for each connection, and the transport calls it.

use std::collections::HashMap;
use std::sync::Arc;

use iothub_amqp_server::{
    Accept, AmqpError, AttachRequest, AttachVerdict, ConnectionEnd, ConnectionHandle, ConnectionHandler,
    Credit, Delivery, Direction, Disposition, LinkId, Links, Outcome, RemoteOpen, SaslInit, SaslVerdict,
    SentDelivery, condition,
};
use iothub_models::ErrorCode;

use super::address::Node;
use super::devicebound::{self, Attached, Devicebound};
use super::error::{TRACKING_ID, amqp_error};
use super::feedback::FeedbackLinks;
use super::readers::Readers;
use super::redirect::{self, Listener};
use super::replies::Replies;
use super::{cbs, management, sasl};
use crate::activity::refused;
use crate::core::grant::Grants;
use crate::core::refusal::HubError;
use crate::hub::Hub;
use crate::listener::accepted::Permit;

/// The handler of one connection: its links, and what its proofs allow.
pub(super) struct Nodes {
    hub: Hub,
    listener: Listener,
    permit: Arc<Permit>,
    /// The host name by which the client came.
    host: Option<String>,
    grants: Grants,
    cbs: Replies,
    management: Replies,
    readers: Readers,
    devicebound: HashMap<LinkId, Attached>,
    worker: Option<Devicebound>,
    feedback: FeedbackLinks,
}

impl Nodes {
    pub(super) fn new(hub: Hub, listener: Listener, permit: Arc<Permit>) -> Self {
        Self {
            hub,
            listener,
            permit,
            host: None,
            grants: Grants::default(),
            cbs: Replies::new("$cbs"),
            management: Replies::new("$management"),
            readers: Readers::default(),
            devicebound: HashMap::new(),
            worker: None,
            feedback: FeedbackLinks::default(),
        }
    }

    fn attach_devicebound(
        &mut self,
        request: &AttachRequest,
        links: &Links<'_>,
    ) -> Result<Accept, AmqpError> {
        self.grants.check_service(self.hub.clock().now()).map_err(|denied| amqp_error(&denied))?;
        if request.direction == Direction::Outgoing {
            return Err(AmqpError::new(
                condition::NOT_ALLOWED,
                "/messages/devicebound takes messages and gives none",
            ));
        }
        if self.devicebound.len() == devicebound::MAX_LINKS {
            let text = format!("a connection may have {} links to this node", devicebound::MAX_LINKS);
            return Err(AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, text));
        }
        self.devicebound.insert(request.link, Attached::default());
        self.worker.get_or_insert_with(|| {
            Devicebound::spawn(self.hub.clone(), links.handle().clone(), &self.permit)
        });
        Ok(Accept { credit: devicebound::CREDIT, ..Accept::default() })
    }

    fn attach_management(&mut self, request: &AttachRequest) -> Result<Accept, AmqpError> {
        self.check_any_event()?;
        self.management.attach(request)
    }

    /// Checks that the client may read any events at all.
    fn check_any_event(&self) -> Result<(), AmqpError> {
        let (event_hub, now) = (&self.hub.config().name, self.hub.clock().now());
        self.grants.check_any_event(event_hub, now).map_err(|denied| amqp_error(&denied))
    }

    /// Returns the redirect to the address of events, or a refusal if the client may not know it.
    fn redirect(&self, suffix: &str) -> AmqpError {
        let config = self.hub.config();
        if let Err(denied) = self.check_any_event() {
            return denied;
        }
        let known = self.host.as_deref().filter(|host| config.host_names.contains(host));
        redirect::redirect(
            known.unwrap_or_else(|| config.host_names.preferred()),
            self.listener,
            &config.name,
            suffix,
        )
    }

    /// Keeps the connection's place for as long as one of its proofs is good.
    fn keep_place(&self) {
        if let Some(expiry) = self.grants.expiry() {
            self.permit.place().prove_until(expiry);
        }
    }

    /// Answers a request to `$cbs` or `$management`.
    fn answer(&mut self, link: LinkId, delivery: &Delivery, links: &mut Links<'_>) -> Outcome {
        let request = match delivery.decode() {
            Ok(request) => request,
            Err(error) => {
                let text = format!("the request cannot be read: {error}");
                let error = AmqpError::new(condition::DECODE_ERROR, text);
                tell_refusal("a request".to_owned(), &error);
                return Outcome::Rejected(Some(error));
            }
        };
        if self.cbs.takes(link) {
            let answer = cbs::put_token(&request, &self.hub, &mut self.grants);
            self.keep_place();
            self.cbs.answer(link, request, answer, links);
        } else {
            let answer = management::respond(&request, &self.hub, &self.grants);
            if answer.status >= 400 {
                refused("read $management", &answer.description).tell();
            }
            self.management.answer(link, request, answer, links);
        }
        Outcome::Accepted
    }
}

impl ConnectionHandler for Nodes {
    fn on_sasl(&mut self, init: SaslInit) -> SaslVerdict {
        let verdict = sasl::verdict(&init, &self.hub, &mut self.grants);
        self.keep_place();
        verdict
    }

    fn is_trusted(&self) -> bool {
        self.grants.expiry().is_some()
    }

    fn on_open(&mut self, open: RemoteOpen, _handle: &ConnectionHandle) -> Result<(), AmqpError> {
        tracing::debug!(container = open.container_id, host = open.hostname, "AMQP connection open");
        self.host = open.hostname;
        Ok(())
    }

    fn on_attach(&mut self, request: AttachRequest, links: &mut Links<'_>) -> AttachVerdict {
        let address = request.node_address().unwrap_or_default();
        let accepted = match Node::parse(address) {
            Some(Node::Cbs) => self.cbs.attach(&request),
            Some(Node::DeviceBound) => self.attach_devicebound(&request, links),
            Some(Node::Feedback) => {
                self.feedback.attach(&request, &self.hub, &self.grants, &self.permit, links)
            }
            Some(Node::Events(suffix)) => Err(self.redirect(&suffix)),
            Some(Node::Management) => self.attach_management(&request),
            Some(Node::Partition(address)) => {
                self.readers.attach(&request, &address, &self.hub, &self.grants, links)
            }
            None => {
                let shown = shown(address);
                let text = format!("this hub has no node {shown:?}");
                Err(AmqpError::new(condition::NOT_FOUND, text))
            }
        };
        match accepted {
            Ok(accept) => AttachVerdict::Accept(accept),
            Err(error) => {
                tell_refusal(format!("attach {}", shown(address)), &error);
                AttachVerdict::refuse(error)
            }
        }
    }

    fn on_message(&mut self, link: LinkId, delivery: Delivery, links: &mut Links<'_>) -> Disposition {
        if self.cbs.takes(link) || self.management.takes(link) {
            return self.answer(link, &delivery, links).into();
        }
        if let Err(denied) = self.grants.check_service(self.hub.clock().now()) {
            return Outcome::Rejected(Some(amqp_error(&denied))).into();
        }
        let (Some(worker), Some(attached)) = (&self.worker, self.devicebound.get(&link)) else {
            let refusal = HubError::new(ErrorCode::ServerError, "no worker for this link");
            return Outcome::Rejected(Some(amqp_error(&refusal))).into();
        };
        match worker.take(link, attached, &delivery) {
            Ok(()) => Disposition::Later,
            Err(outcome) => outcome.into(),
        }
    }

    fn on_outcome(&mut self, link: LinkId, sent: SentDelivery, _links: &mut Links<'_>) -> Disposition {
        if self.feedback.has(link) {
            return self.feedback.settle(link, &sent);
        }
        // All other nodes send settled.
        sent.outcome.into()
    }

    fn on_credit(&mut self, link: LinkId, _credit: Credit, links: &mut Links<'_>) {
        if self.feedback.has(link) {
            return self.feedback.deliver(link, &self.hub, &self.grants, links);
        }
        if self.readers.has(link) {
            return self.readers.send(link, &self.hub, &self.grants, links);
        }
        self.cbs.flush(links);
        self.management.flush(links);
    }

    fn is_drained(&mut self, links: &mut Links<'_>) -> bool {
        self.readers.are_drained(links)
    }

    fn on_detach(&mut self, link: LinkId, error: Option<&AmqpError>, _links: &mut Links<'_>) {
        if let Some(error) = error {
            tracing::info!(%error, "a link over AMQP was ended");
        }
        self.cbs.detach(link);
        self.management.detach(link);
        self.readers.detach(link);
        self.devicebound.remove(&link);
        self.feedback.detach(link);
    }

    fn on_closed(&mut self, end: &ConnectionEnd) {
        match end {
            ConnectionEnd::Closed(error) => tracing::info!(%error, "an AMQP connection was closed"),
            end => tracing::debug!(?end, "AMQP connection closed"),
        }
    }
}

/// Returns the beginning of a client's text, for the log and for errors.
fn shown(text: &str) -> String {
    text.chars().take(200).collect()
}

/// Tells of a refusal, unless that was done under its tracking id. A redirect refuses nothing.
fn tell_refusal(what: String, error: &AmqpError) {
    if error.info.get(TRACKING_ID).is_none() && error.condition != condition::REDIRECT {
        refused(what, &format_args!("{}: {}", error.condition, error.description)).tell();
    }
}

#[cfg(test)]
mod tests {
    use iothub_auth::Clock;

    use super::*;
    use crate::activity::{ActivityLog, ActivityTransport, Origin};

    async fn told(error: AmqpError) -> Vec<String> {
        let log = ActivityLog::new("hub", Clock::real());
        let mut activity = log.stream();
        let origin = Origin::new(log, ActivityTransport::Amqp, ([127, 0, 0, 1], 1).into());
        origin.scope(async move { tell_refusal("attach x".to_owned(), &error) }).await;
        std::iter::from_fn(|| activity.try_next()).map(|record| record.reason.clone().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_refusal_is_told_once_with_its_reason() {
        let sixth = AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, "there are five readers");
        assert_eq!(told(sixth).await, ["amqp:resource-limit-exceeded: there are five readers"]);
        // What has a tracking id was told with it, and a redirect refuses nothing.
        let tracked = amqp_error(&HubError::new(ErrorCode::DeviceNotFound, "d1"));
        assert!(told(tracked).await.is_empty());
        assert!(told(AmqpError::new(condition::REDIRECT, "elsewhere")).await.is_empty());
    }
}
