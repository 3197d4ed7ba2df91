//! This file serves `/digitaltwins/{id}`, to which `router` leads: it reads and patches twins as Plug and Play shows
//! them.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ETAG, HeaderValue, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use iothub_models::{
    DigitalTwin, DigitalTwinPatch, ErrorCode, InvalidDigitalTwinPatch, PatchDefect, clamp_whole_numbers,
};
use serde_json::{Map, Value};

use super::error::{ApiError, json_with_etag};
use super::passed_over::PassedOver;
use super::request::{DeviceOfPath, json_body, parsed, precondition};
use crate::hub::Hub;

pub(super) async fn get(
    State(hub): State<Hub>,
    DeviceOfPath(device): DeviceOfPath,
) -> Result<Response, ApiError> {
    let twin = hub.read(|service, now| service.twin(now, &(&device).into())).await?;
    let (twin, etag) = (DigitalTwin::from(&twin), twin.etag);
    Ok(json_with_etag(&twin, &etag))
}

pub(super) async fn patch(
    State(hub): State<Hub>,
    DeviceOfPath(device): DeviceOfPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = json_body(&headers, body).await?;
    let read = |body: &[u8]| {
        // A number beyond 64 bits stays a whole number, which the limits of twins refuse.
        let patch = DigitalTwinPatch::parse(&clamp_whole_numbers(body)).map_err(|error| refused(&error))?;
        Ok::<_, ApiError>((patch, passed_over(body)))
    };
    let (patch, passed_over) = parsed(&hub, body, read).await?;
    passed_over.log(&format_args!("the digital twin {device}"));
    let precondition = precondition(&headers)?;
    let patched = hub.commit(|service, now| service.patch_digital_twin(now, &device, &patch, &precondition));
    let twin = patched.await?;
    let location = format!("https://{}/digitaltwins/{device}", hub.config().host_names.preferred());
    let mut response = StatusCode::ACCEPTED.into_response();
    for (name, value) in [(ETAG, format!("\"{}\"", twin.etag)), (LOCATION, location)] {
        // ETags, host names and device ids are made of characters that a header takes.
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// Returns the members of the operations that mean nothing; RFC 6902 says to pass them over.
fn passed_over(body: &[u8]) -> PassedOver {
    let mut passed_over = PassedOver::default();
    // It was read as a patch before.
    for operation in serde_json::from_slice::<Vec<Map<String, Value>>>(body).unwrap_or_default() {
        let is_removal = operation.get("op").is_some_and(|op| op == "remove");
        let known: &[&str] = if is_removal { &["op", "path"] } else { &["op", "path", "value"] };
        passed_over.note(&operation, "", known, &[]);
    }
    passed_over
}

fn refused(error: &InvalidDigitalTwinPatch) -> ApiError {
    let code = match error.defect {
        PatchDefect::Json => ErrorCode::InvalidDigitalTwinJsonPatch,
        PatchDefect::Operation => ErrorCode::InvalidDigitalTwinPatch,
        PatchDefect::Path => ErrorCode::InvalidDigitalTwinPatchPath,
        PatchDefect::Value => ErrorCode::InvalidDigitalTwinPayload,
    };
    ApiError::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_operations_that_mean_nothing_are_named() {
        let body =
            br#"[{"op":"add","path":"/a","value":1,"from":"/b"},{"op":"remove","path":"/c","value":{}}]"#;
        assert_eq!(passed_over(body).names(), ["from, value", ""]);
    }
}
