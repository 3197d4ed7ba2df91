//! This file serves one connection: it offers the outbox, acknowledges messages that were completed, and takes in
//! what arrives. It does not decide whether to connect again.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{Driver, Wish};
use crate::inbox::Arrived;
use crate::subscriptions::Feed;
use crate::topics::Topics;
use crate::transport::{Failure, Filter, Incoming, Link};
use crate::{diagnosis, method_topics, twin_topics};

/// The number of instructions taken at a time, so that a busy application cannot keep the connection waiting.
const BATCH: usize = 128;

/// The number of PUBACKs that may wait for room; a hub sends at most 50 messages without one.
const MAX_ACKNOWLEDGEMENTS: usize = 1_024;

/// The time before a planned renewal in which messages that are on their way may arrive; others are sent again.
const SETTLE: Duration = Duration::from_secs(5);

/// The reason why serving a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// The client has ended.
    Stop,
    /// The token is to be renewed on a fresh connection.
    Renewal,
    Lost(Failure),
}

/// The open duties of the driver on one connection.
struct Session {
    /// PUBACKs to send.
    acknowledgements: VecDeque<u16>,
    /// Cloud-to-device messages that the application has not completed.
    uncompleted: usize,
    /// The reason why the connection is being given up, and when that happens at the latest.
    leaving: Option<(Leaving, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    Renewal,
    Shutdown,
    /// No handle exists any longer.
    Abandoned,
}

impl Driver {
    pub(super) async fn serve(&mut self, mut link: Link, renew_at: Option<Timestamp>) -> End {
        self.epoch += 1;
        self.inbox.connection(Some(self.epoch));
        self.calls.connection(Some(self.epoch));
        self.outbox.connected(link.session_present());
        self.desired.connected(link.session_present());
        let mut session = Session { acknowledgements: VecDeque::new(), uncompleted: 0, leaving: None };
        tracing::debug!(session_present = link.session_present(), "the hub accepted the connection");
        let end = match self.serve_until(&mut link, &mut session, renew_at).await {
            Ok(Leaving::Renewal) => {
                link.goodbye().await;
                End::Renewal
            }
            Ok(Leaving::Shutdown | Leaving::Abandoned) => {
                link.goodbye().await;
                End::Stop
            }
            Err(_) if matches!(session.leaving, Some((Leaving::Shutdown | Leaving::Abandoned, _))) => {
                End::Stop
            }
            Err(failure) => End::Lost(failure),
        };
        self.inbox.connection(None);
        self.methods_disconnected();
        self.subscriptions.disconnected();
        self.twin_disconnected();
        end
    }

    async fn serve_until(
        &mut self,
        link: &mut Link,
        session: &mut Session,
        renew_at: Option<Timestamp>,
    ) -> Result<Leaving, Failure> {
        let clock = self.options.clock.clone();
        let mut renewal = pin!(async {
            match renew_at {
                Some(renew_at) => clock.sleep_until(renew_at).await,
                None => std::future::pending().await,
            }
        });
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            self.write(link, session)?;
            if let Some((leaving, _)) = session.leaving
                && self.may_leave(link, session, leaving)
            {
                return Ok(leaving);
            }
            let deadline = session.leaving.map(|(_, deadline)| deadline);
            let twin_timer = self.desired.timer();
            tokio::select! {
                incoming = link.next() => {
                    self.take_in(session, incoming?)?;
                    for _ in 0..BATCH {
                        let Some(incoming) = link.try_next() else { break };
                        self.take_in(session, incoming?)?;
                    }
                }
                taken = self.instructions.recv_many(&mut batch, BATCH), if !session.is_abandoned() => {
                    if taken == 0 {
                        session.leave(Leaving::Abandoned, Duration::ZERO);
                    }
                    // All instructions of the batch are carried out, whatever one of them asks for.
                    let mut reconnect = false;
                    for instruction in batch.drain(..) {
                        match self.obey(instruction) {
                            None => {}
                            Some(Wish::Acknowledge(packet_id)) => {
                                session.uncompleted = session.uncompleted.saturating_sub(1);
                                if packet_id != 0 {
                                    session.acknowledgements.push_back(packet_id);
                                }
                            }
                            Some(Wish::Stop) => {
                                session.leave(Leaving::Shutdown, self.options.shutdown_timeout);
                            }
                            Some(Wish::Reconnect) => reconnect = true,
                        }
                    }
                    if reconnect {
                        return Err(Failure::Timeout(self.options.send_timeout));
                    }
                }
                () = &mut renewal, if session.leaving.is_none() => session.leave(Leaving::Renewal, SETTLE),
                () = clock.sleep_until(twin_timer.unwrap_or(Timestamp::MAX)), if twin_timer.is_some() => {
                    self.twin_time_came(clock.now());
                }
                () = until(deadline), if deadline.is_some() => {
                    if let Some((leaving, _)) = session.leaving {
                        return Ok(leaving);
                    }
                }
            }
        }
    }

