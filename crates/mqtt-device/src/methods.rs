//! This file gives the calls of direct methods to the application, which responds to each of them. `method_calls` bounds
//! the calls, and the driver sends the responses.

use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use iothub_auth::Clock;
use iothub_models::{
    CommandName, DeviceId, DirectMethodRequest, DirectMethodResponse, MethodName, MethodPayload,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::error::{Error, ErrorKind};
use crate::instruction::Instruction;
use crate::method_calls::{Call, Calls, MethodResponse, Ticket, poll_call};
use crate::queue::Reader;

/// The calls of a device's direct methods, in the order of their arrival.
///
/// There is one stream at a time; after it is dropped, the application may ask for another. The stream does not keep the client
/// alive, and ends when the client does. At most 256 calls may wait for responses, read or not; further
/// calls get the status 429. A call gets 501 while there is no stream, and 500 if it is unread when the stream is
/// dropped. Calls whose connection has ended are not delivered: the hub has failed them.
///
/// ```no_run
/// # async fn example(client: iothub_mqtt_device::DeviceClient) -> Result<(), iothub_mqtt_device::Error> {
/// use iothub_mqtt_device::DirectMethodResponse;
///
/// let mut calls = client.direct_methods().await?;
/// while let Some(call) = calls.next().await {
///     let response = match call.method().as_str() {
///         "reboot" => DirectMethodResponse::new(200, "rebooting"),
///         _ => DirectMethodResponse::new(404, "no such method"),
///     };
///     call.respond(response)?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DirectMethods {
    /// The reader of the calls; `None` once the stream is being dropped.
    reader: Option<Reader<Call>>,
    calls: Arc<Calls>,
    instructions: mpsc::WeakUnboundedSender<Instruction>,
    device_id: DeviceId,
    clock: Clock,
}

impl DirectMethods {
    pub(crate) const fn new(
        reader: Reader<Call>,
        calls: Arc<Calls>,
        instructions: mpsc::WeakUnboundedSender<Instruction>,
        device_id: DeviceId,
        clock: Clock,
    ) -> Self {
        Self { reader: Some(reader), calls, instructions, device_id, clock }
    }

    /// Returns the next call, or `None` once the client is shut down.
    ///
    /// # Cancel safety
    /// Dropping the future loses no call.
    pub async fn next(&mut self) -> Option<DirectMethodCall> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<DirectMethodCall>> {
        let Some(reader) = &self.reader else { return Poll::Ready(None) };
        let call = ready!(poll_call(reader, self.clock.now(), cx));
        Poll::Ready(call.map(|Call { method, payload, ticket, .. }| DirectMethodCall {
            method,
            payload,
            responder: Responder {
                ticket: Some(ticket),
                calls: Arc::clone(&self.calls),
                instructions: self.instructions.clone(),
                device_id: self.device_id.clone(),
            },
        }))
    }
}

impl Stream for DirectMethods {
    type Item = DirectMethodCall;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
    }
}

impl Drop for DirectMethods {
    fn drop(&mut self) {
        // The reader goes first: only calls that have no reader count as unread.
        self.reader = None;
        if let Some(instructions) = self.instructions.upgrade() {
            let _ended = instructions.send(Instruction::CallsUnread);
        }
    }
}

/// A call of a direct method, whose caller waits: [`respond`](Self::respond) to it.
///
/// The caller of a call that is dropped without a response gets the status 500.
///
/// ```no_run
/// # async fn example(call: iothub_mqtt_device::DirectMethodCall) -> Result<(), iothub_mqtt_device::Error> {
/// use iothub_mqtt_device::DirectMethodResponse;
///
/// let response = match call.payload_as::<u32>() {
///     Ok(seconds) => DirectMethodResponse::new(200, seconds * 2),
///     Err(error) => DirectMethodResponse::new(400, error.to_string()),
/// };
/// call.respond(response)?;
/// # Ok(())
/// # }
/// ```
pub struct DirectMethodCall {
    method: MethodName,
    payload: MethodPayload,
    responder: Responder,
}

