//! This file calls direct methods of devices for back ends, and waits for the answers.
//!
//! HTTPS and the API of the running hub call it. The calls themselves, with their order and deadlines, are in the
//! service; here are the callers that wait, by the numbers of their calls.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use iothub_models::{DirectMethodRequest, DirectMethodResponse, ErrorCode, Identity, NotJson};
use serde_json::Value;
use tokio::sync::watch;

use super::Hub;
use crate::core::methods::{CallFailure, MethodAnswer, MethodCall, Progress};
use crate::core::refusal::HubError;

/// The callers that wait, by the numbers of their calls.
#[derive(Debug, Default)]
pub(super) struct CallTable(Mutex<HashMap<u64, watch::Sender<Progress>>>);

impl CallTable {
    /// Registers a caller. It is called while the service is locked, so that no progress of the call comes before.
    fn wait(&self, number: u64, progress: Progress) -> watch::Receiver<Progress> {
        let (sender, receiver) = watch::channel(progress);
        self.table().insert(number, sender);
        receiver
    }

    /// Tells callers the progress of their calls.
    pub(super) fn tell(&self, calls: Vec<(u64, Progress)>) {
        let mut table = self.table();
        for (number, progress) in calls {
            let is_over = matches!(progress, Progress::Done(_));
            if let Some(caller) = table.get(&number) {
                caller.send_replace(progress);
            }
            if is_over {
                table.remove(&number);
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<u64, watch::Sender<Progress>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    /// Calls a method of a device or module, and returns its answer.
    ///
    /// # Cancel safety
    /// Dropping the future forgets the call; the device may carry it out all the same.
    pub(crate) async fn call_method(
        &self,
        id: &Identity,
        call: MethodCall,
    ) -> Result<MethodAnswer, CallFailure> {
        let clock = self.clock();
        let (name, since) = (call.name.clone(), clock.now());
        let (number, mut progress) = self.apply(|service, now| {
            let begun = service.begin_call(now, id, call)?;
            let progress = self.0.outlets.calls.wait(begun.number, Progress::Until(begun.deadline));
            Ok::<_, CallFailure>((begun.number, progress))
        })?;
        let _call = Waiting { hub: self, id, number };
        loop {
            let until = match &*progress.borrow_and_update() {
                // A hub that ends also ends the device's connection. Whichever is seen first, the end is the reason.
                Progress::Done(Err(_)) if self.shutdown().is_cancelled() => {
                    return Err(CallFailure::shutdown());
                }
                Progress::Done(outcome) => {
                    if let Ok(MethodAnswer { status, payload }) = outcome {
                        self.activity().method(id, &name, (*status, payload.len()), since);
                    }
                    return outcome.clone();
                }
                Progress::Until(deadline) => *deadline,
            };
            tokio::select! {
                // The last progress of a call stays readable, so an error is no more than an ending.
                _changed = progress.changed() => {}
                () = clock.sleep_until(until) => {
                    self.apply(|service, now| service.expire_call(now, id, number));
                }
                () = self.shutdown().cancelled() => return Err(CallFailure::shutdown()),
            }
        }
    }

    /// Calls a method like [`call_method`](Self::call_method), with values for payloads.
    pub(crate) async fn invoke_method(
        &self,
        id: &Identity,
        request: &DirectMethodRequest,
    ) -> Result<DirectMethodResponse, HubError> {
        let call = MethodCall {
            name: request.name().clone(),
            payload: request.payload_json().into_owned().into(),
            response_timeout: request.response_timeout(),
            connect_timeout: request.connect_timeout(),
        };
        let MethodAnswer { status, payload } =
            self.call_method(id, call).await.map_err(|failure| failure.refusal)?;
        if payload.is_empty() {
            return Ok(DirectMethodResponse::new(status, Value::Null));
        }
        let not_json = |defect: String| {
            HubError::new(ErrorCode::InvalidResponseWhileProxying, format!("the device's answer {defect}"))
        };
        let text =
            std::str::from_utf8(&payload).map_err(|error| not_json(format!("is not JSON: {error}")))?;
        DirectMethodResponse::from_json(status, text)
            .map_err(|error| not_json(NotJson::of(&payload, &error).to_string()))
    }
}

/// The place of a caller that waits for the answer to a call. Dropping it forgets the call, if it is not over.
struct Waiting<'h> {
    hub: &'h Hub,
    id: &'h Identity,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.hub.apply(|service, _| service.cancel_call(self.id, self.number));
        self.hub.0.outlets.calls.table().remove(&self.number);
    }
}
