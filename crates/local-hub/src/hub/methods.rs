//! This file calls direct methods of devices for back ends, and waits for the answers.

use iothub_models::{DeviceStatus, DirectMethodRequest, DirectMethodResponse, ErrorCode, Identity, NotJson};
use serde_json::Value;

use super::{Hub, lock};
use crate::core::method_calls::{Begun, CallFailure, MethodAnswer, MethodCall, Phase};
use crate::core::refusal::HubError;

impl Hub {
    /// Has the device do what is asked, and waits for its answer. A disabled device is asked nothing, and the
    /// refusal has the code of a device that does not exist, as the service's error reference says.
    ///
    /// # Cancel safety
    /// Dropping the future forgets the call; the device may carry it out all the same.
    pub(crate) async fn call_method(
        &self,
        id: &Identity,
        call: MethodCall,
    ) -> Result<MethodAnswer, CallFailure> {
        let (name, since) = (call.name.clone(), self.0.clock.now());
        let Begun { number, mut phase } = self.begin_method(id, call)?;
        let _call = Waiting { hub: self, id, number };
        let clock = &self.0.clock;
        loop {
            let until = match &*phase.borrow_and_update() {
                // A hub that ends also ends the device's connection: whichever is seen first, it is the reason.
                Phase::Done(Err(_)) if self.0.lifecycle.shutdown().is_cancelled() => {
                    return Err(CallFailure::shutdown());
                }
                Phase::Done(outcome) => {
                    if let Ok(MethodAnswer { status, payload }) = outcome {
                        self.0.activity.method(id, &name, (*status, payload.len()), since);
                    }
                    return outcome.clone();
                }
                Phase::Until(deadline) => *deadline,
            };
            tokio::select! {
                // The last thing a call says stays readable, so an error is no more than an ending.
                _changed = phase.changed() => {}
                () = clock.sleep_until(until) => lock(&self.0.methods).expire(id, number, clock.now()),
                () = self.0.lifecycle.shutdown().cancelled() => return Err(CallFailure::shutdown()),
            }
        }
    }

    fn begin_method(&self, id: &Identity, call: MethodCall) -> Result<Begun, CallFailure> {
        // Held until the call is taken, so that it is not taken for a device that is being deleted.
        let registry = self.registry();
        registry.check_device(&id.device)?;
        match registry.credentials(id).map(|identity| identity.status) {
            Some(DeviceStatus::Enabled) => {}
            Some(DeviceStatus::Disabled) => {
                return Err(HubError::device_disabled(&id.device).into());
            }
            None => return Err(HubError::not_found(id).into()),
        }
        let begun = lock(&self.0.methods).begin(id, call, self.0.clock.now())?;
        lock(&self.0.connections).wake_one(id);
        drop(registry);
        self.changed();
        Ok(begun)
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
        lock(&self.hub.0.methods).cancel(self.id, self.number);
        self.hub.changed();
    }
}
