//! AMQP addresses of the hub: which node a link names, and which device a message is for.
//!
//! Clients write the same node as `/messages/devicebound`, `messages/deviceBound/` or
//! `amqps://host:5671/messages/devicebound`: scheme, authority, outer slashes and case do not count.

use iothub_models::DeviceId;
use percent_encoding::percent_decode_str;

/// A node of the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// `$cbs`: tokens are put here, and answered.
    Cbs,
    /// `/messages/devicebound`: cloud-to-device messages go in here.
    DeviceBound,
}

impl Node {
    /// The node with this address, if the hub has it.
    pub(super) fn parse(address: &str) -> Option<Self> {
        let path = path(address);
        if path.eq_ignore_ascii_case("$cbs") {
            Some(Self::Cbs)
        } else if path.eq_ignore_ascii_case("messages/devicebound") {
            Some(Self::DeviceBound)
        } else {
            None
        }
    }
}

/// The device ids that the `to` of a message may mean, the likelier first.
///
/// The official Node and .NET clients percent-encode the id and the Python client does not, so an
/// id with a `%` of its own can be read in two ways. `None` if `to` is no device's address.
pub(super) fn recipients(to: &str) -> Option<impl Iterator<Item = DeviceId>> {
    let mut segments = path(to).split('/');
    let (devices, id) = (segments.next()?, segments.next()?);
    let (messages, bound) = (segments.next()?, segments.next()?);
    if segments.next().is_some()
        || !devices.eq_ignore_ascii_case("devices")
        || !messages.eq_ignore_ascii_case("messages")
        || !bound.eq_ignore_ascii_case("devicebound")
    {
        return None;
    }
    let decoded = percent_decode_str(id).decode_utf8().ok().and_then(|id| id.parse::<DeviceId>().ok());
    let raw = id.parse::<DeviceId>().ok().filter(|raw| decoded.as_ref() != Some(raw));
    Some(decoded.into_iter().chain(raw))
}

fn path(address: &str) -> &str {
    let path = match address.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_authority, path)| path),
        None => address,
    };
    path.trim_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_address_names_the_same_node() {
        for address in [
            "/messages/devicebound",
            "/messages/deviceBound",
            "messages/devicebound/",
            "amqps://localhost/messages/devicebound",
            "amqps://localhost:5671/messages/deviceBound",
        ] {
            assert_eq!(Node::parse(address), Some(Node::DeviceBound), "{address}");
        }
        for address in ["$cbs", "$CBS", "amqps://h/$cbs"] {
            assert_eq!(Node::parse(address), Some(Node::Cbs), "{address}");
        }
        for address in
            ["", "/", "amqps://h", "messages", "messages/devicebound/x", "messages/events", "$cbs2"]
        {
            assert_eq!(Node::parse(address), None, "{address}");
        }
    }

    fn ids(to: &str) -> Option<Vec<String>> {
        recipients(to).map(|ids| ids.map(String::from).collect())
    }

    #[test]
    fn a_message_is_for_the_device_in_its_address() {
        assert_eq!(ids("/devices/d1/messages/devicebound").unwrap(), ["d1"]);
        assert_eq!(ids("devices/d1/messages/deviceBound/").unwrap(), ["d1"]);
        // Encoded by Node and .NET, as it is by Python.
        assert_eq!(ids("/devices/a%3Ab/messages/devicebound").unwrap(), ["a:b", "a%3Ab"]);
        assert_eq!(ids("/devices/a:b/messages/devicebound").unwrap(), ["a:b"]);
        assert_eq!(ids("/devices/100%/messages/devicebound").unwrap(), ["100%"]);
    }

    #[test]
    fn what_is_no_device_s_address_is_refused() {
        for to in [
            "",
            "/devices",
            "/devices/d/messages/events",
            "/devices/d/modules/m/messages/deviceBound",
            "x/d/messages/devicebound",
        ] {
            assert_eq!(ids(to), None, "{to}");
        }
        assert_eq!(ids("/devices/a%2Fb/messages/devicebound").unwrap(), ["a%2Fb"]);
        assert!(ids("/devices/ä/messages/devicebound").unwrap().is_empty());
    }
}
