//! This file carries out a call: a deadline over everything, a valid token for each attempt, another attempt where
//! that cannot do harm (`RetryPolicy` says when), and a fresh token where the hub refuses an old one.

use std::sync::Arc;

use iothub_auth::{Clock, SasToken};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::answer::Answer;
use crate::call::{Call, Repeat};
use crate::client::ServiceClient;
use crate::error::{Error, ErrorKind};

impl ServiceClient {
    /// Does the call and reads what it answers.
    ///
    /// # Cancel safety
    /// It is that of [`send`](Self::send).
    pub(crate) async fn send_for<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Error> {
        self.send(call).await?.read(call)
    }

    /// Does the call.
    ///
    /// # Cancel safety
    /// Dropping the future ends the attempt; whether the hub did the call is not known then.
    pub(crate) async fn send(&self, call: &Call) -> Result<Answer, Error> {
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
                Ok(answer) => return Ok(answer),
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
    async fn attempt(&self, call: &Call) -> Result<Answer, Error> {
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

    async fn exchange(&self, call: &Call, token: &SasToken) -> Result<Answer, Error> {
        let shared = &*self.0;
        let request_id = Uuid::new_v4().to_string();
        let answer = shared.http.exchange(call, token.reveal(), &request_id).await;
        match answer {
            Ok(answer) => {
                tracing::debug!(request_id, call = call.tried, status = answer.status, "answered");
                if answer.is_success() {
                    return Ok(answer);
                }
                Err(Error::refused(call, &answer, &shared.credential, shared.clock.now()))
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
