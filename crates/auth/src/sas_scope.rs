//! What a SAS token is for: the decoded `sr`, compared segment by segment.

use percent_encoding::percent_decode_str;

/// The resource a SAS token opens: a host, and the path below it.
///
/// `/devices/a` covers `/devices/a/messages` and not `/devices/ab`. The host is compared without
/// regard to case and without its port; ids in the path are case-sensitive.
/// Source: *Control access to IoT Hub using shared access signatures*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SasScope {
    host: String,
    segments: Vec<String>,
}

impl SasScope {
    /// Takes an `sr` after percent decoding. A scheme, a port, empty segments and the
    /// `api-version=…` segment that old token generators append are dropped.
    #[must_use]
    pub fn parse(decoded: &str) -> Self {
        let text = decoded.split_once("://").map_or(decoded, |(_, rest)| rest);
        let mut parts = text.split('/').filter(|part| !part.is_empty());
        let authority = parts.next().unwrap_or_default();
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        };
        let segments = parts.filter(|part| !part.starts_with("api-version=")).map(str::to_owned).collect();
        Self { host: host.to_ascii_lowercase(), segments }
    }

    /// The host, in lower case.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path below the host, segment by segment.
    #[must_use]
    pub fn segments(&self) -> &[String] {
        &self.segments
    }

    /// Whether the token opens the resource with these path segments, on its own host.
    ///
    /// Some clients encode an id before they encode the whole, so a segment also matches after one
    /// more decoding.
    #[must_use]
    pub fn covers(&self, path: &[&str]) -> bool {
        self.segments.len() <= path.len()
            && self.segments.iter().zip(path).all(|(own, other)| {
                own == other || percent_decode_str(own).decode_utf8().is_ok_and(|text| text == *other)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_by_whole_segments() {
        let device = SasScope::parse("hub.example/devices/a");
        assert!(device.covers(&["devices", "a"]));
        assert!(device.covers(&["devices", "a", "messages", "events"]));
        for other in [&["devices", "ab"][..], &["devices"], &["devices", "A"], &["twins", "a"], &[]] {
            assert!(!device.covers(other), "{other:?}");
        }
        assert!(SasScope::parse("hub.example").covers(&["devices", "a"]));
        assert!(SasScope::parse("hub.example/devices").covers(&["devices", "a"]));
    }

    #[test]
    fn reads_every_form_seen_on_the_wire() {
        for text in [
            "Hub.Example/devices/a",
            "hub.example:8443/devices/a",
            "https://hub.example/devices/a/",
            "hub.example/devices/a/api-version=2016-11-14",
        ] {
            let scope = SasScope::parse(text);
            assert_eq!(
                (scope.host(), scope.segments()),
                ("hub.example", &["devices".into(), "a".into()][..])
            );
        }
        assert!(SasScope::parse("h/devices/a%25b").covers(&["devices", "a%b"]));
        assert_eq!(SasScope::parse("").host(), "");
    }
}
