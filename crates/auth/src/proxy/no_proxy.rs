//! This file reads `NO_PROXY`, the list of hosts that are reached without a proxy. `proxy/setting.rs` asks it.

use std::net::IpAddr;

/// Returns whether a list of `NO_PROXY` has this host and port. Its entries are separated by commas or spaces: a
/// name, which stands for the names below it too, an IP address, a network such as `10.0.0.0/8`, each with `:port` or
/// without, and `*` for every host.
pub(super) fn is_exempt(list: &str, host: &str, port: u16) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let address = host.parse::<IpAddr>().ok();
    list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        let (name, only_port) = name_and_port(&entry);
        let fits = name == "*"
            || match address {
                Some(address) => is_in_network(address, name),
                None => is_at_or_below(&host, name),
            };
        fits && only_port.is_none_or(|only| only == port)
    })
}

/// Returns an entry without its port and its brackets, and the port.
fn name_and_port(entry: &str) -> (&str, Option<u16>) {
    if let Some((address, rest)) = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match entry.split_once(':') {
        // With a second colon it is an IPv6 address.
        Some((name, port)) if !port.contains(':') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    }
}

fn is_at_or_below(host: &str, name: &str) -> bool {
    let name =
        name.strip_prefix("*.").or_else(|| name.strip_prefix('.')).unwrap_or(name).trim_end_matches('.');
    match host.strip_suffix(name) {
        Some(before) => !name.is_empty() && (before.is_empty() || before.ends_with('.')),
        None => false,
    }
}

fn is_in_network(address: IpAddr, entry: &str) -> bool {
    let (network, length) = match entry.split_once('/') {
        Some((network, length)) => match length.parse::<u32>() {
            Ok(length) => (network, Some(length)),
            Err(_) => return false,
        },
        None => (entry, None),
    };
    match (address, network.parse()) {
        (IpAddr::V4(address), Ok(IpAddr::V4(network))) => {
            let length = length.unwrap_or(u32::BITS);
            let shift = u32::BITS.checked_sub(length);
            shift.is_some_and(|shift| {
                (address.to_bits() ^ network.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            })
        }
        (IpAddr::V6(address), Ok(IpAddr::V6(network))) => {
            let length = length.unwrap_or(u128::BITS);
            let shift = u128::BITS.checked_sub(length);
            shift.is_some_and(|shift| {
                (address.to_bits() ^ network.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_names_below_them() {
        for list in ["example.com", ".example.com", "*.example.com", "a, EXAMPLE.com", "x example.com", "*"] {
            for host in ["example.com", "hub.example.com", "Hub.Example.Com."] {
                assert!(is_exempt(list, host, 443), "{list} {host}");
            }
            assert!(!is_exempt("example.com", "notexample.com", 443));
        }
        for list in ["", ",", ".", "*.", "example.org", "com.example"] {
            assert!(!is_exempt(list, "example.com", 443), "{list}");
        }
    }

    #[test]
    fn a_port_narrows_an_entry() {
        assert!(is_exempt("hub:8883,x", "hub", 8883) && !is_exempt("hub:8883", "hub", 443));
        assert!(is_exempt("[::1]:5", "::1", 5) && !is_exempt("[::1]:5", "::1", 6));
        assert!(!is_exempt("hub:port", "hub", 443));
    }

    #[test]
    fn addresses_are_compared_as_numbers_and_within_networks() {
        for (list, host) in [
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.0/8", "10.255.0.1"),
            ("0.0.0.0/0", "1.2.3.4"),
            ("10.0.0.1/32", "10.0.0.1"),
            ("0:0:0:0:0:0:0:1", "::1"),
            ("fd00::/8", "fd12::1"),
            ("::/0", "fd12::1"),
        ] {
            assert!(is_exempt(list, host, 443), "{list} {host}");
        }
        for (list, host) in [
            ("10.0.0.1", "10.0.0.2"),
            ("10.0.0.0/8", "11.0.0.1"),
            ("10.0.0.0/33", "10.0.0.0"),
            ("10.0.0.0/x", "10.0.0.0"),
            ("10.0.0.0/8", "::1"),
            ("fd00::/8", "fe00::1"),
            ("0.0.1", "10.0.0.1"),
        ] {
            assert!(!is_exempt(list, host, 443), "{list} {host}");
        }
    }
}
