//! This file serves `/devices/{id}/modules` and `/devices/{id}/modules/{mid}`, the modules of a device; `router` leads
//! here.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use iothub_models::ErrorCode;

use super::device_json;
use super::error::{ApiError, json, json_with_etag};
use super::request::{DeviceOfPath, IdentityOfPath, json_body, parsed, precondition};
use crate::hub::Hub;

pub(super) async fn list(
    State(hub): State<Hub>,
    DeviceOfPath(device): DeviceOfPath,
) -> Result<Response, ApiError> {
    Ok(json(StatusCode::OK, &hub.read(|service, _| service.modules(&device)).await?))
}

pub(super) async fn get(
    State(hub): State<Hub>,
    IdentityOfPath(id): IdentityOfPath,
) -> Result<Response, ApiError> {
    let module = hub.read(|service, _| service.module(&id)).await?;
    Ok(json_with_etag(&module, &module.etag))
}

pub(super) async fn put(
    State(hub): State<Hub>,
    IdentityOfPath(id): IdentityOfPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    // The keys in the body are wiped when they have been read.
    let body = zeroize::Zeroizing::new(Vec::from(json_body(&headers, body).await?));
    let write = parsed(&hub, body, device_json::parse_module).await?.logged(&id);
    if write.id() != id {
        let text = format!("deviceId and moduleId are {} in the body and {id} in the path", write.id());
        return Err(ApiError::new(ErrorCode::ArgumentInvalid, text));
    }
    let precondition = precondition(&headers)?;
    let module = hub.commit(|service, now| service.put_module(now, write, &precondition)).await?;
    Ok(json_with_etag(&module, &module.etag))
}

pub(super) async fn delete(
    State(hub): State<Hub>,
    IdentityOfPath(id): IdentityOfPath,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let precondition = precondition(&headers)?;
    hub.commit(|service, now| service.delete_module(now, &id, &precondition)).await?;
    Ok(StatusCode::NO_CONTENT)
}
