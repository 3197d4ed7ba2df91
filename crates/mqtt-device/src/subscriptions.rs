//! This file keeps the feeds that the client wants, and those that the hub has granted on this connection. It is pure: the
//! driver sends SUBSCRIBE and takes in SUBACK.
//!
//! The client subscribes to a feed when it is first needed, and again after every CONNACK, because a hub may have
//! forgotten it. It does so once, because a hub allows only five subscriptions per device.

use crate::error::Error;
use crate::instruction::Waiter;

/// A kind of message that a hub sends once the client has subscribed to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feed {
    C2d,
    TwinResponses,
    DesiredChanges,
    Methods,
}

const FEEDS: [Feed; 4] = [Feed::C2d, Feed::TwinResponses, Feed::DesiredChanges, Feed::Methods];

#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    feeds: [Subscription; FEEDS.len()],
    /// The SUBSCRIBE that the hub has not acknowledged.
    asked: Option<(u16, Vec<Feed>)>,
}

#[derive(Debug, Default)]
struct Subscription {
    wanted: bool,
    state: State,
    waiters: Vec<Waiter>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    NotAsked,
    Asked,
    Granted,
    Refused,
}

/// The defect of a SUBACK that fits no SUBSCRIBE.
#[derive(Debug, thiserror::Error)]
#[error("an answer to a subscription that was not asked for")]
pub(crate) struct NotAskedFor;

impl Subscriptions {
    fn of(&mut self, feed: Feed) -> &mut Subscription {
        &mut self.feeds[feed as usize]
    }

    /// Wants a feed on this connection and every later one. A feed that was refused is asked for once more.
    pub(crate) fn want(&mut self, feed: Feed) {
        let subscription = self.of(feed);
        subscription.wanted = true;
        if subscription.state == State::Refused {
            subscription.state = State::NotAsked;
        }
    }

    /// Wants a feed as [`want`](Self::want) does, and tells `waiter` whether the hub grants it.
    pub(crate) fn want_and_tell(&mut self, feed: Feed, waiter: Waiter) {
        self.want(feed);
        let subscription = self.of(feed);
        if subscription.state == State::Granted {
            let _gone = waiter.send(Ok(()));
        } else {
            subscription.waiters.retain(|waiter| !waiter.is_closed());
            subscription.waiters.push(waiter);
        }
    }

    /// Notes that the connection ended, and with it what the hub granted.
    pub(crate) fn disconnected(&mut self) {
        self.asked = None;
        for subscription in &mut self.feeds {
            subscription.state = State::NotAsked;
        }
    }

    /// Returns the feeds of the next SUBSCRIBE; it is empty while another is on its way.
    pub(crate) fn due(&self) -> Vec<Feed> {
        if self.asked.is_some() {
            return Vec::new();
        }
        let due = |feed: &Feed| {
            let subscription = &self.feeds[*feed as usize];
            subscription.wanted && subscription.state == State::NotAsked
        };
        FEEDS.into_iter().filter(due).collect()
    }

    pub(crate) fn asked(&mut self, packet_id: u16, feeds: Vec<Feed>) {
        for feed in &feeds {
            self.of(*feed).state = State::Asked;
        }
        self.asked = Some((packet_id, feeds));
    }

    /// Takes in a SUBACK, and returns the feeds that the hub refused. `refused` makes the error of a refusal.
    pub(crate) fn acknowledged(
        &mut self,
        packet_id: u16,
        accepted: &[bool],
        refused: impl Fn(Feed) -> Error,
    ) -> Result<Vec<Feed>, NotAskedFor> {
        let (id, feeds) = self.asked.take().ok_or(NotAskedFor)?;
        if id != packet_id || feeds.len() != accepted.len() {
            return Err(NotAskedFor);
        }
        for (feed, accepted) in feeds.iter().zip(accepted) {
            let subscription = self.of(*feed);
            subscription.state = if *accepted { State::Granted } else { State::Refused };
            for waiter in subscription.waiters.drain(..) {
                let _gone = waiter.send(if *accepted { Ok(()) } else { Err(refused(*feed)) });
            }
        }
        Ok(feeds
            .into_iter()
            .zip(accepted)
            .filter(|(_, accepted)| !**accepted)
            .map(|(feed, _)| feed)
            .collect())
    }

    pub(crate) fn is_granted(&self, feed: Feed) -> bool {
        self.feeds[feed as usize].state == State::Granted
    }

    /// Returns whether the hub has neither granted nor refused a feed that it was asked for.
    pub(crate) fn is_unacknowledged(&self, feed: Feed) -> bool {
        let subscription = &self.feeds[feed as usize];
        let settled = matches!(subscription.state, State::Granted | State::Refused);
        self.asked.is_some() && subscription.wanted && !settled
    }

    /// Tells all that wait for a feed that the client is closed.
    pub(crate) fn close(&mut self, closed: &Error) {
        for waiter in self.feeds.iter_mut().flat_map(|subscription| subscription.waiters.drain(..)) {
            let _gone = waiter.send(Err(closed.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::waiter;
    use crate::error::ErrorKind;

    fn refused(_: Feed) -> Error {
        Error::new(ErrorKind::NotAuthorized, "refused")
    }

    #[test]
    fn each_is_asked_for_once_and_again_on_the_next_connection() {
        let mut subscriptions = Subscriptions::default();
        assert!(subscriptions.due().is_empty());
        subscriptions.want(Feed::DesiredChanges);
        subscriptions.want(Feed::TwinResponses);
        subscriptions.want(Feed::TwinResponses);
        assert_eq!(subscriptions.due(), [Feed::TwinResponses, Feed::DesiredChanges]);
        subscriptions.asked(7, subscriptions.due());
        subscriptions.want(Feed::C2d);
        subscriptions.want(Feed::Methods);
        assert!(subscriptions.due().is_empty(), "one SUBSCRIBE at a time");
        assert!(
            subscriptions.is_unacknowledged(Feed::TwinResponses)
                && !subscriptions.is_granted(Feed::TwinResponses)
        );
        assert!(subscriptions.acknowledged(7, &[true, true], refused).unwrap().is_empty());
        assert!(subscriptions.is_granted(Feed::TwinResponses));
        assert_eq!(subscriptions.due(), [Feed::C2d, Feed::Methods]);
        subscriptions.disconnected();
        assert_eq!(subscriptions.due(), FEEDS);
    }

    #[test]
    fn a_refusal_is_told_and_not_asked_for_again_by_itself() {
        let mut subscriptions = Subscriptions::default();
        let (told, mut hears) = waiter();
        subscriptions.want_and_tell(Feed::C2d, told);
        subscriptions.asked(1, subscriptions.due());
        assert_eq!(subscriptions.acknowledged(1, &[false], refused).unwrap(), [Feed::C2d]);
        assert_eq!(hears.try_recv().unwrap().unwrap_err().kind(), ErrorKind::NotAuthorized);
        assert!(subscriptions.due().is_empty());
        subscriptions.want(Feed::C2d);
        assert_eq!(subscriptions.due(), [Feed::C2d]);
    }

    #[test]
    fn an_answer_that_fits_nothing_is_refused() {
        let mut subscriptions = Subscriptions::default();
        assert!(subscriptions.acknowledged(1, &[true], refused).is_err());
        for (id, codes) in [(2, &[true][..]), (1, &[][..]), (1, &[true, true][..])] {
            subscriptions.want(Feed::C2d);
            subscriptions.asked(1, vec![Feed::C2d]);
            assert!(subscriptions.acknowledged(id, codes, refused).is_err());
        }
    }
}
