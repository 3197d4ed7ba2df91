//! This file serves `/devices/query`, to which `router` leads: it answers queries, page by page.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use iothub_models::ErrorCode;

use super::error::{ApiError, JSON};
use super::json_object::{root, text, whole_number_in};
use super::passed_over::PassedOver;
use super::request::{json_body, parsed};
use crate::core::limits::QUERY_PAGE;
use crate::hub::Hub;

const CONTINUATION: HeaderName = HeaderName::from_static("x-ms-continuation");
const ITEM_TYPE: HeaderName = HeaderName::from_static("x-ms-item-type");
const MAX_ITEM_COUNT: HeaderName = HeaderName::from_static("x-ms-max-item-count");

/// The number of items on a page if the request does not say. Source: *Azure IoT Hub query language*.
const DEFAULT_PAGE: usize = 100;

pub(super) async fn post(
    State(hub): State<Hub>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let most = page_size(&headers)?;
    let body = parsed(&hub, json_body(&headers, body).await?, root).await?;
    let Some(query) = text(&body, "query")? else {
        return Err(ApiError::new(ErrorCode::ArgumentNull, "query is missing"));
    };
    let mut passed_over = PassedOver::default();
    passed_over.note(&body, "", &["query"], &[]);
    passed_over.log(&"devices/query");
    let continuation = match headers.get(CONTINUATION).map(HeaderValue::to_str) {
        None => None,
        Some(Ok(token)) => Some(token).filter(|token| !token.is_empty()),
        Some(Err(_)) => {
            return Err(ApiError::new(ErrorCode::ArgumentInvalid, "x-ms-continuation is not ASCII text"));
        }
    };
    let page = hub.query(query, most, continuation).await?;
    let mut response = (
        StatusCode::OK,
        [(CONTENT_TYPE, JSON), (ITEM_TYPE, HeaderValue::from_static(page.item_type))],
        page.json,
    )
        .into_response();
    // On the last page there is no such header: an empty one makes two official clients ask for ever.
    if let Some(Ok(token)) = page.continuation.map(HeaderValue::try_from) {
        response.headers_mut().insert(CONTINUATION, token);
    }
    Ok(response)
}

fn page_size(headers: &HeaderMap) -> Result<usize, ApiError> {
    let Some(header) = headers.get(MAX_ITEM_COUNT) else { return Ok(DEFAULT_PAGE) };
    let size = header.to_str().ok().and_then(whole_number_in).and_then(|size| usize::try_from(size).ok());
    size.filter(|size| (1..=QUERY_PAGE).contains(size)).ok_or_else(|| {
        let text = format!("x-ms-max-item-count: a number from 1 to {QUERY_PAGE} is expected");
        ApiError::new(ErrorCode::ArgumentInvalid, text)
    })
}
