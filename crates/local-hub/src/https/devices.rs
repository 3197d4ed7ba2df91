//! This file serves `/devices` and `/devices/{id}`, the identity registry; `router` leads here.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use iothub_models::{DeviceIdentity, ErrorCode};

use super::device_json;
use super::error::{ApiError, json, json_with_etag};
use super::json_object::whole_number_in;
use super::request::{DeviceOfPath, json_body, parsed, precondition, query};
use crate::core::limits::LIST_LENGTH;
use crate::core::refusal::HubError;
use crate::hub::Hub;

pub(super) async fn list(State(hub): State<Hub>, uri: Uri) -> Result<Response, ApiError> {
    let top = match query(&uri, "top").map(|text| whole_number_in(&text)) {
        None => LIST_LENGTH,
        // The service takes any number and shows at most a thousand.
        Some(Some(number)) => {
            usize::try_from(number).ok().filter(|n| (1..=LIST_LENGTH).contains(n)).unwrap_or(LIST_LENGTH)
        }
        Some(None) => return Err(ApiError::new(ErrorCode::ArgumentInvalid, "top is not a number")),
    };
    Ok(json(StatusCode::OK, &hub.read(|service, now| Ok::<_, HubError>(service.devices(now, top))).await?))
}

pub(super) async fn get(
    State(hub): State<Hub>,
    DeviceOfPath(id): DeviceOfPath,
) -> Result<Response, ApiError> {
    Ok(identity(&hub.read(|service, now| service.device(now, &id)).await?))
}

pub(super) async fn put(
    State(hub): State<Hub>,
    DeviceOfPath(id): DeviceOfPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    // The keys in the body are wiped when they have been read.
    let body = zeroize::Zeroizing::new(Vec::from(json_body(&headers, body).await?));
    let write = parsed(&hub, body, device_json::parse).await?.logged(&id);
    if write.device_id != id {
        return Err(ApiError::new(
            ErrorCode::ArgumentInvalid,
            format!("deviceId is {} in the body and {id} in the path", write.device_id),
        ));
    }
    let precondition = precondition(&headers)?;
    Ok(identity(&hub.commit(|service, now| service.put_device(now, write, &precondition)).await?))
}

pub(super) async fn delete(
    State(hub): State<Hub>,
    DeviceOfPath(id): DeviceOfPath,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let precondition = precondition(&headers)?;
    hub.commit(|service, now| service.delete_device(now, &id, &precondition)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn identity(identity: &DeviceIdentity) -> Response {
    json_with_etag(identity, &identity.etag)
}
