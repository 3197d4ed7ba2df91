//! This file serves `/twins/{id}` and `/twins/{id}/modules/{mid}`, to which `router` leads: it reads, patches and replaces twins.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use iothub_models::{Identity, Twin};
use serde_json::{Map, Value};

use super::error::{ApiError, json_with_etag};
use super::request::{IdentityOfPath, json_body, parsed, precondition};
use super::twin_json;
use crate::core::twins::SectionWrite;
use crate::hub::Hub;

pub(super) async fn get(
    State(hub): State<Hub>,
    IdentityOfPath(id): IdentityOfPath,
) -> Result<Response, ApiError> {
    Ok(twin(&hub.read(|service, now| service.twin(now, &id)).await?))
}

pub(super) async fn patch(
    State(hub): State<Hub>,
    IdentityOfPath(id): IdentityOfPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    write(&hub, &id, &headers, body, SectionWrite::Merge).await
}

pub(super) async fn put(
    State(hub): State<Hub>,
    IdentityOfPath(id): IdentityOfPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    write(&hub, &id, &headers, body, SectionWrite::Replace).await
}

async fn write(
    hub: &Hub,
    id: &Identity,
    headers: &HeaderMap,
    body: Body,
    section: fn(Map<String, Value>) -> SectionWrite,
) -> Result<Response, ApiError> {
    let body = json_body(headers, body).await?;
    let write = parsed(hub, body, move |body| twin_json::parse(body, section)).await?.logged(id);
    let precondition = precondition(headers)?;
    Ok(twin(&hub.commit(|service, now| service.write_twin(now, id, &write, &precondition)).await?))
}

fn twin(twin: &Twin) -> Response {
    json_with_etag(twin, &twin.etag)
}
