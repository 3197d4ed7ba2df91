//! This module is the whole service as plain state and transitions: it has no sockets, no clock (`now` is an
//! argument), no lock, no task and no wire format. [`service`] owns all of it; the protocol rooms reach it through
//! [`Hub`](crate::hub::Hub) only.

pub(crate) mod c2d;
pub(crate) mod connections;
pub(crate) mod continuation;
pub(crate) mod effects;
pub(crate) mod event;
pub(crate) mod feedback;
pub(crate) mod grant;
pub(crate) mod lease;
pub(crate) mod limits;
pub(crate) mod methods;
pub(crate) mod notifications;
pub(crate) mod policies;
pub(crate) mod refusal;
pub(crate) mod registry;
pub(crate) mod routes;
pub(crate) mod service;
pub(crate) mod sessions;
pub(crate) mod twins;

/// Returns a time cut to 100 ns, the resolution of `.NET` and so of the service. A time is cut before it is kept, so
/// that a client reads back the time that it saw first.
pub(crate) fn truncated(time: jiff::Timestamp) -> jiff::Timestamp {
    let nanosecond = time.subsec_nanosecond() / 100 * 100;
    jiff::Timestamp::new(time.as_second(), nanosecond).unwrap_or(time)
}
