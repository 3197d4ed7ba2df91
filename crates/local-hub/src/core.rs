//! The whole service as plain state and transitions: no sockets, no clock (`now` is an argument), no
//! wire format. The protocol rooms reach it through [`Hub`](crate::hub::Hub) only.

mod c2d_check;
pub(crate) mod c2d_queue;
pub(crate) mod connections;
pub(crate) mod continuation;
pub(crate) mod device_write;
pub(crate) mod event;
pub(crate) mod event_log;
pub(crate) mod feedback;
pub(crate) mod grant;
pub(crate) mod limits;
pub(crate) mod lock;
pub(crate) mod method_calls;
pub(crate) mod notifications;
pub(crate) mod packed;
pub(crate) mod policies;
pub(crate) mod refusal;
pub(crate) mod registered;
pub(crate) mod registry;
pub(crate) mod routes;
pub(crate) mod sessions;
pub(crate) mod twin_document;
pub(crate) mod twin_index;
pub(crate) mod twin_limits;
pub(crate) mod twin_query;
pub(crate) mod twin_row;
pub(crate) mod twins;

/// What `.NET`, and so the service, resolves: 100 ns. A time that is kept is cut to it, so that what
/// a client reads back is what it saw first.
pub(crate) fn truncated(time: jiff::Timestamp) -> jiff::Timestamp {
    let nanosecond = time.subsec_nanosecond() / 100 * 100;
    jiff::Timestamp::new(time.as_second(), nanosecond).unwrap_or(time)
}
