//! `/messages/servicebound/feedback`: what became of cloud-to-device messages, a batch at a time.

use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::error::{ApiError, json};
use super::request::lock_token;
use crate::core::lease::{LockToken, Settlement};
use crate::core::service::Service;
use crate::hub::Hub;

/// What clients of the service check a batch for.
const FEEDBACK: &str = "application/vnd.microsoft.iothub.feedback.json; charset=utf-8";

/// Hands out the oldest batch, or says that there is none.
pub(super) async fn receive(State(hub): State<Hub>) -> Response {
    let Some(batch) = hub.apply(Service::lease_feedback) else {
        return StatusCode::NO_CONTENT.into_response();
    };
    let mut response = json(StatusCode::OK, &batch.records);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, axum::http::HeaderValue::from_static(FEEDBACK));
    if let Ok(etag) = format!("\"{}\"", batch.lock).parse() {
        headers.insert(ETAG, etag);
    }
    response
}

pub(super) async fn complete(
    State(hub): State<Hub>,
    path: Path<Vec<String>>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    settle(&hub, lock_token(&path, &headers)?, Settlement::Complete).await
}

pub(super) async fn abandon(
    State(hub): State<Hub>,
    path: Path<Vec<String>>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    settle(&hub, lock_token(&path, &headers)?, Settlement::Abandon).await
}

async fn settle(hub: &Hub, lock: LockToken, settlement: Settlement) -> Result<StatusCode, ApiError> {
    hub.commit(|service, now| service.settle_feedback(now, lock, settlement)).await?;
    Ok(StatusCode::NO_CONTENT)
}
