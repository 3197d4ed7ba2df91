//! This file keeps the calls of direct methods between their arrival and the response to them, bounds their number, and
//! makes the responses to calls that cannot be given to the application.
//!
//! The driver hands it calls and sends the responses; `methods` reads the calls for the application. It has no clock and
//! no connection of its own.
//!
//! | a call that | gets the response |
//! |---|---|
//! | has a name that no method can have, or a payload that is not JSON | 400, at once |
//! | comes while the application has not asked for calls | 501, at once |
//! | comes while as many are unanswered as may be | 429, at once |
//! | was not read for longer than any caller waits | none: it is passed over |
//! | comes on a connection that ends before the response | none: the hub has told its caller |

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use iothub_models::{MethodName, MethodPayload, NotJson};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::method_topics::MethodTopic;
use crate::queue::{Bounds, Full, Queue, Reader};

/// The number of calls that may wait for responses at once, read or not.
pub(crate) const MAX_CALLS: usize = 256;

/// The number of bytes of calls that the application has not read.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The longest time that a caller waits for a response. Source: *Understand and invoke direct methods from IoT Hub*.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_secs(300);

/// A call that the application is to respond to.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: MethodName,
    pub(crate) payload: MethodPayload,
    pub(crate) ticket: Ticket,
    arrived: Timestamp,
}

/// The right to respond to one call, with the values that the response needs.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// The number of the connection that the call came on.
    pub(crate) epoch: u64,
    pub(crate) request_id: String,
    /// The place of the call among those that may wait for responses, freed with the ticket.
    _place: Option<OwnedSemaphorePermit>,
}

/// The response to a call, on its way to the hub.
#[derive(Debug)]
pub(crate) struct MethodResponse {
    pub(crate) ticket: Ticket,
    pub(crate) status: i32,
    pub(crate) body: Bytes,
}

impl MethodResponse {
    /// Returns a response of the client itself, where the application gave none.
    pub(crate) fn of_client(ticket: Ticket, status: i32, reason: &str) -> Self {
        Self { ticket, status, body: json!({ "error": reason }).to_string().into() }
    }
}

/// The calls of a client, which the connection's task and the application's stream share.
#[derive(Debug)]
pub(crate) struct Calls {
    unread: Arc<Queue<Call>>,
    places: Arc<Semaphore>,
    /// The number of the present connection, or 0 if there is none.
    epoch: AtomicU64,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            unread: Arc::new(Queue::new(Bounds { items: MAX_CALLS, bytes: MAX_BYTES })),
            places: Arc::new(Semaphore::new(MAX_CALLS)),
            epoch: AtomicU64::new(0),
        }
    }
}

impl Calls {
    /// Notes that a connection begins, or with `None` that there is no connection any more. Calls of earlier connections
    /// are dropped: the hub has told their callers that they failed.
    pub(crate) fn connection(&self, epoch: Option<u64>) {
        self.epoch.store(epoch.unwrap_or_default(), Ordering::Release);
        self.unread.clear();
    }

    /// Returns whether calls of this connection can still get responses.
    pub(crate) fn is_current(&self, epoch: u64) -> bool {
        self.epoch.load(Ordering::Acquire) == epoch
    }

    /// Returns how many calls wait for a response of the application.
    pub(crate) fn unanswered(&self) -> usize {
        MAX_CALLS - self.places.available_permits()
    }

    /// Takes in a call that has arrived. If the application is not to see it, returns the response to it as the error.
    pub(crate) fn arrived(
        &self,
        topic: &MethodTopic<'_>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), MethodResponse> {
        self.accept(topic, body, now).map_err(|(status, reason)| {
            tracing::warn!(method = topic.method, status, reason, "a call of a direct method is refused");
            MethodResponse::of_client(self.ticket(topic, None), status, &reason)
        })
    }

