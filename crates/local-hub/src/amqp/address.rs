//! AMQP addresses of the hub: which node a link names, and which device a message is for.
//!
//! Clients write the same node as `/messages/devicebound`, `messages/deviceBound/` or
//! `amqps://host:5671/messages/devicebound`: scheme, authority, outer slashes and case do not count.

use iothub_models::DeviceId;
use percent_encoding::percent_decode_str;

/// A node of the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// `$cbs`: tokens are put here, and answered.
    Cbs,
    /// `/messages/devicebound`: cloud-to-device messages go in here.
    DeviceBound,
    /// `/messages/servicebound/feedback`: what became of them comes out here.
    Feedback,
    /// `/messages/events`, and what follows it: events are read elsewhere.
    Events(String),
    /// `$management`, bare or below an event hub: what there is to read.
    Management,
    /// A partition of an event hub: events come out here.
    Partition(PartitionAddress),
}

/// `{event hub}/ConsumerGroups/{group}/Partitions/{id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartitionAddress {
    pub(super) event_hub: String,
    pub(super) group: String,
    pub(super) partition: String,
}

impl PartitionAddress {
    fn parse(path: &str) -> Option<Self> {
        let mut segments = path.split('/');
        let event_hub = segments.next()?;
        let groups = segments.next()?;
        let group = segments.next()?;
        let partitions = segments.next()?;
        let partition = segments.next()?;
        let fits = segments.next().is_none()
            && groups.eq_ignore_ascii_case("ConsumerGroups")
            && partitions.eq_ignore_ascii_case("Partitions");
        let decoded = |text| percent_decode_str(text).decode_utf8().ok().map(String::from);
        fits.then_some(())?;
        Some(Self { event_hub: decoded(event_hub)?, group: decoded(group)?, partition: decoded(partition)? })
    }

    /// The address segment by segment, as tokens are scoped.
    pub(super) fn path(&self) -> [String; 5] {
        let Self { event_hub, group, partition } = self.clone();
        [event_hub, "ConsumerGroups".to_owned(), group, "Partitions".to_owned(), partition]
    }
}

impl Node {
    /// The node with this address, if the hub has it.
    pub(super) fn parse(address: &str) -> Option<Self> {
        let path = path(address);
        if path.eq_ignore_ascii_case("$cbs") {
            Some(Self::Cbs)
        } else if path.eq_ignore_ascii_case("messages/devicebound") {
            Some(Self::DeviceBound)
        } else if path.eq_ignore_ascii_case("messages/servicebound/feedback") {
            Some(Self::Feedback)
        } else if let Some(suffix) = events_suffix(address) {
            Some(Self::Events(suffix.to_owned()))
        } else if let Some(partition) = PartitionAddress::parse(path) {
            Some(Self::Partition(partition))
        } else {
            let last = path.rsplit('/').next().unwrap_or_default();
            last.eq_ignore_ascii_case("$management").then_some(Self::Management)
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

/// The first segment below the host of what a token is put for, if there is one: `{event hub}` of
/// `sb://host/{event hub}/ConsumerGroups/…`.
pub(super) fn audience_entity(audience: &str) -> Option<&str> {
    let rest = audience.split_once("://").map_or(audience, |(_, rest)| rest);
    let (_host, path) = rest.split_once('/')?;
    path.split('/').next().filter(|entity| !entity.is_empty())
}

/// What follows `messages/events`, to the character.
fn events_suffix(address: &str) -> Option<&str> {
    const EVENTS: &str = "messages/events";
    let path = below_authority(address).trim_start_matches('/');
    let (events, suffix) = path.split_at_checked(EVENTS.len())?;
    (events.eq_ignore_ascii_case(EVENTS) && (suffix.is_empty() || suffix.starts_with('/'))).then_some(suffix)
}

fn path(address: &str) -> &str {
    below_authority(address).trim_matches('/')
}

fn below_authority(address: &str) -> &str {
    match address.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |slash| &rest[slash..]),
        None => address,
    }
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
        for address in ["/messages/servicebound/feedback", "amqps://h:5671/messages/serviceBound/Feedback"] {
            assert_eq!(Node::parse(address), Some(Node::Feedback), "{address}");
        }
        for address in ["$cbs", "$CBS", "amqps://h/$cbs"] {
            assert_eq!(Node::parse(address), Some(Node::Cbs), "{address}");
        }
        for address in [
            "",
            "/",
            "amqps://h",
            "messages",
            "messages/devicebound/x",
            "messages/events2",
            "$cbs2",
            "h/ConsumerGroups/g",
        ] {
            assert_eq!(Node::parse(address), None, "{address}");
        }
    }

    #[test]
    fn the_nodes_of_events_are_known_in_every_form() {
        for (address, suffix) in [
            ("messages/events", ""),
            ("/messages/events/", "/"),
            ("amqps://h:5671/Messages/Events/$management", "/$management"),
            ("messages/events/ConsumerGroups/$Default/Partitions/0", "/ConsumerGroups/$Default/Partitions/0"),
        ] {
            assert_eq!(Node::parse(address), Some(Node::Events(suffix.to_owned())), "{address}");
        }
        for address in ["$management", "hub/$management", "amqps://h:5671/hub/$Management"] {
            assert_eq!(Node::parse(address), Some(Node::Management), "{address}");
        }
        for address in [
            "hub/ConsumerGroups/$Default/Partitions/3",
            "/hub/consumergroups/$Default/partitions/3/",
            "amqps://h/hub/ConsumerGroups/%24Default/Partitions/3",
        ] {
            let Some(Node::Partition(partition)) = Node::parse(address) else { panic!("{address}") };
            assert_eq!(partition.path(), ["hub", "ConsumerGroups", "$Default", "Partitions", "3"]);
        }
    }

    #[test]
    fn a_token_is_put_for_a_hub_or_for_what_is_below_it() {
        for audience in ["localhost", "https://localhost", "amqps://localhost:5671/", ""] {
            assert_eq!(audience_entity(audience), None, "{audience}");
        }
        for audience in ["sb://h/hub", "sb://h:5672/hub/$management", "amqps://h/hub/ConsumerGroups/g"] {
            assert_eq!(audience_entity(audience), Some("hub"), "{audience}");
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
