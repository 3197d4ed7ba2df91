//! [`Places`] counts the open connections of one service (MQTT, AMQP or HTTPS) and decides which one must end when
//! there is no room for another one.
//!
//! `listener` takes a place for each connection, and the [`Permit`](super::accepted::Permit) of the connection keeps
//! it. The protocol rooms say when the peer has proven itself.
//!
//! A peer that has not proven who it is yet is a stranger. When places run out, the oldest stranger leaves:
//! a client that means well proves itself soon after it came, so the oldest one is the least likely to do
//! so. Refusing the newcomer instead would let a few thousand idle peers lock every device out. A peer that
//! has proven itself keeps its place, unless its tokens have expired and no stranger is left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The time for which a stranger is left alone, however many others come: a thousand devices that come back
/// at the same moment must not cut each other. The others wait in the operating system's backlog meanwhile.
/// It is real time, like that of the handshake.
const LEFT_ALONE: Duration = Duration::from_millis(500);

/// The places of one service. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The number of connections that may be open at a time.
    most: usize,
    /// The number of strangers that may be among them.
    most_strangers: usize,
    state: Mutex<State>,
    /// Rings when a connection has ended.
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The number of connections whose [`Place`] is not dropped yet, including those that were told to leave.
    open: usize,
    /// The numbers of the connections that were told to leave and have not ended yet.
    leaving: BTreeSet<u64>,
    /// The number of the next place. The lower a number is, the older the connection is.
    next: u64,
    /// The strangers that were not told to leave, and since when they are here.
    strangers: BTreeMap<u64, (CancellationToken, Instant)>,
    /// Proven peers whose tokens expire while they are connected, and when.
    expiring: BTreeMap<u64, (CancellationToken, Timestamp)>,
}

/// The error that there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {0} places are taken by clients that have proven who they are")]
pub(crate) struct Full(pub(crate) usize);

impl Places {
    /// Makes room for `most` connections, of which `most_strangers` may be unproven. Either is at least 1.
    pub(crate) fn new(most: usize, most_strangers: usize) -> Self {
        Self(Arc::new(Inner {
            most: most.max(1),
            most_strangers: most_strangers.max(1),
            state: Mutex::default(),
            ended: Notify::new(),
        }))
    }

    /// Returns a place for a stranger that just connected, and whether another one had to leave for it. Waits
    /// until that one has ended.
    ///
    /// `leave` is the token that is cancelled when the stranger must leave in its turn. It may be cancelled for
    /// another reason, such as the end of the hub, and must belong to this one connection.
    ///
    /// # Errors
    /// [`Full`] if everybody here has proven who they are.
    ///
    /// # Cancel safety
    /// A stranger may have been told to leave although no place was returned.
    pub(crate) async fn take(&self, leave: CancellationToken, now: Timestamp) -> Result<(Place, bool), Full> {
        let mut made_room = false;
        loop {
            let ended = self.0.ended.notified();
            let wait_until = {
                let mut state = self.lock();
                if state.has_room(&self.0) {
                    return Ok((state.enter(self.clone(), leave), made_room));
                }
                match state.left_alone_until() {
                    _ if !state.leaving.is_empty() => None,
                    Some(until) if until > Instant::now() => Some(until),
                    _ if state.tell_to_leave(now) => {
                        made_room = true;
                        None
                    }
                    _ => return Err(Full(self.0.most)),
                }
            };
            match wait_until {
                None => ended.await,
                Some(until) => drop(tokio::time::timeout_at(until, ended).await),
            }
        }
    }

    /// Tells the oldest stranger to leave, since the process has run out of file descriptors, and returns
    /// whether there was one.
    pub(crate) fn make_room(&self, now: Timestamp) -> bool {
        let mut state = self.lock();
        !state.leaving.is_empty() || state.tell_to_leave(now)
    }

    /// Returns how many connections may be unproven at a time.
    #[cfg(test)]
    pub(crate) fn most_strangers(&self) -> usize {
        self.0.most_strangers
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under this lock is complete in itself.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self, bounds: &Inner) -> bool {
        self.open < bounds.most && self.strangers.len() + self.leaving.len() < bounds.most_strangers
    }

    fn enter(&mut self, places: Places, leave: CancellationToken) -> Place {
        let number = self.next;
        self.next += 1;
        self.open += 1;
        self.strangers.insert(number, (leave.clone(), Instant::now()));
        Place { places, number, leave, proven: AtomicBool::new(false) }
    }

    /// Returns the time until which the oldest stranger is left alone; `None` if there is no stranger.
    fn left_alone_until(&self) -> Option<Instant> {
        self.strangers.first_key_value().map(|(_, (_, since))| *since + LEFT_ALONE)
    }

    fn tell_to_leave(&mut self, now: Timestamp) -> bool {
        let oldest = self.strangers.pop_first().map(|(number, (leave, _))| (number, leave)).or_else(|| {
            let expired = self.expiring.iter().find(|(_, (_, until))| *until < now);
            let number = expired.map(|(number, _)| *number)?;
            Some((number, self.expiring.remove(&number)?.0))
        });
        let Some((number, leave)) = oldest else { return false };
        leave.cancel();
        self.leaving.insert(number);
        true
    }
}

