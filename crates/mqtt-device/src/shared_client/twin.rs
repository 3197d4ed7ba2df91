//! This file makes the requests about the twin and the stream of desired properties. Each request has a place and a
//! deadline, and its response is read here, not in the task that owns the connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use iothub_models::TwinProperties;
use serde::Serialize;
use tokio::sync::{TryAcquireError, oneshot};

use super::SharedClient;
use crate::desired::DesiredProperties;
use crate::diagnosis;
use crate::error::{Error, ErrorKind};
use crate::instruction::Instruction;
use crate::queue::Reader;
use crate::requests::{Pending, Request};
use crate::subscriptions::Feed;
use crate::topics::MAX_MESSAGE;
use crate::twin_response::TwinResponse;

/// The number of requests about the twin that may wait for responses at once; further requests wait for a place.
pub(crate) const MAX_REQUESTS: usize = 16;

const GET: &str = "reading the twin";
const REPORT: &str = "updating the reported properties";

impl SharedClient {
    pub(crate) async fn twin(&self) -> Result<TwinProperties, Error> {
        let response = self.request(GET, Request::Get).await?;
        response.twin().map_err(|defect| diagnosis::request_failed(self.device_id(), GET, defect))
    }

    pub(crate) async fn update_reported_properties(
        &self,
        patch: &(impl Serialize + ?Sized),
        expected: Option<i64>,
    ) -> Result<i64, Error> {
        let patch = self.reported_patch(patch)?;
        let response = self.request(REPORT, Request::Report { patch, expected }).await?;
        response.version().map_err(|defect| diagnosis::request_failed(self.device_id(), REPORT, defect))
    }

    /// Returns the patch as JSON. The hub checks whether its values are within the limits.
    fn reported_patch(&self, patch: &(impl Serialize + ?Sized)) -> Result<Bytes, Error> {
        let refused =
            |kind, text: &str| Error::of(kind, self.device_id(), format!("{REPORT} was not tried: {text}"));
        let json = serde_json::to_vec(patch)
            .map_err(|error| refused(ErrorKind::InvalidArgument, "the patch is no JSON").because(error))?;
        if json.first() != Some(&b'{') {
            return Err(refused(
                ErrorKind::InvalidArgument,
                "the patch must be a JSON object, with properties to set and, with null, to delete",
            ));
        }
        if json.len() > MAX_MESSAGE {
            let text = format!(
                "the patch has {} bytes, and a message carries {MAX_MESSAGE}: reported properties may have 32 KB in all",
                json.len()
            );
            return Err(refused(ErrorKind::TooLarge, &text));
        }
        Ok(json.into())
    }

    pub(crate) async fn desired_properties(&self) -> Result<DesiredProperties, Error> {
        let Some(reader) = Reader::of(&self.desired_changes) else {
            return Err(Error::of(
                ErrorKind::InvalidArgument,
                self.device_id(),
                "there is one stream of desired properties: use or drop the one that exists",
            ));
        };
        let (start, begun) = oneshot::channel();
        self.hand_over(Instruction::FollowDesired { start })?;
        match self.clock().timeout(self.options.response_timeout, begun).await {
            Ok(Ok(initial)) => Ok(DesiredProperties::new(initial?, reader)),
            Ok(Err(_)) => Err(self.closed()),
            Err(_) => {
                self.hand_over(Instruction::Unacknowledged { feed: Feed::DesiredChanges })?;
                let text = format!(
                    "the hub did not tell the desired properties within {:?}: try again",
                    self.options.response_timeout
                );
                Err(Error::of(ErrorKind::Timeout, self.device_id(), text))
            }
        }
    }

    async fn request(&self, what: &'static str, request: Request) -> Result<TwinResponse, Error> {
        let clock = self.clock();
        let deadline = clock.after(self.options.response_timeout);
        let places = Arc::clone(&self.requests);
        // If there is room, no await comes before the request has its place, so that calls that are started in order
        // keep their order.
        let place = match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => place,
            Err(TryAcquireError::Closed) => return Err(self.closed()),
            Err(TryAcquireError::NoPermits) => tokio::select! {
                biased;
                place = places.acquire_owned() => place.map_err(|_| self.closed())?,
                () = clock.sleep_until(deadline) => {
                    let text = format!(
                        "{what} was not tried: {MAX_REQUESTS} requests wait for the hub's answers, and none came within {:?}",
                        self.options.response_timeout
                    );
                    return Err(Error::of(ErrorKind::Timeout, self.device_id(), text));
                }
            },
        };
        let (waiter, mut responded) = oneshot::channel();
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        self.hand_over(Instruction::Request {
            sequence,
            pending: Pending { request, waiter, _place: Some(place) },
        })?;
        let mut dropped = GiveUpWhenDropped { client: self, sequence, armed: true };
        let outcome = tokio::select! {
            biased;
            outcome = &mut responded => outcome,
            () = clock.sleep_until(deadline) => {
                self.hand_over(Instruction::GiveUpRequest { sequence })?;
                responded.await
            }
        };
        dropped.armed = false;
        outcome.map_err(|_| self.closed())?
    }
}

/// A guard that gives a request up when its caller is dropped before the response came.
struct GiveUpWhenDropped<'a> {
    client: &'a SharedClient,
    sequence: u64,
    armed: bool,
}

impl Drop for GiveUpWhenDropped<'_> {
    fn drop(&mut self) {
        if self.armed {
            // If the task has ended, there is nothing to give up.
            let _ended = self.client.hand_over(Instruction::GiveUpRequest { sequence: self.sequence });
        }
    }
}
