//! This file is the driver's part about the twin: it sends requests once the hub has acknowledged the subscription to
//! responses, gives each response to its waiting caller, and reads the desired properties whenever their tracker asks for
//! it.

use bytes::Bytes;
use iothub_models::TwinSection;
use jiff::Timestamp;

use super::{Driver, chance};
use crate::desired::Start;
use crate::diagnosis;
use crate::error::Error;
use crate::requests::{Pending, Request};
use crate::subscriptions::Feed;
use crate::transport::{Failure, Link};
use crate::twin_response::TwinResponse;
use crate::twin_topics::{self, TwinTopic};

impl Driver {
    pub(super) fn request(&mut self, sequence: u64, pending: Pending) {
        self.subscriptions.want(Feed::TwinResponses);
        self.requests.push(sequence, pending);
    }

    pub(super) fn follow_desired(&mut self, start: Start) {
        // The properties are read once the hub tells changes, so that no change is missed between the two.
        self.subscriptions.want(Feed::DesiredChanges);
        self.subscriptions.want(Feed::TwinResponses);
        self.desired.begin(start);
    }

    /// Ends a request whose deadline has passed or whose caller is gone, and returns whether to connect again.
    pub(super) fn give_up_request(&mut self, sequence: u64) -> bool {
        let Some((pending, left)) = self.requests.give_up(sequence) else { return false };
        let error = diagnosis::no_response(
            &self.identity.device_id,
            &pending.request,
            left,
            self.options.response_timeout,
        );
        // A hub that did not even acknowledge the subscription for so long is asked again, on a new connection.
        pending.waiter.send(Err(error)).is_ok() && self.subscriptions.is_unacknowledged(Feed::TwinResponses)
    }

    pub(super) fn write_requests(&mut self, link: &mut Link) -> Result<(), Failure> {
        if !self.subscriptions.is_granted(Feed::TwinResponses) {
            return Ok(());
        }
        if self.desired.wants_to_read()
            && self.subscriptions.is_granted(Feed::DesiredChanges)
            && link.has_room()
        {
            let id = self.requests.new_id();
            self.desired.asked(id, self.options.clock.after(self.options.response_timeout));
            link.publish_once(twin_topics::get(id), Bytes::new())?;
        }
        while link.has_room()
            && let Some((id, request)) = self.requests.offer()
        {
            match request {
                Request::Get => link.publish_once(twin_topics::get(id), Bytes::new())?,
                Request::Report { patch, expected } => {
                    link.publish_once(twin_topics::report(id, *expected), patch.clone())?;
                }
            }
        }
        Ok(())
    }

    /// Takes in a response about the twin or a change of desired properties.
    pub(super) fn take_in_twin(&mut self, topic: TwinTopic, body: Bytes) -> Result<(), Failure> {
        match topic {
            TwinTopic::DesiredChange if !self.desired.is_followed() => {}
            TwinTopic::DesiredChange => {
                let patch = serde_json::from_slice(&body)
                    .ok()
                    .filter(|patch: &TwinSection| patch.version > 0)
                    // The next connection reads the desired properties again.
                    .ok_or_else(|| {
                        Failure::Protocol("it sent a change of desired properties without a version".into())
                    })?;
                self.desired.changed(patch, body.len());
            }
            TwinTopic::Response { status, request_id, version } => {
                let response = TwinResponse { status, version, body };
                match request_id {
                    Some(id) if self.desired.is_asked(id) => self.desired_read(&response),
                    Some(id) => match self.requests.take(id) {
                        Some(pending) => {
                            let _gone = pending.waiter.send(Ok(response));
                        }
                        None => tracing::debug!(status, "an answer came late and is dropped"),
                    },
                    None => tracing::debug!(status, "an answer to a request of another client is dropped"),
                }
            }
        }
        Ok(())
    }

    fn desired_read(&mut self, response: &TwinResponse) {
        let now = self.options.clock.now();
        match response.twin() {
            Ok(twin) => self.desired.read(twin.desired, response.body.len(), now, chance()),
            Err(defect) => {
                let what = "reading the desired properties";
                let error = diagnosis::request_failed(&self.identity.device_id, what, defect);
                self.desired.could_not_read(error, now, chance());
            }
        }
    }

    /// Tells all that wait for a feed that the hub refuses it.
    pub(super) fn feed_refused(&mut self, feed: Feed) {
        let error = diagnosis::subscription_refused(&self.identity.device_id, feed);
        if feed == Feed::TwinResponses {
            for pending in self.requests.drain() {
                let _gone = pending.waiter.send(Err(error.clone()));
            }
        }
        if matches!(feed, Feed::TwinResponses | Feed::DesiredChanges) {
            self.desired.refuse(error);
        }
    }

    pub(super) fn twin_disconnected(&mut self) {
        for pending in self.requests.disconnected() {
            let error = diagnosis::outcome_unknown(&self.identity.device_id);
            let _gone = pending.waiter.send(Err(error));
        }
        self.desired.disconnected();
    }

    pub(super) fn twin_closed(&mut self, closed: &Error) {
        for pending in self.requests.drain() {
            let _gone = pending.waiter.send(Err(closed.clone()));
        }
        self.desired.close(closed.clone());
    }

    pub(super) fn twin_time_came(&mut self, now: Timestamp) {
        self.desired.time_came(now, chance());
    }
}
