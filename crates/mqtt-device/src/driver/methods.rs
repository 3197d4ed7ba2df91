//! This file is the driver's part about direct methods: it takes in calls, and sends each response on the connection
//! that its call came on, or not at all. `method_calls` decides which calls the application gets.

use super::Driver;
use crate::method_calls::MethodResponse;
use crate::method_topics::{self, MethodTopic};
use crate::transport::{Failure, Link};

/// The number of responses that may wait for room on the connection. The application's calls have far fewer places, so
/// that only a hub that sends calls and does not read the client's own responses can exceed this number.
const MAX_RESPONSES: usize = 1_024;

impl Driver {
    pub(super) fn take_in_call(&mut self, topic: &MethodTopic<'_>, body: &[u8]) -> Result<(), Failure> {
        if let Err(response) = self.calls.arrived(topic, body, self.options.clock.now()) {
            if self.method_responses.len() >= MAX_RESPONSES {
                return Err(Failure::Protocol("it calls direct methods without reading the answers".into()));
            }
            self.method_responses.push_back(response);
        }
        Ok(())
    }

    pub(super) fn respond(&mut self, response: MethodResponse) {
        if self.calls.is_current(response.ticket.epoch) {
            self.method_responses.push_back(response);
        } else {
            tracing::debug!("a call of an earlier connection was answered: the hub has failed it already");
        }
    }

    /// Responds to the calls that the application had not read when it dropped their stream.
    pub(super) fn calls_unread(&mut self) {
        self.method_responses.extend(self.calls.abandoned());
    }

    pub(super) fn write_method_responses(&mut self, link: &mut Link) -> Result<(), Failure> {
        while link.has_room()
            && let Some(MethodResponse { ticket, status, body }) = self.method_responses.pop_front()
        {
            link.publish_once(method_topics::response(status, &ticket.request_id), body)?;
        }
        Ok(())
    }

    pub(super) fn methods_disconnected(&mut self) {
        self.calls.connection(None);
        self.method_responses.clear();
    }
}
