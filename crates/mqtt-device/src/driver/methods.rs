//! Direct methods on one connection: calls go to the application, or are answered here; answers leave on the
//! connection their call came on, or not at all.

use super::Driver;
use crate::method_calls::MethodResponse;
use crate::method_topics::{self, MethodTopic};
use crate::transport::{Failure, Link};

/// Answers that may wait for room: those of the application have places, far fewer, so the rest are the
/// client's own to a hub that sends calls and reads nothing.
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

    pub(super) fn response(&mut self, response: MethodResponse) {
        if self.calls.is_current(response.ticket.epoch) {
            self.method_responses.push_back(response);
        } else {
            tracing::debug!("a call of an earlier connection was answered: the hub has failed it already");
        }
    }

    /// The stream of calls is gone, and nobody reads what it still held.
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