    /// Writes all that is due and fits, in this order: the subscription, acknowledgements, responses to calls, requests
    /// and the outbox.
    fn write(&mut self, link: &mut Link, session: &mut Session) -> Result<(), Failure> {
        let feeds = self.subscriptions.due();
        if !feeds.is_empty() && link.has_room() {
            let id = self.outbox.spare_id();
            link.subscribe(id, feeds.iter().map(|feed| filter(&self.topics, *feed)))?;
            self.subscriptions.asked(id, feeds);
        }
        while link.has_room()
            && let Some(packet_id) = session.acknowledgements.pop_front()
        {
            link.acknowledge(packet_id)?;
        }
        self.write_method_responses(link)?;
        if matches!(session.leaving, Some((Leaving::Renewal | Leaving::Abandoned, _))) {
            return Ok(());
        }
        self.write_requests(link)?;
        while link.has_room()
            && let Some(offer) = self.outbox.offer()
        {
            link.publish(offer.id, offer.dup, &offer.item.topic, &offer.item.payload)?;
        }
        Ok(())
    }

    /// Returns whether all that must be done before leaving is done.
    fn may_leave(&self, link: &Link, session: &Session, leaving: Leaving) -> bool {
        let settled =
            session.acknowledgements.is_empty() && self.method_responses.is_empty() && link.is_flushed();
        match leaving {
            Leaving::Renewal => {
                settled
                    && self.outbox.offered() == 0
                    && self.requests.sent() == 0
                    && self.calls.unanswered() == 0
                    && session.uncompleted == 0
            }
            Leaving::Shutdown => settled && self.outbox.is_empty() && self.requests.is_empty(),
            Leaving::Abandoned => true,
        }
    }

    fn take_in(&mut self, session: &mut Session, incoming: Incoming) -> Result<(), Failure> {
        match incoming {
            Incoming::Flushed => {}
            Incoming::Acknowledged(id) => match self.outbox.acknowledged(id) {
                Some(message) => {
                    // The sender may have stopped waiting.
                    let _gone = message.waiter.send(Ok(()));
                }
                None => tracing::debug!(id, "an acknowledgement for nothing that is waited for"),
            },
            Incoming::Subscribed { packet_id, accepted } => {
                let device_id = &self.identity.device_id;
                let refused = self
                    .subscriptions
                    .acknowledged(packet_id, &accepted, |feed| {
                        diagnosis::subscription_refused(device_id, feed)
                    })
                    .map_err(|defect| Failure::Protocol(Box::new(defect)))?;
                for feed in refused {
                    self.feed_refused(feed);
                }
            }
            Incoming::Published { topic, payload, packet_id, dup } => {
                let Some(message) = self.topics.c2d_message(&topic, &payload) else {
                    if let Some(topic) = twin_topics::read(&topic) {
                        self.take_in_twin(topic, payload)?;
                    } else if let Some(topic) = method_topics::read(&topic) {
                        self.take_in_call(&topic, &payload)?;
                    } else {
                        // Another program of this device subscribed to it in the same session.
                        tracing::debug!(topic, "a message that nobody asked for is acknowledged and ignored");
                    }
                    if session.acknowledgements.len() >= MAX_ACKNOWLEDGEMENTS {
                        return Err(Failure::Protocol("it sends without reading".into()));
                    }
                    if packet_id != 0 {
                        session.acknowledgements.push_back(packet_id);
                    }
                    return Ok(());
                };
                let arrived = Arrived { message, epoch: self.epoch, packet_id, redelivered: dup };
                session.uncompleted += 1;
                self.inbox.push(arrived).map_err(|overflow| Failure::Protocol(Box::new(overflow)))?;
            }
        }
        Ok(())
    }
}

/// Returns the filter to subscribe to for a feed. The hub keeps only cloud-to-device messages for a device that is not
/// connected, so that QoS 1 has no use for the other feeds.
fn filter(topics: &Topics, feed: Feed) -> Filter {
    let once = |path: &str| Filter { path: path.to_owned(), at_least_once: false };
    match feed {
        Feed::C2d => Filter { path: topics.c2d_filter(), at_least_once: true },
        Feed::TwinResponses => once(twin_topics::RESPONSES_FILTER),
        Feed::DesiredChanges => once(twin_topics::DESIRED_FILTER),
        Feed::Methods => once(method_topics::CALLS_FILTER),
    }
}

impl Session {
    /// Begins to leave, which ends after `grace` at the latest. A shutdown replaces a renewal that has begun.
    fn leave(&mut self, leaving: Leaving, grace: Duration) {
        self.leaving = Some((leaving, Instant::now() + grace));
    }

    const fn is_abandoned(&self) -> bool {
        matches!(self.leaving, Some((Leaving::Abandoned, _)))
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
