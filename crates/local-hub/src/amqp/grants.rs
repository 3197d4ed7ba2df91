//! What one AMQP connection has proven, and until when.

use iothub_auth::CLOCK_SKEW;
use iothub_models::ErrorCode;
use jiff::Timestamp;

use crate::authorize::ServiceGrant;
use crate::core::refusal::HubError;

/// What a token must open to be good for a back end's connection.
pub(super) const RESOURCE: [&str; 2] = ["messages", "devicebound"];

/// The proofs of one connection. A client renews its token by putting another one, so the latest
/// expiry counts.
#[derive(Debug, Default)]
pub(super) struct Grants {
    service_until: Option<Timestamp>,
}

impl Grants {
    pub(super) fn add(&mut self, grant: &ServiceGrant) {
        self.service_until = self.service_until.max(Some(grant.expiry));
    }

    /// Whether the connection may act as a back end now.
    pub(super) fn check_service(&self, now: Timestamp) -> Result<(), HubError> {
        let denied = |text: &str| Err(HubError::new(ErrorCode::IotHubUnauthorizedAccess, text));
        match self.service_until {
            None => denied("no token was put on $cbs, or none that allows service connect"),
            Some(until) if until.saturating_add(CLOCK_SKEW).is_ok_and(|limit| limit < now) => {
                denied("the connection's token expired: put a new one on $cbs")
            }
            Some(_) => Ok(()),
        }
    }
}
