//! This file defines the version of a resource that a write is meant for.

/// The state a resource must be in for a write to happen, as `If-Match` says it.
///
/// ```no_run
/// # async fn example(client: iothub_rest_service::ServiceClient) -> Result<(), Box<dyn std::error::Error>> {
/// use iothub_rest_service::{Precondition, TwinPatch};
///
/// let device = "my-device".parse()?;
/// let twin = client.twins().get(&device).await?;
/// let patch = TwinPatch::new().tag("plant", "Redmond43");
/// // Refused if somebody else wrote to the twin meanwhile.
/// client.twins().patch(&device, &patch, Precondition::IfMatch(twin.etag)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Any: write whatever others wrote meanwhile.
    Any,
    /// The one with this ETag, with or without quotes; if the resource has changed since, the hub
    /// refuses with [`PreconditionFailed`](crate::ErrorKind::PreconditionFailed).
    IfMatch(String),
}

impl Precondition {
    /// The header's value, quoted; `None` if the text cannot be an ETag.
    pub(crate) fn header(&self) -> Option<String> {
        let etag = match self {
            Self::Any => return Some("\"*\"".to_owned()),
            Self::IfMatch(etag) => etag.trim(),
        };
        let etag = etag.strip_prefix("W/").unwrap_or(etag);
        let etag = etag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(etag);
        // `*` asks for no check at all: whoever wants that says `Any`.
        let valid =
            !etag.is_empty() && etag != "*" && etag.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
        valid.then(|| format!("\"{etag}\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_are_quoted_once() {
        for (etag, header) in [
            ("MA==", Some("\"MA==\"")),
            ("\"MA==\"", Some("\"MA==\"")),
            ("W/\"MA==\"", Some("\"MA==\"")),
            ("", None),
            ("\"\"", None),
            ("*", None),
            ("a\"b", None),
            ("a b", None),
            ("a\r\nHost: b", None),
        ] {
            assert_eq!(Precondition::IfMatch(etag.to_owned()).header().as_deref(), header, "{etag:?}");
        }
        assert_eq!(Precondition::Any.header().as_deref(), Some("\"*\""));
    }
}