    fn accept(&self, topic: &MethodTopic<'_>, body: &[u8], now: Timestamp) -> Result<(), (i32, String)> {
        let invalid = |error: &dyn std::fmt::Display| (400, format!("the call cannot be read: {error}"));
        let too_many = || {
            (
                429,
                format!("the device has {MAX_CALLS} calls or {MAX_BYTES} bytes of them to answer: try again"),
            )
        };
        let method = topic.method.parse().map_err(|error| invalid(&error))?;
        let payload = match body {
            [] => MethodPayload::NULL,
            body => {
                let text = std::str::from_utf8(body).map_err(|error| invalid(&error))?;
                let not_json = |error| invalid(&format_args!("its payload {}", NotJson::of(body, &error)));
                MethodPayload::parse(text).map_err(not_json)?
            }
        };
        if !self.unread.is_read() {
            return Err((501, "no program on the device takes direct methods now".to_owned()));
        }
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| too_many())?;
        let call = Call { method, payload, ticket: self.ticket(topic, Some(place)), arrived: now };
        let size = topic.method.len() + topic.request_id.len() + body.len();
        self.unread.push(call, size).map_err(|Full| too_many())
    }

    fn ticket(&self, topic: &MethodTopic<'_>, place: Option<OwnedSemaphorePermit>) -> Ticket {
        let epoch = self.epoch.load(Ordering::Acquire);
        Ticket { epoch, request_id: topic.request_id.to_owned(), _place: place }
    }

    /// Returns the responses to the calls that the application had not read when it stopped asking for calls.
    pub(crate) fn abandoned(&self) -> Vec<MethodResponse> {
        let unread = self.unread.take_unread();
        if !unread.is_empty() {
            tracing::warn!(
                calls = unread.len(),
                "calls of direct methods were not read before their stream was dropped"
            );
        }
        unread
            .into_iter()
            .map(|call| {
                MethodResponse::of_client(
                    call.ticket,
                    500,
                    "the device's program stopped taking direct methods",
                )
            })
            .collect()
    }

    /// Ends the stream of calls: no further call will arrive.
    pub(crate) fn close(&self) {
        self.connection(None);
        self.unread.close();
    }

    /// Returns the reader of the calls, or `None` while another reader exists.
    pub(crate) fn reader(&self) -> Option<Reader<Call>> {
        Reader::of(&self.unread)
    }
}

