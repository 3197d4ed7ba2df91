//! This file writes a value as the JSON body of a message, for the messages of devices and of back ends alike.

use serde::Serialize;

/// A value that cannot be the body of a message, because it has no form in JSON: a map whose keys are not
/// text, for example. The [source](std::error::Error::source) is the serializer's own reason.
#[derive(Debug, thiserror::Error)]
#[error("the value has no form in JSON, so it cannot be the body of a message")]
pub struct InvalidBody(#[source] serde_json::Error);

/// Returns the value as JSON in UTF-8.
pub(crate) fn json_body(value: &impl Serialize) -> Result<Vec<u8>, InvalidBody> {
    serde_json::to_vec(value).map_err(InvalidBody)
}
