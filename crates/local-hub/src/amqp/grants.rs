//! [`Grants`] holds the proofs of one AMQP connection and their expiries. `cbs` and `sasl` add to them, the nodes
//! ask them.

use iothub_auth::CLOCK_SKEW;
use iothub_models::ErrorCode;
use jiff::Timestamp;

use crate::authorize::ServiceGrant;
use crate::core::refusal::HubError;

/// The number of different scopes that one connection may prove. Clients of Event Hubs prove each partition apart.
const MAX_PROOFS: usize = 128;

/// The path that a token must open to be good for a back end's own nodes.
const BACK_END: [&str; 2] = ["messages", "devicebound"];
/// The path that opens all events under their name of the hub.
const EVENTS: [&str; 2] = ["messages", "events"];

/// The proofs of one connection. A client renews its token by putting another one, so of each scope the
/// latest expiry counts.
#[derive(Debug, Default)]
pub(super) struct Grants(Vec<Proof>);

#[derive(Debug)]
struct Proof {
    scope: Vec<String>,
    events_only: bool,
    until: Timestamp,
}

impl Grants {
    pub(super) fn add(&mut self, grant: &ServiceGrant) {
        let same = |proof: &&mut Proof| {
            proof.events_only == grant.events_only
                && is_prefix(&proof.scope, &grant.scope)
                && proof.scope.len() == grant.scope.len()
        };
        if let Some(proof) = self.0.iter_mut().find(same) {
            proof.until = proof.until.max(grant.expiry);
            return;
        }
        if self.0.len() == MAX_PROOFS
            && let Some(first) = (0..MAX_PROOFS).min_by_key(|index| self.0[*index].until)
        {
            self.0.swap_remove(first);
        }
        let (scope, events_only) = (grant.scope.clone(), grant.events_only);
        self.0.push(Proof { scope, events_only, until: grant.expiry });
    }

    /// The instant at which the last proof expires, including the time by which clocks may differ; `None` if
    /// nothing was proven yet.
    pub(super) fn expiry(&self) -> Option<Timestamp> {
        let last = self.0.iter().map(|proof| proof.until).max()?;
        Some(last.saturating_add(CLOCK_SKEW).unwrap_or(Timestamp::MAX))
    }

    /// Checks that the connection may act as a back end now: send messages to devices and hear of them.
    pub(super) fn check_service(&self, now: Timestamp) -> Result<(), HubError> {
        self.check(now, |proof| !proof.events_only && is_prefix(&proof.scope, &BACK_END))
    }

    /// Checks that the connection may read events at this path below the host.
    pub(super) fn check_events(&self, path: &[impl AsRef<str>], now: Timestamp) -> Result<(), HubError> {
        self.check(now, |proof| is_prefix(&proof.scope, path) || is_prefix(&proof.scope, &EVENTS))
    }

    /// Checks that the connection may read any events at all.
    pub(super) fn check_any_event(&self, event_hub: &str, now: Timestamp) -> Result<(), HubError> {
        self.check(now, |proof| {
            is_prefix(&proof.scope, &EVENTS)
                || is_prefix(&EVENTS, &proof.scope)
                || is_prefix(&[event_hub], &proof.scope)
        })
    }

    fn check(&self, now: Timestamp, opens: impl Fn(&Proof) -> bool) -> Result<(), HubError> {
        let denied = |text: &str| Err(HubError::new(ErrorCode::IotHubUnauthorizedAccess, text));
        match self.0.iter().filter(|proof| opens(proof)).map(|proof| proof.until).max() {
            None => denied("no token was put on $cbs, or none that allows service connect"),
            Some(until) if until.saturating_add(CLOCK_SKEW).is_ok_and(|limit| limit < now) => {
                denied("the connection's token expired: put a new one on $cbs")
            }
            Some(_) => Ok(()),
        }
    }
}

/// Returns whether `path` lies within `scope`; case does not count at these addresses.
fn is_prefix(scope: &[impl AsRef<str>], path: &[impl AsRef<str>]) -> bool {
    scope.len() <= path.len()
        && scope.iter().zip(path).all(|(own, other)| own.as_ref().eq_ignore_ascii_case(other.as_ref()))
}
