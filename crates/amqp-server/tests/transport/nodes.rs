//! This file is a handler for tests: the address of a node says what the node does, and everything that happens
//! is reported.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use iothub_amqp_server::*;
use tokio::sync::mpsc;

/// The calls that a handler got.
#[derive(Debug)]
pub(crate) enum Event {
    Sasl(SaslInit),
    Open(RemoteOpen),
    Attach(AttachRequest),
    Message(LinkId, Delivery),
    Outcome(LinkId, SentDelivery),
    Credit(Credit),
    Detach(Option<AmqpError>),
    Closed,
}

/// Messages that `/feed` nodes send when they may.
pub(crate) type Feed = Arc<Mutex<VecDeque<Bytes>>>;

/// The nodes of one connection. Targets: `/accept`, `/reject`, `/later`, `/hold` (accepts when a feed is offered
/// credit), `/small` (100 bytes), `/one` (a credit of 1), `/request` (answers on the session's `/reply` link).
/// Sources: `/feed/settled`, `/feed/unsettled`, `/feed/later` (leaves outcomes to the test), `/feed/hold` (agrees to
/// outcomes when it is offered credit), `/reply`. Other addresses are refused.
pub(crate) struct Nodes {
    pub(crate) events: mpsc::UnboundedSender<Event>,
    pub(crate) feed: Feed,
    pub(crate) handle: Arc<Mutex<Option<ConnectionHandle>>>,
    /// The feed that was attached last.
    pub(crate) feed_link: Arc<Mutex<Option<LinkId>>>,
    links: HashMap<LinkId, String>,
    replies: HashMap<SessionId, LinkId>,
    held: Vec<(LinkId, DeliveryId)>,
    sessions: HashMap<LinkId, SessionId>,
    next_tag: u8,
    /// True if the peer is trusted; a message to `/accept` makes it so.
    pub(crate) trusted: bool,
}

impl Nodes {
    pub(crate) fn new(events: mpsc::UnboundedSender<Event>) -> Self {
        Self {
            events,
            feed: Feed::default(),
            handle: Arc::default(),
            feed_link: Arc::default(),
            links: HashMap::new(),
            replies: HashMap::new(),
            held: Vec::new(),
            sessions: HashMap::new(),
            next_tag: 0,
            trusted: true,
        }
    }

    fn tell(&self, event: Event) {
        // A test that has seen enough no longer listens.
        drop(self.events.send(event));
    }
}

impl ConnectionHandler for Nodes {
    fn on_sasl(&mut self, init: SaslInit) -> SaslVerdict {
        let refuse = init.initial_response.as_deref() == Some(b"wrong");
        self.tell(Event::Sasl(init));
        if refuse { SaslVerdict::Refuse } else { SaslVerdict::Accept }
    }

    fn on_open(&mut self, open: RemoteOpen, handle: &ConnectionHandle) -> Result<(), AmqpError> {
        *self.handle.lock().unwrap() = Some(handle.clone());
        let refuse = open.hostname.as_deref() == Some("elsewhere");
        self.tell(Event::Open(open));
        if refuse { Err(AmqpError::new(condition::NOT_FOUND, "no such host")) } else { Ok(()) }
    }

    fn on_attach(&mut self, request: AttachRequest, _: &mut Links<'_>) -> AttachVerdict {
        let address = request.node_address().unwrap_or_default().to_owned();
        let (link, session) = (request.link, request.session);
        let mut accept = Accept::default();
        let offered = request.desired_capabilities.iter().filter(|wanted| **wanted == "two");
        accept.offered_capabilities = offered.cloned().collect();
        self.tell(Event::Attach(request));
        match address.as_str() {
            "/accept" | "/reject" | "/later" | "/hold" | "/request" => accept.credit = 10,
            "/small" => accept.max_message_size = Some(100),
            "/one" => accept.credit = 1,
            "/reply" => drop(self.replies.insert(session, link)),
            feed if feed.starts_with("/feed/") => *self.feed_link.lock().unwrap() = Some(link),
            other => {
                let info = Map::new().with(Symbol::from("address"), "elsewhere");
                let error = AmqpError::new(condition::NOT_FOUND, format!("no node {other}"));
                return AttachVerdict::Refuse(error.with_info(info));
            }
        }
        accept.properties.push(Symbol::from("seen"), 1);
        self.links.insert(link, address);
        self.sessions.insert(link, session);
        AttachVerdict::Accept(accept)
    }

    fn is_trusted(&self) -> bool {
        self.trusted
    }

    fn on_message(&mut self, link: LinkId, delivery: Delivery, links: &mut Links<'_>) -> Disposition {
        self.trusted |= self.links[&link] == "/accept";
        let answer = match self.links[&link].as_str() {
            "/reject" => {
                Outcome::Rejected(Some(AmqpError::new(condition::PRECONDITION_FAILED, "not today"))).into()
            }
            "/later" => Disposition::Later,
            "/hold" => {
                self.held.push((link, delivery.id));
                Disposition::Later
            }
            "/request" => {
                let reply = self.replies[&self.sessions[&link]];
                match links.enqueue(reply, delivery.message.clone(), SendOptions::settled()) {
                    Ok(()) => Outcome::Accepted.into(),
                    Err(_) => Outcome::Released.into(),
                }
            }
            _ => Outcome::Accepted.into(),
        };
        self.tell(Event::Message(link, delivery));
        answer
    }

    fn on_outcome(&mut self, link: LinkId, sent: SentDelivery, _: &mut Links<'_>) -> Disposition {
        let answer = match self.links[&link].as_str() {
            "/feed/later" => Disposition::Later,
            "/feed/hold" => {
                self.held.push((link, sent.id));
                Disposition::Later
            }
            _ => sent.outcome.clone().into(),
        };
        self.tell(Event::Outcome(link, sent));
        answer
    }

    fn on_credit(&mut self, link: LinkId, credit: Credit, links: &mut Links<'_>) {
        self.tell(Event::Credit(credit));
        for (link, delivery) in self.held.drain(..) {
            links.settle(link, delivery, Outcome::Accepted);
        }
        if self.links[&link] == "/reply" {
            return;
        }
        let feed = self.feed.clone();
        let mut feed = feed.lock().unwrap();
        while let Some(message) = feed.front() {
            let options = if self.links[&link] == "/feed/settled" {
                SendOptions::settled()
            } else {
                SendOptions::unsettled([self.next_tag; 16].into())
            };
            match links.send(link, message, options) {
                Ok(()) => {
                    feed.pop_front();
                    self.next_tag += u8::from(!options.settled);
                }
                Err(SendError::NoCredit) => return,
                Err(e) => panic!("{e}"),
            }
        }
    }

    fn on_detach(&mut self, link: LinkId, error: Option<&AmqpError>, _: &mut Links<'_>) {
        self.links.remove(&link).expect("a link that was accepted is detached once");
        self.tell(Event::Detach(error.cloned()));
    }

    fn is_drained(&mut self, links: &mut Links<'_>) -> bool {
        let link = *self.feed_link.lock().unwrap();
        self.feed.lock().unwrap().is_empty() && link.is_none_or(|link| !links.has_unsent(link))
    }

    fn on_closed(&mut self, _: &ConnectionEnd) {
        assert!(self.links.is_empty(), "links left at the end: {:?}", self.links);
        self.tell(Event::Closed);
    }
}
