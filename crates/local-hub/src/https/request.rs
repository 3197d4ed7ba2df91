//! This file reads the parts of a request that many routes need: the API version, the device of the path,
//! `If-Match`, the body. `router` and the routes call it.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path};
use axum::http::header::{CONTENT_TYPE, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use bytes::BytesMut;
use futures_util::StreamExt as _;
use iothub_models::{DeviceId, ErrorCode, Identity};
use percent_encoding::percent_decode_str;

use super::error::ApiError;
use crate::core::lease::LockToken;
use crate::core::refusal::Precondition;
use crate::hub::Hub;

/// The largest number of bytes in the body of a request. The limit is ours: the largest body that the service takes is smaller.
pub(super) const BODY_BYTES: usize = 1024 * 1024;

/// The number of bytes that are still read of a body that is too long, so that its sender finishes and reads the
/// answer.
const DRAINED_BYTES: usize = 16 * BODY_BYTES;

/// The longest time that a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The first version of the service's interface.
const OLDEST_API_VERSION: &str = "2016-02-03";

/// Checks that a request has an `api-version` that the service could know: `YYYY-MM-DD`, with or without
/// `-preview`, not before the oldest. All versions are served alike.
pub(super) fn check_api_version(uri: &Uri) -> Result<(), ApiError> {
    let value = query(uri, "api-version");
    let date = value.as_deref().map(|text| text.strip_suffix("-preview").unwrap_or(text));
    match date {
        Some(date)
            if date.len() == 10
                && date.parse::<jiff::civil::Date>().is_ok()
                && date >= OLDEST_API_VERSION =>
        {
            Ok(())
        }
        Some(_) => Err(ApiError::new(
            ErrorCode::InvalidProtocolVersion,
            format!("api-version: a date from {OLDEST_API_VERSION} on is expected, such as 2021-04-12"),
        )),
        None => Err(ApiError::new(ErrorCode::InvalidProtocolVersion, "api-version is missing in the query")),
    }
}

/// Returns the first value of a name in the query, decoded.
pub(super) fn query<'u>(uri: &'u Uri, name: &str) -> Option<Cow<'u, str>> {
    uri.query()?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        key.eq_ignore_ascii_case(name).then(|| percent_decode_str(value).decode_utf8_lossy())
    })
}

/// The device that a path names.
#[derive(Debug)]
pub(super) struct DeviceOfPath(pub(super) DeviceId);

/// The identity that a path names: a device, or a module of one.
#[derive(Debug)]
pub(super) struct IdentityOfPath(pub(super) Identity);

impl<S: Send + Sync> FromRequestParts<S> for DeviceOfPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let segments = segments(parts, state).await?;
        // What follows may be a lock token.
        Ok(Self(identity(segments.get(..1).unwrap_or_default())?.device))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdentityOfPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Ok(Self(identity(&segments(parts, state).await?)?))
    }
}

async fn segments<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Vec<String>, ApiError> {
    match Path::<Vec<String>>::from_request_parts(parts, state).await {
        Ok(Path(segments)) => Ok(segments),
        Err(error) => Err(ApiError::new(ErrorCode::ArgumentInvalid, error.body_text())),
    }
}

fn identity(segments: &[String]) -> Result<Identity, ApiError> {
    let invalid = |text: String| ApiError::new(ErrorCode::ArgumentInvalid, text);
    let mut segments = segments.iter();
    let device = segments.next().ok_or_else(|| invalid("the path names no device".to_owned()))?;
    let device = device.parse().map_err(|error| invalid(format!("device id: {error}")))?;
    let module = segments.next().map(|module| module.parse()).transpose();
    let module = module.map_err(|error| invalid(format!("module id: {error}")))?;
    Ok(Identity { device, module })
}

/// Returns the precondition of the request. ETags come quoted from most clients and bare from some, and so does
/// the wildcard.
pub(super) fn precondition(headers: &HeaderMap) -> Result<Precondition, ApiError> {
    let Some(header) = headers.get(IF_MATCH) else { return Ok(Precondition::None) };
    let Ok(text) = header.to_str() else {
        return Err(ApiError::new(ErrorCode::ArgumentInvalid, "If-Match is not ASCII text"));
    };
    let text = text.trim();
    let text = text.strip_prefix("W/").unwrap_or(text);
    let etag = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    Ok(if etag == "*" { Precondition::Exists } else { Precondition::Etag(etag.to_owned()) })
}

