//! This file reads from the decoded `sr` of a SAS token what the token is for, and compares it segment by segment.
//!
//! `sas_token` hands the text over once it is decoded; a hub asks whether the scope covers a resource.

/// The resource a SAS token opens: a host, and the path below it.
///
/// `/devices/a` covers `/devices/a/messages` and not `/devices/ab`. The host is compared without
/// regard to case and without its port; segments of the path are compared to the character, and never decoded a
/// second time: `/devices/dev%31` is for the device with that id, and not for `dev1`.
/// Source: *Control access to IoT Hub using shared access signatures*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SasScope {
    host: String,
    segments: Vec<String>,
}

impl SasScope {
    /// Reads an `sr` after percent decoding. A scheme, a port and empty segments are dropped.
    #[must_use]
    pub fn parse(decoded: &str) -> Self {
        // Only the beginning can be a scheme: `host/devices/x://host` names a device, whatever its id is.
        let text = match decoded.split_once("://") {
            Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => rest,
            _ => decoded,
        };
        let mut parts = text.split('/').filter(|part| !part.is_empty());
        let authority = parts.next().unwrap_or_default();
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if is_host(host) && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        };
        let segments = parts.map(str::to_owned).collect();
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

    /// Returns whether the token opens the resource with these path segments, on its own host.
    #[must_use]
    pub fn covers(&self, path: &[&str]) -> bool {
        self.segments.len() <= path.len() && self.segments.iter().zip(path).all(|(own, other)| own == other)
    }
}

/// Returns whether the text before a last colon is a whole host, so that a port follows: an IPv6 address with colons
/// of its own stands in brackets then.
fn is_host(text: &str) -> bool {
    !text.is_empty() && (!text.contains(':') || text.ends_with(']'))
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
        for text in ["Hub.Example/devices/a", "hub.example:8443/devices/a", "https://hub.example/devices/a/"]
        {
            let scope = SasScope::parse(text);
            assert_eq!(
                (scope.host(), scope.segments()),
                ("hub.example", &["devices".into(), "a".into()][..])
            );
        }
        assert_eq!(SasScope::parse("").host(), "");
        for (text, host) in
            [("::1/devices/a", "::1"), ("[::1]:8883/devices/a", "[::1]"), ("FE80::1:2", "fe80::1:2")]
        {
            assert_eq!(SasScope::parse(text).host(), host);
        }
    }

    #[test]
    fn segments_are_compared_to_the_character() {
        for (text, device) in [
            ("h/devices/dev%31", "dev1"),
            ("h/devices/a%25b", "a%b"),
            ("h/devices/a%3Ab", "a:b"),
            ("h/devices/a/api-version=2016-11-14", "a"),
            ("h/api-version=2016-11-14/devices/a", "a"),
            ("h/devices/x://h/devices/a", "a"),
            ("h/devices/x://h", "a"),
        ] {
            assert!(!SasScope::parse(text).covers(&["devices", device]), "{text}");
        }
        let versioned = SasScope::parse("h/devices/api-version=x");
        assert!(versioned.covers(&["devices", "api-version=x"]) && !versioned.covers(&["devices"]));
    }
}
