//! These tests check the advice that depends on where the hub is.

use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn identity(host: &str, more: &str) -> DeviceConnectionString {
    format!("HostName={host};DeviceId=d1;SharedAccessKey=c2VjcmV0LWtleQ=={more}").parse().unwrap()
}

fn failed(transport: Transport, failure: Failure) -> ConnectFailure {
    let port = if transport == Transport::Tcp { 8883 } else { 443 };
    ConnectFailure { transport, port, failure, before: None }
}

fn closed_port(host: &str) -> String {
    let failure = Failure::Unreachable(io::Error::from_raw_os_error(111));
    connect_failed(&identity(host, ""), failed(Transport::Tcp, failure), false, NOW).to_string()
}

fn silent(host: &str) -> String {
    let failure = failed(Transport::Tcp, Failure::Timeout(Duration::from_secs(20)));
    connect_failed(&identity(host, ""), failure, false, NOW).to_string()
}

fn not_authorized(identity: &DeviceConnectionString, before: bool) -> String {
    let failure = failed(Transport::Tcp, Failure::Refused(Refusal::NotAuthorized));
    connect_failed(identity, failure, before, NOW).to_string()
}

#[test]
fn only_a_hub_elsewhere_is_behind_a_firewall() {
    for host in ["localhost", "127.0.0.1", "my-hub.localhost"] {
        for text in [closed_port(host), silent(host)] {
            assert!(text.contains(": is the hub running? `cargo xtask hub`"), "{text}");
            assert!(!text.contains("firewall"), "{text}");
        }
    }
    for text in [closed_port("hub.example"), silent("hub.example")] {
        let (hub, firewall) = (text.find("is the hub running?"), text.find("firewall"));
        assert!(hub.is_some() && hub < firewall, "{text}");
    }
    for text in [closed_port("hub.azure-devices.net"), silent("hub.azure-devices.net")] {
        assert!(text.contains("outgoing TCP port 8883") && !text.contains("cargo xtask hub"), "{text}");
    }
}

#[test]
fn a_hub_here_may_have_been_started_anew() {
    let anew =
        ": a hub that was started anew may not know this device: `iothub device create d1` registers it";
    for host in ["localhost", "127.0.0.1", "my-hub.localhost"] {
        for before in [false, true] {
            let text = not_authorized(&identity(host, ""), before);
            assert!(
                text.contains(anew) && text.contains("`iothub device connection-string show d1`"),
                "{text}"
            );
        }
    }
    let module = not_authorized(&identity("localhost", ";ModuleId=cam"), false);
    assert!(module.contains("then register its module cam"), "{module}");
    for host in ["hub.example", "hub.azure-devices.net"] {
        let text = not_authorized(&identity(host, ""), false);
        assert!(!text.contains("anew") && text.contains("unknown or disabled"), "{text}");
    }
}

#[test]
fn when_both_ways_fail_both_reasons_are_told() {
    let both = |second| {
        let first = failed(Transport::Tcp, Failure::Timeout(Duration::from_secs(10)));
        let failure =
            ConnectFailure { before: Some(Box::new(first)), ..failed(Transport::WebSocket, second) };
        let error = connect_failed(&identity("hub.azure-devices.net", ""), failure, false, NOW);
        (error.kind(), format!("{:#}", iothub_auth::Report::new(&error)))
    };
    let (kind, text) = both(Failure::Unreachable(io::Error::from_raw_os_error(111)));
    assert_eq!(kind, ErrorKind::Network);
    assert!(text.contains("port 8883 (MQTT over TLS) within 10s"), "{text}");
    assert!(text.contains("over WebSocket on port 443 it failed too"), "{text}");
    assert!(
        text.contains("nothing listens on hub.azure-devices.net port 443 (MQTT over WebSocket)"),
        "{text}"
    );
    let (kind, text) = both(Failure::Refused(Refusal::NotAuthorized));
    assert_eq!(kind, ErrorKind::NotAuthorized);
    assert!(!text.contains("8883"), "{text}");
}

#[test]
fn a_device_with_a_certificate_is_told_of_certificates_and_not_of_keys() {
    for (host, module, name) in [("hub.example", "", "d1"), ("localhost", ";ModuleId=cam", "d1/cam")] {
        let identity: DeviceConnectionString =
            format!("HostName={host};DeviceId=d1;x509=true{module}").parse().unwrap();
        let text = not_authorized(&identity, false);
        assert!(text.contains(&format!("its common name has to be {name})")), "{text}");
        assert!(!text.contains("the key is not its own"), "{text}");
        let later = not_authorized(&identity, true);
        assert!(later.contains("was accepted before, so it has expired by now"), "{later}");

        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::BadCertificate);
        let alert = || Failure::Tls(Box::new(io::Error::new(io::ErrorKind::InvalidData, alert.clone())));
        let text = connect_failed(&identity, failed(Transport::Tcp, alert()), false, NOW).to_string();
        assert!(text.contains("it probably does not take the device's certificate"), "{text}");
        let with_key = connect_failed(&self::identity(host, ""), failed(Transport::Tcp, alert()), false, NOW);
        assert!(with_key.to_string().contains("TrustedCaFile="), "{with_key}");
    }
}