/// Returns the lock token that ends the path, which `If-Match` repeats if it is given. A text that is no token
/// is a lock that nobody holds.
pub(super) fn lock_token(path: &[String], headers: &HeaderMap) -> Result<LockToken, ApiError> {
    let text = path.last().map_or("", String::as_str);
    if let Precondition::Etag(etag) = precondition(headers)?
        && !etag.eq_ignore_ascii_case(text)
    {
        let text = "the lock token in If-Match is not that of the path";
        return Err(ApiError::new(ErrorCode::PreconditionFailed, text));
    }
    let lost = || ApiError::new(ErrorCode::DeviceMessageLockLost, "the path does not end with a lock token");
    LockToken::parse(text).ok_or_else(lost)
}

/// Returns the media type of a request's body in lower case, without its parameters; `None` if the request does
/// not give one. Source: RFC 9110, section 8.3.1.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = String::from_utf8_lossy(headers.get(CONTENT_TYPE)?.as_bytes());
    let media_type = text.split(';').next().unwrap_or_default();
    Some(media_type.trim().to_ascii_lowercase())
}

/// Returns whether a media type, in lower case, is JSON or a format that is written in JSON.
fn is_json(media_type: &str) -> bool {
    let subtype = media_type.split_once('/').map_or("", |(_, subtype)| subtype);
    subtype == "json" || subtype.ends_with("+json") || subtype.ends_with(".json")
}

/// Returns the whole body of a request whose content type says JSON, or which has no content type. It may share the
/// connection's read buffer, as that of [`body`] may.
pub(super) async fn json_body(headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    if media_type(headers).is_some_and(|media_type| !is_json(&media_type)) {
        return Err(ApiError::new(
            ErrorCode::GenericUnsupportedMediaType,
            "the body must be JSON: Content-Type: application/json; charset=utf-8",
        ));
    }
    self::body(body).await
}

/// The number of bytes above which a body is parsed on a thread of its own: a megabyte of small values takes over
/// ten milliseconds.
const PARSED_IN_PLACE: usize = 64 * 1024;

/// Returns what `parse` reads in a body. A large body is parsed on another thread, where it holds up no task; a
/// shutdown waits for it.
pub(super) async fn parsed<B, T, E>(
    hub: &Hub,
    body: B,
    parse: impl FnOnce(&[u8]) -> Result<T, E> + Send + 'static,
) -> Result<T, ApiError>
where
    B: AsRef<[u8]> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
    ApiError: From<E>,
{
    if body.as_ref().len() <= PARSED_IN_PLACE {
        return Ok(parse(body.as_ref())?);
    }
    let parsing = hub.lifecycle().intake().spawn_blocking(move || parse(body.as_ref()));
    match parsing.await {
        Ok(parsed) => Ok(parsed?),
        // The task panicked, or the runtime ends.
        Err(_) => Err(ApiError::new(ErrorCode::ServerError, "the body could not be read")),
    }
}

/// Returns the whole body of a request, whatever its type is. A body that came in one piece is a part of the
/// connection's read buffer and keeps all of it alive: the caller drops it with the request, or uses [`kept_body`].
pub(super) async fn body(body: Body) -> Result<Bytes, ApiError> {
    in_time(body, Memory::Shared).await
}

/// Returns the whole body of a request, whatever its type is, in memory of its own. This is for a body that outlives
/// its request.
pub(super) async fn kept_body(body: Body) -> Result<Bytes, ApiError> {
    in_time(body, Memory::Own).await
}

/// The memory that a body is returned in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    /// The connection's read buffer if the body came in one piece, otherwise its own.
    Shared,
    Own,
}

async fn in_time(body: Body, memory: Memory) -> Result<Bytes, ApiError> {
    match tokio::time::timeout(BODY_TIMEOUT, collect(body, memory)).await {
        Ok(collected) => collected,
        Err(_) => Err(ApiError::new(ErrorCode::GenericBadRequest, "the body did not arrive in time")),
    }
}

