//! This file responds to each direct method with a function of its own, for programs that do not read the stream of
//! calls.

use std::collections::HashMap;
use std::fmt;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use iothub_models::{DirectMethodResponse, whole_number_beyond_64_bits};
use serde_json::{Value, json};

use crate::methods::{DirectMethodCall, DirectMethods};

type Handler = Box<dyn Fn(Value) -> BoxFuture<'static, DirectMethodResponse> + Send + Sync>;

/// Functions that respond to direct methods, each by its method's name.
///
/// ```no_run
/// # async fn run(client: iothub_mqtt_device::DeviceClient) -> Result<(), iothub_mqtt_device::Error> {
/// use iothub_mqtt_device::{DirectMethodResponse, MethodHandlers};
/// use serde_json::json;
///
/// let handlers = MethodHandlers::new()
///     .on("reboot", async |_| DirectMethodResponse::new(200, json!({"result": true})))
///     .on("thermostat1*getMaxMinReport", async |since| DirectMethodResponse::new(200, since));
/// handlers.serve(client.direct_methods().await?).await;
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
#[must_use = "handlers answer nothing until `serve`"]
pub struct MethodHandlers(HashMap<String, Handler>);

impl MethodHandlers {
    /// Returns no handlers: every method gets the response 404.
    pub fn new() -> Self {
        Self::default()
    }

    /// Responds to calls of `method` with the result of `handler` for their payload. A later handler of one method
    /// replaces an earlier one.
    ///
    /// A payload with a whole number beyond 64 bits, which a [`Value`] would round, never reaches the handler:
    /// the call gets the response 400. A program that needs such numbers reads them with
    /// [`DirectMethodCall::payload_as`].
    pub fn on<H, F>(mut self, method: impl Into<String>, handler: H) -> Self
    where
        H: Fn(Value) -> F + Send + Sync + 'static,
        F: Future<Output = DirectMethodResponse> + Send + 'static,
    {
        self.0.insert(method.into(), Box::new(move |payload| handler(payload).boxed()));
        self
    }

    /// Responds to calls, many at a time, until the client is shut down. A method without a handler gets the response
    /// 404.
    ///
    /// # Cancel safety
    /// Dropping the future drops the handlers at work; their calls get the response 500.
    pub async fn serve(self, mut calls: DirectMethods) {
        // The stream bounds how many calls are at work at a time.
        let mut at_work = FuturesUnordered::new();
        loop {
            tokio::select! {
                call = calls.next() => match call {
                    Some(call) => at_work.push(self.respond(call)),
                    None => return,
                },
                Some(()) = at_work.next() => {}
            }
        }
    }

    fn respond(&self, call: DirectMethodCall) -> impl Future<Output = ()> + Send + use<> {
        let method = call.method().clone();
        let handler = self.0.get(method.as_str());
        let (payload, responder) = call.into_parts();
        let response = match handler {
            Some(handler) if payload.is_exact() => handler(payload.into_value()),
            Some(_) => {
                let number = whole_number_beyond_64_bits(&payload.json()).unwrap_or_default().to_owned();
                let error =
                    format!("the device takes whole numbers of 64 bits; the payload has {number:.60}");
                std::future::ready(DirectMethodResponse::new(400, json!({ "error": error }))).boxed()
            }
            None => {
                let payload = json!({ "error": format!("the device knows no method {method}") });
                std::future::ready(DirectMethodResponse::new(404, payload)).boxed()
            }
        };
        async move {
            if let Err(error) = responder.respond(response.await) {
                tracing::warn!(%method, %error, "a direct method was answered in vain");
            }
        }
    }
}

impl fmt::Debug for MethodHandlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
