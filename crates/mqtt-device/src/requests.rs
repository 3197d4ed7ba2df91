//! Requests about the twin that the hub has not answered, in the order they were made. Pure.
//!
//! Every sending has an id of its own, so that an answer that comes late fits nothing. Across a lost
//! connection a request is sent again where that is safe: reading always is; laying a patch over the
//! reported properties twice, in the same order, leaves what laying it once does. A patch for one version
//! only would be refused the second time because of the first, so its outcome stays unknown.

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::error::Error;
use crate::twin_response::TwinResponse;

/// What is asked of the hub.
#[derive(Debug)]
pub(crate) enum Request {
    /// The twin.
    Get,
    /// To lay a patch over the reported properties, where there is an `expected` version only then.
    Report { patch: Bytes, expected: Option<i64> },
}

/// A request and the one who waits for the answer.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) request: Request,
    pub(crate) waiter: oneshot::Sender<Result<TwinResponse, Error>>,
    /// Its place among the requests that may wait at once, given back when it leaves.
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
    /// Its id on this connection, once it is sent.
    id: Option<u64>,
    /// Whether the hub may have seen it, on whatever connection.
    left: bool,
}

impl Requests {
    /// `first_id` is best a random number: then not even the answers to an earlier program's requests fit.
    pub(crate) const fn new(first_id: u64) -> Self {
        Self { entries: Vec::new(), next_id: first_id }
    }

    pub(crate) fn push(&mut self, sequence: u64, pending: Pending) {
        self.entries.push(Entry { sequence, pending, id: None, left: false });
    }

    /// An id that no request had.
    pub(crate) const fn new_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        id
    }

    /// The oldest request that was not sent on this connection; from now on it was.
    pub(crate) fn offer(&mut self) -> Option<(u64, &Request)> {
        let position = self.entries.iter().position(|entry| entry.id.is_none())?;
        let id = self.new_id();
        let entry = &mut self.entries[position];
        (entry.id, entry.left) = (Some(id), true);
        Some((id, &entry.pending.request))
    }

    /// The hub answered; `None` if nobody waits for that.
    pub(crate) fn answered(&mut self, id: u64) -> Option<Pending> {
        let position = self.entries.iter().position(|entry| entry.id == Some(id))?;
        Some(self.entries.remove(position).pending)
    }

    /// Its sender no longer waits. Also says whether the hub may have seen it.
    pub(crate) fn give_up(&mut self, sequence: u64) -> Option<(Pending, bool)> {
        let position = self.entries.iter().position(|entry| entry.sequence == sequence)?;
        let entry = self.entries.remove(position);
        Some((entry.pending, entry.left))
    }

    /// The connection ended. What may not be sent again comes back.
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

    /// How many wait for an answer on this connection.
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
        assert!(requests.answered(u64::MAX).is_none(), "an answer to the first sending comes late");
        assert!(requests.answered(1).is_some() && requests.answered(1).is_none());
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
