//! Serves `/twins/{id}/methods` and `/twins/{id}/modules/{mid}/methods`, which call direct methods.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde_json::value::RawValue;

use super::call_error::CallError;
use super::error::json;
use super::method_json;
use super::request::{IdentityOfPath, json_body};
use crate::core::methods::MethodAnswer;
use crate::hub::Hub;

/// The answer of the device, with its payload as the device wrote it, or `null` if it wrote no payload.
#[derive(Serialize)]
struct MethodResult<'a> {
    status: i32,
    payload: Option<&'a RawValue>,
}

pub(super) async fn post(
    State(hub): State<Hub>,
    IdentityOfPath(id): IdentityOfPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, CallError> {
    let call = method_json::parse(&json_body(&headers, body).await?)?.logged(&id);
    let MethodAnswer { status, payload } = hub.call_method(&id, call).await?;
    // It was checked when it came: it is JSON or empty.
    Ok(json(StatusCode::OK, &MethodResult { status, payload: serde_json::from_slice(&payload).ok() }))
}
