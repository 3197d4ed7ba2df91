//! This file keeps the SAS token of the calls: signed once, used by all, renewed before it expires.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use iothub_auth::{SasError, SasToken, ServiceConnectionString};
use jiff::Timestamp;

/// The time for which a token is valid, as with the official clients.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// The time before its expiry at which a token is replaced: longer than a call lasts and than two clocks
/// usually differ.
const MARGIN: Duration = Duration::from_secs(10 * 60);

#[derive(Debug, Default)]
pub(crate) struct TokenCache(Mutex<Option<Arc<SasToken>>>);

impl TokenCache {
    /// Returns a token that is still valid for a while after `now`, and whether it was signed for an earlier call.
    pub(crate) fn token(
        &self,
        credential: &ServiceConnectionString,
        now: Timestamp,
    ) -> Result<(Arc<SasToken>, bool), SasError> {
        // A cache has no invariant that a panic elsewhere could break.
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*cached {
            Some(token) if is_fresh(token, now) => Ok((Arc::clone(token), true)),
            _ => Ok((Arc::clone(cached.insert(Arc::new(credential.sas_token(now, LIFETIME)?))), false)),
        }
    }

    /// Forgets this token, which the hub refused, unless another call has replaced it already.
    pub(crate) fn forget(&self, refused: &Arc<SasToken>) {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.as_ref().is_some_and(|token| Arc::ptr_eq(token, refused)) {
            *cached = None;
        }
    }
}

/// A token with more than its lifetime left was signed before the clock was set back.
fn is_fresh(token: &SasToken, now: Timestamp) -> bool {
    Duration::try_from(token.expiry().duration_since(now)).is_ok_and(|left| left > MARGIN && left <= LIFETIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_token_serves_until_shortly_before_it_expires() {
        let credential: ServiceConnectionString =
            "HostName=h;SharedAccessKeyName=p;SharedAccessKey=c2VjcmV0".parse().unwrap();
        let cache = TokenCache::default();
        let start: Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
        let at = |minutes: u64| {
            let now = start.checked_add(Duration::from_secs(60 * minutes)).unwrap();
            cache.token(&credential, now).unwrap().0.expiry()
        };
        let first = at(0);
        assert_eq!(first, start.checked_add(LIFETIME).unwrap());
        assert_eq!(at(49), first);
        let second = at(50);
        assert_eq!(second, first.checked_add(Duration::from_secs(50 * 60)).unwrap());
        assert_eq!(at(51), second);
        // The clock was set back: that token would be refused as one from the future.
        assert_eq!(at(20), start.checked_add(Duration::from_secs(80 * 60)).unwrap());
    }
}
