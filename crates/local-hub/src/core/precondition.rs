//! [`Precondition`] is the state that a request expects of what it changes. HTTPS reads it from `If-Match`; the registry
//! and the twins check it before they change anything.

use iothub_models::ErrorCode;

use super::refusal::HubError;

/// The state that a request expects (`If-Match`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Precondition {
    /// Nothing is expected. A write of an identity then creates it, and does nothing else.
    None,
    /// The wildcard: any state is good, but there must be one.
    Exists,
    /// This ETag and no other.
    Etag(String),
}

impl Precondition {
    /// Checks the ETag of `kind`, an identity or a twin, which exists.
    ///
    /// # Errors
    /// The request expects another ETag: somebody else has changed it.
    pub(crate) fn check(&self, etag: &str, kind: &str) -> Result<(), HubError> {
        match self {
            Self::Etag(expected) if expected != etag => Err(HubError::new(
                ErrorCode::PreconditionFailed,
                format!(
                    "the etag in If-Match is not that of the {kind}: read the {kind} again, and repeat the change on it"
                ),
            )),
            _ => Ok(()),
        }
    }
}
