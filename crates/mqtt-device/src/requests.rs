//! This file keeps the requests about the twin that have no response yet, in the order in which they were made. It is
//! pure: the driver sends them and takes in the responses.
//!
//! A request gets a new id each time it is sent, so that a response that comes late fits no request. After a lost
//! connection a request is sent again where that is safe. Reading always is, and so is a patch of the reported
//! properties: patches that are applied twice in the same order have the effect of the same patches applied once. A
//! patch for one version only would be refused the second time because of the first, so its outcome stays unknown.

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::error::Error;
use crate::twin_response::TwinResponse;

/// A request about the twin.
#[derive(Debug)]
pub(crate) enum Request {
    /// Get the twin.
    Get,
    /// Patch the reported properties, only in the version `expected` if there is one.
    Report { patch: Bytes, expected: Option<i64> },
}

/// A request, and the sender that tells its waiting caller the response.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) request: Request,
    pub(crate) waiter: oneshot::Sender<Result<TwinResponse, Error>>,
    /// The place of the request among those that may wait at once, which it frees when it leaves.
    pub(crate) _place: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
pub(crate) struct Requests {
    entries: Vec<Entry>,
    next_id: u64,
}

#[derive(Debug)]
struct Entry {
    sequence: u64,
    pending: Pending,
    /// The id of the request on this connection, once it is sent.
    id: Option<u64>,
    /// True if the hub may have seen the request, on this connection or an earlier one.
    left: bool,
}

impl Requests {
    /// Returns an empty list. `first_id` should be random, so that no response to a request of an earlier program fits.
    pub(crate) const fn new(first_id: u64) -> Self {
        Self { entries: Vec::new(), next_id: first_id }
    }

    pub(crate) fn push(&mut self, sequence: u64, pending: Pending) {
        self.entries.push(Entry { sequence, pending, id: None, left: false });
    }

    /// Returns an id that no request had.
    pub(crate) const fn new_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        id
    }

    /// Returns the oldest request that was not sent on this connection, and counts it as sent.
    pub(crate) fn offer(&mut self) -> Option<(u64, &Request)> {
        let position = self.entries.iter().position(|entry| entry.id.is_none())?;
        let id = self.new_id();
        let entry = &mut self.entries[position];
        (entry.id, entry.left) = (Some(id), true);
        Some((id, &entry.pending.request))
    }

    /// Removes and returns the request to which the hub responded, or `None` if no request has this id.
    pub(crate) fn take(&mut self, id: u64) -> Option<Pending> {
        let position = self.entries.iter().position(|entry| entry.id == Some(id))?;
        Some(self.entries.remove(position).pending)
    }

    /// Removes and returns a request whose sender no longer waits, and whether the hub may have seen it.
    pub(crate) fn give_up(&mut self, sequence: u64) -> Option<(Pending, bool)> {
        let position = self.entries.iter().position(|entry| entry.sequence == sequence)?;
        let entry = self.entries.remove(position);
        Some((entry.pending, entry.left))
    }

    /// Notes that the connection ended, and returns the requests that must not be sent again.
    pub(crate) fn disconnected(&mut self) -> Vec<Pending> {
        let once = |entry: &mut Entry| {
            entry.left && matches!(entry.pending.request, Request::Report { expected: Some(_), .. })
        };
        let unknown = self.entries.extract_if(.., once).map(|entry| entry.pending).collect();
        for entry in &mut self.entries {
            entry.id = None;
        }
        unknown
    }

    /// Returns how many requests wait for a response on this connection.
    pub(crate) fn sent(&self) -> usize {
        self.entries.iter().filter(|entry| entry.id.is_some()).count()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Pending> + '_ {
        self.entries.drain(..).map(|entry| entry.pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(request: Request) -> Pending {
        Pending { request, waiter: oneshot::channel().0, _place: None }
    }

    fn report(expected: Option<i64>) -> Pending {
        pending(Request::Report { patch: Bytes::new(), expected })
    }

    #[test]
    fn every_sending_has_an_id_of_its_own() {
        let mut requests = Requests::new(u64::MAX);
        requests.push(1, pending(Request::Get));
        requests.push(2, report(None));
        assert_eq!(requests.offer().unwrap().0, u64::MAX);
        assert_eq!(requests.offer().unwrap().0, 0);
        assert!(requests.offer().is_none());
        assert!(requests.disconnected().is_empty());
        assert_eq!(requests.sent(), 0);
        let (id, request) = requests.offer().unwrap();
        assert!(matches!((id, request), (1, Request::Get)), "the order is kept");
        assert!(requests.take(u64::MAX).is_none(), "an answer to the first sending comes late");
        assert!(requests.take(1).is_some() && requests.take(1).is_none());
    }

    #[test]
    fn what_is_bound_to_a_version_is_sent_once() {
        let mut requests = Requests::new(0);
        requests.push(1, report(Some(3)));
        assert!(requests.disconnected().is_empty(), "it was never sent");
        requests.offer().unwrap();
        requests.push(2, report(Some(4)));
        assert_eq!(requests.disconnected().len(), 1);
        assert!(matches!(requests.offer().unwrap().1, Request::Report { expected: Some(4), .. }));
    }

    #[test]
    fn giving_up_tells_whether_the_hub_may_have_seen_it() {
        let mut requests = Requests::new(0);
        requests.push(1, report(None));
        requests.push(2, report(None));
        requests.offer().unwrap();
        requests.disconnected();
        assert!(requests.give_up(1).unwrap().1);
        assert!(!requests.give_up(2).unwrap().1);
        assert!(requests.give_up(1).is_none() && requests.is_empty());
    }
}
