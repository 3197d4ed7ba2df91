//! The nodes behind one AMQP connection: which links are taken, and which node a message is for.

use std::collections::HashMap;

use iothub_amqp_server::{
    Accept, AmqpError, AttachRequest, AttachVerdict, ConnectionEnd, ConnectionHandle, ConnectionHandler,
    Credit, Delivery, Direction, Disposition, LinkId, Links, Outcome, RemoteOpen, SaslInit, SaslVerdict,
    SentDelivery, condition,
};
use iothub_models::ErrorCode;

use super::address::Node;
use super::cbs::Cbs;
use super::devicebound::{self, Attached, Worker};
use super::error::amqp_error;
use super::grants::Grants;
use super::sasl;
use crate::core::refusal::HubError;
use crate::hub::Hub;

/// One connection's view of the hub.
pub(super) struct Nodes {
    hub: Hub,
    grants: Grants,
    cbs: Cbs,
    devicebound: HashMap<LinkId, Attached>,
    worker: Option<Worker>,
}

impl Nodes {
    pub(super) fn new(hub: Hub) -> Self {
        Self {
            hub,
            grants: Grants::default(),
            cbs: Cbs::default(),
            devicebound: HashMap::new(),
            worker: None,
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
        self.worker.get_or_insert_with(|| Worker::spawn(self.hub.clone(), links.handle().clone()));
        Ok(Accept { credit: devicebound::CREDIT, ..Accept::default() })
    }
}

impl ConnectionHandler for Nodes {
    fn on_sasl(&mut self, init: SaslInit) -> SaslVerdict {
        sasl::verdict(&init, &self.hub, &mut self.grants)
    }

    fn on_open(&mut self, open: RemoteOpen, _handle: &ConnectionHandle) -> Result<(), AmqpError> {
        tracing::debug!(container = open.container_id, host = open.hostname, "AMQP connection open");
        Ok(())
    }

    fn on_attach(&mut self, request: AttachRequest, links: &mut Links<'_>) -> AttachVerdict {
        let address = request.node_address().unwrap_or_default();
        let accepted = match Node::parse(address) {
            Some(Node::Cbs) => self.cbs.attach(&request),
            Some(Node::DeviceBound) => self.attach_devicebound(&request, links),
            None => {
                let shown: String = address.chars().take(200).collect();
                tracing::info!(address = shown, "no such AMQP node");
                let text = format!("this hub has no node {shown:?}");
                Err(AmqpError::new(condition::NOT_FOUND, text))
            }
        };
        match accepted {
            Ok(accept) => AttachVerdict::Accept(accept),
            Err(error) => AttachVerdict::refuse(error),
        }
    }

    fn on_message(&mut self, link: LinkId, delivery: Delivery, links: &mut Links<'_>) -> Disposition {
        if self.cbs.takes(link) {
            return match delivery.decode() {
                Ok(request) => {
                    self.cbs.put_token(link, &request, &self.hub, &mut self.grants, links);
                    Outcome::Accepted.into()
                }
                Err(error) => {
                    let text = format!("the request cannot be read: {error}");
                    Outcome::Rejected(Some(AmqpError::new(condition::DECODE_ERROR, text))).into()
                }
            };
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

    fn on_outcome(&mut self, _link: LinkId, sent: SentDelivery, _links: &mut Links<'_>) -> Disposition {
        // Everything sent so far goes out settled.
        sent.outcome.into()
    }

    fn on_credit(&mut self, _link: LinkId, _credit: Credit, links: &mut Links<'_>) {
        self.cbs.flush(links);
    }

    fn on_detach(&mut self, link: LinkId, _error: Option<&AmqpError>, _links: &mut Links<'_>) {
        self.cbs.detach(link);
        self.devicebound.remove(&link);
    }

    fn on_closed(&mut self, end: &ConnectionEnd) {
        tracing::debug!(?end, "AMQP connection closed");
    }
}