/// One connection's place, which is free again once this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    number: u64,
    leave: CancellationToken,
    proven: AtomicBool,
}

impl Place {
    /// Makes the only place of a service that a test has for itself.
    #[cfg(test)]
    pub(crate) fn alone() -> Self {
        let places = Places::new(1, 1);
        let mut state = places.lock();
        let place = state.enter(places.clone(), CancellationToken::new());
        drop(state);
        place
    }

    /// Returns the token that is cancelled when this connection must end to make room for another one, or with the
    /// hub.
    pub(crate) const fn leave(&self) -> &CancellationToken {
        &self.leave
    }

    /// Notes that the peer has proven who it is: it keeps its place as long as it wants.
    pub(crate) fn prove(&self) {
        if !self.is_proven() {
            self.prove_until(Timestamp::MAX);
        }
    }

    /// Returns whether the peer has proven who it is.
    pub(crate) fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    /// Notes that the peer has proven who it is, until then: afterwards it may have to leave if no stranger is
    /// left. The last call counts.
    pub(crate) fn prove_until(&self, until: Timestamp) {
        self.proven.store(true, Ordering::Relaxed);
        let mut state = self.places.lock();
        // A connection that was told to leave is in neither list, and stays out of them.
        let stays = !state.leaving.contains(&self.number);
        state.strangers.remove(&self.number);
        state.expiring.remove(&self.number);
        if stays && until < Timestamp::MAX {
            state.expiring.insert(self.number, (self.leave.clone(), until));
        }
        drop(state);
        // There may be room for one more stranger.
        self.places.0.ended.notify_waiters();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        state.open -= 1;
        state.strangers.remove(&self.number);
        state.expiring.remove(&self.number);
        state.leaving.remove(&self.number);
        drop(state);
        self.places.0.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    async fn take(places: &Places) -> Result<(Place, bool), Full> {
        places.take(CancellationToken::new(), now()).await
    }

    async fn enter(places: &Places) -> Place {
        take(places).await.unwrap().0
    }

    /// Starts a connection that ends when it is told to.
    fn connection(place: Place) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move { place.leave().cancelled().await })
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_stranger_leaves_first_and_the_proven_stay() {
        let places = Places::new(3, 3);
        let proven = enter(&places).await;
        proven.prove();
        let (second, third) = (connection(enter(&places).await), connection(enter(&places).await));
        let (fourth, made_room) = take(&places).await.unwrap();
        assert!(made_room && second.is_finished() && !third.is_finished() && !proven.leave().is_cancelled());
        fourth.prove();
        let fifth = enter(&places).await;
        assert!(third.is_finished());
        fifth.prove();
        assert_eq!(take(&places).await.unwrap_err(), Full(3));
        assert!(!places.make_room(now()));
        drop(proven);
        assert!(!take(&places).await.unwrap().1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_in_a_crowd_has_half_a_second_to_prove_itself() {
        let places = Places::new(100, 2);
        let (first, second) = (enter(&places).await, enter(&places).await);
        let start = Instant::now();
        let mut third = Box::pin(take(&places));
        assert!(futures_util::poll!(&mut third).is_pending());
        tokio::time::advance(LEFT_ALONE / 2).await;
        first.prove();
        let (_third, made_room) = third.await.unwrap();
        assert!(!made_room && !second.leave().is_cancelled());
        assert_eq!(start.elapsed(), LEFT_ALONE / 2);
        let second = connection(second);
        assert!(take(&places).await.unwrap().1);
        assert_eq!(start.elapsed(), LEFT_ALONE);
        assert!(second.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_have_a_bound_of_their_own() {
        let places = Places::new(100, 2);
        let (first, _second) = (connection(enter(&places).await), enter(&places).await);
        let (third, made_room) = take(&places).await.unwrap();
        assert!(made_room && first.is_finished());
        third.prove();
        assert!(!take(&places).await.unwrap().1, "who proved itself is no stranger");
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_waits_until_the_other_one_has_ended() {
        let places = Places::new(1, 1);
        let first = enter(&places).await;
        let mut second = Box::pin(take(&places));
        assert!(futures_util::poll!(&mut second).is_pending() && !first.leave().is_cancelled());
        tokio::time::advance(LEFT_ALONE).await;
        assert!(futures_util::poll!(&mut second).is_pending() && first.leave().is_cancelled());
        // It is too late to prove anything.
        first.prove();
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        assert!(second.await.unwrap().1);
        assert_eq!(places.lock().open, 0);
        assert!(places.lock().leaving.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_only_expired_tokens_leaves_after_all_strangers() {
        let places = Places::new(2, 2);
        let expired = enter(&places).await;
        expired.prove_until(Timestamp::from_second(-1).unwrap());
        let expired = connection(expired);
        let stranger = connection(enter(&places).await);
        let (third, _) = take(&places).await.unwrap();
        assert!(stranger.is_finished() && !expired.is_finished());
        third.prove_until(Timestamp::from_second(1).unwrap());
        let fourth = enter(&places).await;
        assert!(expired.is_finished());
        // A token that was renewed counts.
        fourth.prove_until(Timestamp::from_second(-1).unwrap());
        fourth.prove_until(Timestamp::from_second(1).unwrap());
        assert!(take(&places).await.is_err());
    }
}
