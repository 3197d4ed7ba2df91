//! Direct methods on one connection: calls go to the application, or are answered here; answers leave on the
//! connection their call came on, or not at all.

use super::Driver;
use crate::method_calls::Answer;
use crate::method_topics::{self, MethodTopic};
use crate::transport::{Failure, Link};

/// Answers that may wait for room: those of the application have places, far fewer, so the rest are the
/// client's own to a hub that sends calls and reads nothing.
const MAX_ANSWERS: usize = 1_024;

impl Driver {
    pub(super) fn take_in_call(&mut self, topic: &MethodTopic<'_>, body: &[u8]) -> Result<(), Failure> {
        if let Err(answer) = self.calls.arrived(topic, body, self.options.clock.now()) {
            if self.answers.len() >= MAX_ANSWERS {
                return Err(Failure::Protocol("it calls direct methods without reading the answers".into()));
            }
            self.answers.push_back(answer);
        }
        Ok(())
    }

    pub(super) fn answer(&mut self, answer: Answer) {
        if self.calls.is_current(answer.ticket.epoch) {
            self.answers.push_back(answer);
        } else {
            tracing::debug!("a call of an earlier connection was answered: the hub has failed it already");
        }
    }

    /// The stream of calls is gone, and nobody reads what it still held.
    pub(super) fn calls_unread(&mut self) {
        self.answers.extend(self.calls.abandoned());
    }

    pub(super) fn write_answers(&mut self, link: &mut Link) -> Result<(), Failure> {
        while link.has_room()
            && let Some(Answer { ticket, status, body }) = self.answers.pop_front()
        {
            link.publish_once(method_topics::answer(status, &ticket.request_id), body)?;
        }
        Ok(())
    }

    pub(super) fn methods_disconnected(&mut self) {
        self.calls.connection(None);
        self.answers.clear();
    }
}