/// Returns the next call whose caller still waits, or `None` after the last call.
pub(crate) fn poll_call(reader: &Reader<Call>, now: Timestamp, cx: &mut Context<'_>) -> Poll<Option<Call>> {
    loop {
        let Some(call) = ready!(reader.poll(cx)) else { return Poll::Ready(None) };
        if now.duration_since(call.arrived) <= LONGEST_WAIT {
            return Poll::Ready(Some(call));
        }
        tracing::warn!(method = %call.method, "a call was read so late that nobody waits for its answer: it is passed over");
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use serde_json::Value;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn arrive(calls: &Calls, method: &str, body: &[u8]) -> Result<(), (i32, String)> {
        calls.arrived(&MethodTopic { method, request_id: "7" }, body, NOW).map_err(|response| {
            assert_eq!(response.ticket.request_id, "7");
            (response.status, String::from_utf8(response.body.to_vec()).unwrap())
        })
    }

    fn poll(reader: &Reader<Call>, now: Timestamp) -> Poll<Option<Call>> {
        poll_call(reader, now, &mut Context::from_waker(Waker::noop()))
    }

    fn read(reader: &Reader<Call>) -> Call {
        match poll(reader, NOW) {
            Poll::Ready(Some(call)) => call,
            _ => panic!("a call is there"),
        }
    }

    #[test]
    fn what_is_no_call_is_answered_at_once() {
        let calls = Calls::default();
        let _reader = calls.reader().unwrap();
        let deep = "[".repeat(100_000);
        for (method, body) in
            [("", "1"), ("a b", "1"), ("\u{e9}", "1"), ("m", "{"), ("m", "\u{0}"), ("m", "1 2"), ("m", &deep)]
        {
            let (status, reason) = arrive(&calls, method, body.as_bytes()).unwrap_err();
            assert_eq!(status, 400, "{method} {body}");
            assert!(reason.starts_with(r#"{"error":"the call cannot be read: "#), "{reason}");
        }
        assert_eq!(arrive(&calls, "m", b"\xff").unwrap_err().0, 400);
        assert_eq!(calls.unanswered(), 0);
    }

    #[test]
    fn payloads_are_any_json_and_nothing_is_null() {
        let calls = Calls::default();
        let reader = calls.reader().unwrap();
        for (body, payload) in [
            ("", Value::Null),
            ("null", Value::Null),
            (r#""""#, json!("")),
            ("1.5", json!(1.5)),
            (r#"{"z":[1],"a":{}}"#, json!({"z": [1], "a": {}})),
        ] {
            arrive(&calls, "thermostat1*m", body.as_bytes()).unwrap();
            let call = read(&reader);
            assert_eq!((call.method.as_str(), call.payload.value()), ("thermostat1*m", &payload));
            assert!(call.payload.is_exact());
        }
    }

    #[test]
    fn whole_numbers_beyond_64_bits_keep_their_digits() {
        let calls = Calls::default();
        let reader = calls.reader().unwrap();
        let body = r#"{"serial":123456789012345678901234567890}"#;
        arrive(&calls, "m", body.as_bytes()).unwrap();
        let call = read(&reader);
        assert!(!call.payload.is_exact());
        assert_eq!(call.payload.json(), body);
    }

    #[test]
    fn the_calls_that_wait_are_bounded_by_number_and_by_bytes() {
        let calls = Calls::default();
        let reader = calls.reader().unwrap();
        for _ in 0..MAX_CALLS {
            arrive(&calls, "m", b"1").unwrap();
        }
        assert_eq!(arrive(&calls, "m", b"1").unwrap_err().0, 429);
        let held = read(&reader);
        assert_eq!(arrive(&calls, "m", b"1").unwrap_err().0, 429, "read is not answered");
        drop(held);
        arrive(&calls, "m", b"1").unwrap();
        assert_eq!(calls.unanswered(), MAX_CALLS);

        calls.connection(Some(2));
        assert_eq!(calls.unanswered(), 0, "those of another connection are gone");
        let large = format!("\"{}\"", "x".repeat(300 * 1024));
        let taken = (0..MAX_CALLS).take_while(|_| arrive(&calls, "m", large.as_bytes()).is_ok()).count();
        assert_eq!(taken, MAX_BYTES / (large.len() + 2));
        assert_eq!(calls.unanswered(), taken);
    }

    #[test]
    fn nobody_who_asks_is_told_so() {
        let calls = Calls::default();
        calls.connection(Some(1));
        assert_eq!(arrive(&calls, "m", b"1").unwrap_err().0, 501);
        let reader = calls.reader().unwrap();
        arrive(&calls, "m", b"1").unwrap();
        assert!(calls.abandoned().is_empty(), "they are still read");
        drop(reader);
        let responses = calls.abandoned();
        assert_eq!(
            responses.iter().map(|response| (response.status, response.ticket.epoch)).collect::<Vec<_>>(),
            [(500, 1)]
        );
        assert!(calls.abandoned().is_empty());
    }

    #[test]
    fn a_call_whose_caller_has_given_up_is_passed_over() {
        let calls = Calls::default();
        let reader = calls.reader().unwrap();
        for _ in 0..2 {
            arrive(&calls, "m", b"1").unwrap();
        }
        let limit = NOW + SignedDuration::from_secs(300);
        assert!(matches!(poll(&reader, limit), Poll::Ready(Some(_))));
        assert!(poll(&reader, limit + SignedDuration::from_nanos(1)).is_pending());
        assert_eq!(calls.unanswered(), 0);
        calls.close();
        assert!(matches!(poll(&reader, NOW), Poll::Ready(None)));
    }
}
