//! The inbox: cloud-to-device messages that arrived and that nobody has taken yet, not acknowledged.
//! Bounded: the hub keeps at most 50 messages per device, so what exceeds the bounds comes from no hub,
//! and ends the connection. When a connection ends its messages leave the inbox, since the hub
//! delivers them again.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use iothub_models::C2dMessage;

/// Above the hub's 50 messages of 64 KB. Source: *IoT Hub quotas and throttling*.
const MAX_MESSAGES: usize = 64;
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// A message and what its acknowledgement needs.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) message: C2dMessage,
    /// Which connection it came on.
    pub(crate) epoch: u64,
    /// 0 if it came without (QoS 0).
    pub(crate) packet_id: u16,
    pub(crate) redelivered: bool,
}

/// What waits for the application.
#[derive(Debug, Default)]
pub(crate) struct Inbox(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Arrived>,
    bytes: usize,
    reader: Option<Waker>,
    taken: bool,
    closed: bool,
    epoch: u64,
}

/// More arrived than a hub ever leaves unacknowledged.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "more than {MAX_MESSAGES} messages or {MAX_BYTES} bytes are unread; a hub holds back after 50 messages"
)]
pub(crate) struct Overflow;

impl Inbox {
    /// No code panics while holding the lock, so what a poisoned one guards is whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection begins; `None`: there is none now.
    pub(crate) fn connection(&self, epoch: Option<u64>) {
        let mut state = self.state();
        state.epoch = epoch.unwrap_or_default();
        state.waiting.clear();
        state.bytes = 0;
    }

    pub(crate) fn push(&self, arrived: Arrived) -> Result<(), Overflow> {
        let mut state = self.state();
        let size = arrived.message.size();
        if state.waiting.len() >= MAX_MESSAGES || state.bytes + size > MAX_BYTES {
            return Err(Overflow);
        }
        state.bytes += size;
        state.waiting.push_back(arrived);
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
        Ok(())
    }

    /// Whether messages of this connection can still be acknowledged.
    pub(crate) fn is_current(&self, epoch: u64) -> bool {
        self.state().epoch == epoch
    }

    /// Nothing will arrive any more.
    pub(crate) fn close(&self) {
        self.connection(None);
        let mut state = self.state();
        state.closed = true;
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    /// Makes the caller the one reader; `false` if there is one.
    pub(crate) fn take(&self) -> bool {
        !std::mem::replace(&mut self.state().taken, true)
    }

    /// The reader left.
    pub(crate) fn release(&self) {
        let mut state = self.state();
        state.taken = false;
        state.reader = None;
    }

    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Arrived>> {
        let mut state = self.state();
        if let Some(arrived) = state.waiting.pop_front() {
            state.bytes -= arrived.message.size();
            return Poll::Ready(Some(arrived));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(epoch: u64, size: usize) -> Arrived {
        Arrived { message: C2dMessage::new(vec![0; size]), epoch, packet_id: 1, redelivered: false }
    }

    fn poll(inbox: &Inbox) -> Poll<Option<Arrived>> {
        inbox.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn holds_what_a_hub_may_send_and_no_more() {
        let inbox = Inbox::default();
        inbox.connection(Some(1));
        for _ in 0..50 {
            inbox.push(arrived(1, 64 * 1024)).unwrap();
        }
        for _ in 50..MAX_MESSAGES {
            inbox.push(arrived(1, 0)).unwrap();
        }
        assert_eq!(inbox.push(arrived(1, 0)), Err(Overflow));
        assert!(matches!(poll(&inbox), Poll::Ready(Some(_))));
        assert_eq!(inbox.push(arrived(1, MAX_BYTES - 49 * 64 * 1024 + 1)), Err(Overflow));
        inbox.push(arrived(1, MAX_BYTES - 49 * 64 * 1024)).unwrap();
    }

    #[test]
    fn forgets_what_the_hub_delivers_again() {
        let inbox = Inbox::default();
        inbox.connection(Some(1));
        inbox.push(arrived(1, 8)).unwrap();
        inbox.connection(None);
        assert!(poll(&inbox).is_pending() && !inbox.is_current(1));
        inbox.connection(Some(2));
        assert!(inbox.is_current(2));
        inbox.close();
        assert!(matches!(poll(&inbox), Poll::Ready(None)));
    }

    #[test]
    fn has_one_reader() {
        let inbox = Inbox::default();
        assert!(inbox.take() && !inbox.take());
        inbox.release();
        assert!(inbox.take());
    }
}