impl DirectMethodCall {
    /// Returns the name of the method.
    #[must_use]
    pub const fn method(&self) -> &MethodName {
        &self.method
    }

    /// Returns the method as a Plug and Play command, of the root or of a component.
    #[must_use]
    pub fn command(&self) -> CommandName {
        CommandName::from(&self.method)
    }

    /// Returns the payload that the caller sent, or null if there was none. A whole number beyond 64 bits is the nearest
    /// floating-point number in it; [`payload_json`](Self::payload_json) and
    /// [`payload_as`](Self::payload_as) have its digits.
    #[must_use]
    pub const fn payload(&self) -> &Value {
        self.payload.value()
    }

    /// Returns the payload as JSON, with whole numbers of any length as the caller wrote them.
    #[must_use]
    pub fn payload_json(&self) -> Cow<'_, str> {
        self.payload.json()
    }

    /// Returns the payload as a type of the application, which may have integers of 128 bits.
    ///
    /// # Errors
    /// The payload does not fit the type. The program should tell the caller, usually with status 400.
    pub fn payload_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        self.payload.read_as()
    }

    /// Sends the response to the call: a status and a payload of at most 128 KB.
    ///
    /// `Ok` means that the response is on its way; MQTT has no acknowledgement of it. The caller gets it unless its time
    /// to wait is over.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`], and the caller gets status 500; [`ErrorKind::Disconnected`] if the
    /// connection the call came on has ended: the hub has failed the call, and its caller no longer
    /// waits; [`ErrorKind::Closed`] if the client is shut down, which ends the connection too.
    pub fn respond(self, response: DirectMethodResponse) -> Result<(), Error> {
        self.responder.respond(response)
    }

    /// Splits the call into its payload and the means to respond to it.
    pub(crate) fn into_parts(self) -> (MethodPayload, Responder) {
        (self.payload, self.responder)
    }
}

impl fmt::Debug for DirectMethodCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectMethodCall")
            .field("method", &self.method)
            .field("payload", self.payload.value())
            .finish_non_exhaustive()
    }
}

/// The means to respond to one call, once.
pub(crate) struct Responder {
    /// The right to respond; `None` once that was done.
    ticket: Option<Ticket>,
    calls: Arc<Calls>,
    instructions: mpsc::WeakUnboundedSender<Instruction>,
    device_id: DeviceId,
}

impl Responder {
    pub(crate) fn respond(mut self, response: DirectMethodResponse) -> Result<(), Error> {
        let Some(ticket) = self.ticket.take() else { return Ok(()) };
        let body = response.payload_json().into_owned();
        if body.len() > DirectMethodRequest::MAX_PAYLOAD {
            let text = format!(
                "the answer to a direct method has {} bytes and may have {}: its caller is told that it failed",
                body.len(),
                DirectMethodRequest::MAX_PAYLOAD
            );
            self.send(MethodResponse::of_client(ticket, 500, "the device's answer is larger than 128 KB"))?;
            return Err(Error::of(ErrorKind::TooLarge, &self.device_id, text));
        }
        self.send(MethodResponse { ticket, status: response.status, body: body.into() })
    }

    fn send(&self, response: MethodResponse) -> Result<(), Error> {
        let epoch = response.ticket.epoch;
        let instructions = self.instructions.upgrade();
        let sent = instructions
            .is_some_and(|instructions| instructions.send(Instruction::Respond(response)).is_ok());
        if !sent {
            return Err(Error::closed(&self.device_id));
        }
        if !self.calls.is_current(epoch) {
            return Err(Error::of(
                ErrorKind::Disconnected,
                &self.device_id,
                "the connection ended before the direct method was answered: the hub has told its caller so",
            ));
        }
        Ok(())
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        tracing::warn!(
            device_id = %self.device_id,
            "a call of a direct method was dropped without respond(): its caller is told that it failed"
        );
        // If the connection has ended, there is no caller to tell.
        let _gone = self.send(MethodResponse::of_client(ticket, 500, "the device's program gave no answer"));
    }
}
