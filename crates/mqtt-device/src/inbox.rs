//! The inbox: cloud-to-device messages that arrived and that nobody has taken yet, not acknowledged.
//! Bounded: the hub keeps at most 50 messages per device, so what exceeds the bounds comes from no hub,
//! and ends the connection. When a connection ends its messages leave the inbox, since the hub
//! delivers them again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use iothub_models::C2dMessage;

use crate::queue::{Bounds, Full, Queue, Reader};

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
#[derive(Debug)]
pub(crate) struct Inbox {
    queue: Arc<Queue<Arrived>>,
    epoch: AtomicU64,
}

/// More arrived than a hub ever leaves unacknowledged.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "more than {MAX_MESSAGES} messages or {MAX_BYTES} bytes are unread; a hub holds back after 50 messages"
)]
pub(crate) struct Overflow;

impl Default for Inbox {
    fn default() -> Self {
        let bounds = Bounds { items: MAX_MESSAGES, bytes: MAX_BYTES };
        Self { queue: Arc::new(Queue::new(bounds)), epoch: AtomicU64::new(0) }
    }
}

impl Inbox {
    /// A connection begins; `None`: there is none now.
    pub(crate) fn connection(&self, epoch: Option<u64>) {
        self.epoch.store(epoch.unwrap_or_default(), Ordering::Release);
        self.queue.clear();
    }

    pub(crate) fn push(&self, arrived: Arrived) -> Result<(), Overflow> {
        let size = arrived.message.size();
        self.queue.push(arrived, size).map_err(|Full| Overflow)
    }

    /// Whether messages of this connection can still be acknowledged.
    pub(crate) fn is_current(&self, epoch: u64) -> bool {
        self.epoch.load(Ordering::Acquire) == epoch
    }

    /// Nothing will arrive any more.
    pub(crate) fn close(&self) {
        self.connection(None);
        self.queue.close();
    }

    /// The one reader; `None` if there is one.
    pub(crate) fn reader(&self) -> Option<Reader<Arrived>> {
        Reader::of(&self.queue)
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn arrived(epoch: u64, size: usize) -> Arrived {
        Arrived { message: C2dMessage::new(vec![0; size]), epoch, packet_id: 1, redelivered: false }
    }

    fn poll(reader: &Reader<Arrived>) -> Poll<Option<Arrived>> {
        reader.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn holds_what_a_hub_may_send_and_no_more() {
        let inbox = Inbox::default();
        let reader = inbox.reader().unwrap();
        inbox.connection(Some(1));
        for _ in 0..50 {
            inbox.push(arrived(1, 64 * 1024)).unwrap();
        }
        for _ in 50..MAX_MESSAGES {
            inbox.push(arrived(1, 0)).unwrap();
        }
        assert_eq!(inbox.push(arrived(1, 0)), Err(Overflow));
        assert!(matches!(poll(&reader), Poll::Ready(Some(_))));
        assert_eq!(inbox.push(arrived(1, MAX_BYTES - 49 * 64 * 1024 + 1)), Err(Overflow));
        inbox.push(arrived(1, MAX_BYTES - 49 * 64 * 1024)).unwrap();
    }

    #[test]
    fn forgets_what_the_hub_delivers_again() {
        let inbox = Inbox::default();
        let reader = inbox.reader().unwrap();
        inbox.connection(Some(1));
        inbox.push(arrived(1, 8)).unwrap();
        inbox.connection(None);
        assert!(poll(&reader).is_pending() && !inbox.is_current(1));
        inbox.connection(Some(2));
        assert!(inbox.is_current(2));
        inbox.close();
        assert!(matches!(poll(&reader), Poll::Ready(None)));
    }
}