async fn collect(body: Body, memory: Memory) -> Result<Bytes, ApiError> {
    let mut stream = body.into_data_stream();
    // The only piece, until there is a second one, with which it is joined.
    let mut only = Bytes::new();
    let mut joined = BytesMut::new();
    let mut received = 0_usize;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk
            .map_err(|_| ApiError::new(ErrorCode::GenericBadRequest, "the body broke off before its end"))?;
        let is_first = received == 0;
        received = received.saturating_add(chunk.len());
        if received > DRAINED_BYTES {
            break;
        } else if received > BODY_BYTES {
            // Read and dropped, so that the sender finishes.
        } else if is_first && memory == Memory::Shared {
            only = chunk;
        } else {
            joined.extend_from_slice(&std::mem::take(&mut only));
            joined.extend_from_slice(&chunk);
        }
    }
    if received > BODY_BYTES {
        let text = format!("the body is too long: at most {BODY_BYTES} bytes are taken");
        return Err(ApiError::new(ErrorCode::MessageTooLarge, text));
    }
    Ok(if joined.is_empty() { only } else { joined.freeze() })
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn a_body_is_shared_if_it_came_in_one_piece_and_joined_otherwise() {
        let sent = |pieces: &[&Bytes]| {
            let pieces: Vec<_> =
                pieces.iter().map(|piece| Ok::<_, std::io::Error>(Bytes::clone(piece))).collect();
            Body::from_stream(stream::iter(pieces))
        };
        let (none, a, b) = (Bytes::new(), Bytes::from(vec![b'a'; 9]), Bytes::from(vec![b'b'; 9]));
        for pieces in [&[&a][..], &[&none, &a]] {
            let (shared, own) = (body(sent(pieces)).await.unwrap(), kept_body(sent(pieces)).await.unwrap());
            assert_eq!((&shared, &own), (&a, &a));
            assert!(shared.as_ptr() == a.as_ptr() && own.as_ptr() != a.as_ptr());
        }
        for read in [body(sent(&[&a, &b])).await, kept_body(sent(&[&a, &none, &b])).await] {
            assert_eq!(read.unwrap(), "aaaaaaaaabbbbbbbbb");
        }
        assert!(body(sent(&[])).await.unwrap().is_empty());
        let large = Bytes::from(vec![0; BODY_BYTES]);
        assert_eq!(body(sent(&[&large])).await.unwrap().len(), BODY_BYTES);
        assert_eq!(body(sent(&[&large, &a])).await.unwrap_err().code(), ErrorCode::MessageTooLarge);
    }

    #[test]
    fn every_version_a_client_sends_is_taken_and_no_nonsense() {
        let check = |query: &str| check_api_version(&format!("/devices{query}").parse().unwrap());
        for good in [
            "2016-02-03",
            "2016-04-30",
            "2016-08-30",
            "2016-11-14",
            "2018-06-30",
            "2019-10-01",
            "2020-09-30",
            "2021-04-12",
            "2024-03-31",
            "2020-05-31-preview",
            "2021%2D04%2D12",
        ] {
            assert!(check(&format!("?top=1&api-version={good}")).is_ok(), "{good}");
        }
        for bad in [
            "",
            "?top=1",
            "?api-version=",
            "?api-version=1",
            "?api-version=2015-01-01",
            "?api-version=2016-02-02",
            "?api-version=2021-99-99",
        ] {
            assert_eq!(check(bad).unwrap_err().code(), ErrorCode::InvalidProtocolVersion, "{bad}");
        }
    }

    #[test]
    fn a_media_type_is_read_without_its_parameters_and_case() {
        let of = |text: &str| media_type(&[(CONTENT_TYPE, text.parse().unwrap())].into_iter().collect());
        for json in [
            "application/json",
            "Application/JSON;charset=utf-8",
            " application/json ; charset=\"utf-8\"; v=1",
            "application/json-patch+json",
            "text/json",
            "application/vnd.microsoft.iothub.json",
        ] {
            assert!(is_json(&of(json).unwrap()), "{json}");
        }
        for other in
            ["", "json", "text/plain; a=application/json", "application/jsonx", "application/xjson", ";json"]
        {
            assert!(!is_json(&of(other).unwrap()), "{other}");
        }
        assert_eq!(media_type(&HeaderMap::new()), None);
    }

    #[test]
    fn etags_and_wildcards_come_quoted_and_bare() {
        let of =
            |text: &str| precondition(&[(IF_MATCH, text.parse().unwrap())].into_iter().collect()).unwrap();
        assert_eq!(precondition(&HeaderMap::new()).unwrap(), Precondition::None);
        for wildcard in ["*", "\"*\""] {
            assert_eq!(of(wildcard), Precondition::Exists);
        }
        for etag in ["MQ==", "\"MQ==\"", "W/\"MQ==\""] {
            assert_eq!(of(etag), Precondition::Etag("MQ==".into()));
        }
    }
}
