//! This file carries out a call, within one deadline for all its attempts. It proves each attempt with a valid token,
//! tries again where that cannot do harm (`RetryPolicy` says when), and signs a fresh token where the hub refuses an old
//! one.

use std::sync::Arc;

use iothub_auth::{Clock, SasToken};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::call::{Call, Repeat};
use crate::client::ServiceClient;
use crate::error::{Error, ErrorKind};
use crate::response::HttpResponse;

impl ServiceClient {
    /// Carries out the call and returns the body of its response.
    ///
    /// # Cancel safety
    /// The same as that of [`send`](Self::send).
    pub(crate) async fn send_for<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Error> {
        self.send(call).await?.read(call)
    }

    /// Carries out the call and returns its response.
    ///
    /// # Cancel safety
    /// Dropping the future ends the attempt. The hub may have carried out the call.
    pub(crate) async fn send(&self, call: &Call) -> Result<HttpResponse, Error> {
        let shared = &*self.0;
        let clock = &shared.clock;
        let deadline = shared.deadline + call.device_time.unwrap_or_default();
        let end = clock.after(deadline);
        let mut last = None;
        let mut attempt = 1;
        loop {
            let Some(outcome) = before(clock, end, self.attempt(call)).await else {
                return Err(Error::timed_out(call, deadline, &shared.credential, last));
            };
            let error = match outcome {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let harmless = call.repeat == Repeat::Safe || error.not_done();
            if !error.is_retryable() || !harmless {
                return Err(error);
            }
            let Some(delay) = shared.retry.delay(attempt, error.retry_after(), random()) else {
                return Err(error);
            };
            if clock.after(delay) >= end {
                return Err(error);
            }
            tracing::debug!(attempt, ?delay, %error, "a call is sent again");
            clock.sleep(delay).await;
            last = Some(error);
            attempt += 1;
        }
    }

    /// Sends the call once, or twice if the hub refuses a token that was signed for an earlier call: its clock
    /// may have been set forward since. A refused call was not carried out, whatever it is.
    async fn attempt(&self, call: &Call) -> Result<HttpResponse, Error> {
        let (token, is_old) = self.token(call)?;
        match self.exchange(call, &token).await {
            Err(error) if is_old && error.is_refused_token() => {
                tracing::info!(%error, "a token was refused: the call is sent again with a fresh one");
                self.0.token.forget(&token);
                let (token, _) = self.token(call)?;
                self.exchange(call, &token).await
            }
            outcome => outcome,
        }
    }

    fn token(&self, call: &Call) -> Result<(Arc<SasToken>, bool), Error> {
        let shared = &*self.0;
        shared.token.token(&shared.credential, shared.clock.now()).map_err(|defect| {
            Error::new(ErrorKind::NotAuthorized, call.tried.clone(), "check SharedAccessKey=").because(defect)
        })
    }

    async fn exchange(&self, call: &Call, token: &SasToken) -> Result<HttpResponse, Error> {
        let shared = &*self.0;
        let request_id = Uuid::new_v4().to_string();
        let response = shared.http.exchange(call, token.reveal(), &request_id).await;
        match response {
            Ok(response) => {
                tracing::debug!(request_id, call = call.tried, status = response.status, "answered");
                if response.is_success() {
                    return Ok(response);
                }
                Err(Error::refused(call, &response, &shared.credential, shared.clock.now()))
            }
            Err(failure) => Err(Error::failed(call, failure, &shared.credential)),
        }
    }
}

/// Returns the result of `work`, if it is there before the clock shows `end`.
async fn before<T>(clock: &Clock, end: Timestamp, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = clock.sleep_until(end) => None,
    }
}

/// A number in 0..1 for the jitter, which needs no more than to differ from client to client.
fn random() -> f64 {
    let bits = Uuid::new_v4().as_u64_pair().1 as u32;
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}
