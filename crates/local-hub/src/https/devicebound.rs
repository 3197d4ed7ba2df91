//! This file serves `/devices/{id}/messages/devicebound`, where back ends send cloud-to-device messages and devices
//! fetch and settle them, and `/devices/{id}/commands`, which can only be emptied. `router` calls it; the queue is
//! `hub`'s.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use iothub_models::{DeviceId, Identity};
use serde::Serialize;

use super::error::{ApiError, json};
use super::message_headers::{read_c2d, write_c2d};
use super::request::{DeviceOfPath, kept_body, lock_token, query};
use crate::core::lease::Settlement;
use crate::hub::{DeviceSession, Hub};

/// Queues a back end's message. The official clients send over AMQP; Azure IoT Explorer sends here.
pub(super) async fn send(
    State(hub): State<Hub>,
    DeviceOfPath(id): DeviceOfPath,
    headers: HeaderMap,
    content: Body,
) -> Result<StatusCode, ApiError> {
    let content = kept_body(content).await?;
    let message = read_c2d(&headers, content)?;
    hub.commit(|service, now| service.enqueue_c2d(now, &id, message)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Answers with the device's oldest message and locks it, or says that there is none.
pub(super) async fn receive(
    State(hub): State<Hub>,
    DeviceOfPath(id): DeviceOfPath,
) -> Result<Response, ApiError> {
    let device = DeviceSession::of_request(&hub, Identity::device(id.clone()))?;
    Ok(match device.receive_message() {
        Some(leased) => {
            (StatusCode::OK, write_c2d(&id, &leased), leased.message.body.clone()).into_response()
        }
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

/// Completes a message that the device has locked; with `reject` in the query, rejects it.
pub(super) async fn complete(
    state: State<Hub>,
    device: DeviceOfPath,
    path: Path<Vec<String>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<StatusCode, ApiError> {
    let rejects = query(&uri, "reject").is_some();
    let settlement = if rejects { Settlement::Reject } else { Settlement::Complete };
    settle(&state, &device, &path, &headers, settlement).await
}

/// Abandons a message that the device has locked.
pub(super) async fn abandon(
    state: State<Hub>,
    device: DeviceOfPath,
    path: Path<Vec<String>>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    settle(&state, &device, &path, &headers, Settlement::Abandon).await
}

async fn settle(
    hub: &Hub,
    DeviceOfPath(id): &DeviceOfPath,
    path: &[String],
    headers: &HeaderMap,
    settlement: Settlement,
) -> Result<StatusCode, ApiError> {
    let device = DeviceSession::of_request(hub, Identity::device(id.clone()))?;
    device.settle_message(lock_token(path, headers)?, settlement).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Purged {
    total_messages_purged: usize,
    device_id: DeviceId,
    /// Modules have no queue; clients look for the field all the same.
    module_id: Option<()>,
}

/// A back end empties the queue.
pub(super) async fn purge(
    State(hub): State<Hub>,
    DeviceOfPath(device_id): DeviceOfPath,
) -> Result<Response, ApiError> {
    let total_messages_purged = hub.commit(|service, now| service.purge_c2d(now, &device_id)).await?;
    Ok(json(StatusCode::OK, &Purged { total_messages_purged, device_id, module_id: None }))
}
