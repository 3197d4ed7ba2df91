//! These tests read connection strings in every documented form and with every defect, which has an error of its
//! own, and look for secrets in all of them.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise, its helpers too")]

use std::time::Duration;

use iothub_auth::{
    ConnectionStringError, Defect, DeviceConnectionString, DeviceCredential, EventHubsConnectionString,
    HubAddress, ServiceConnectionString,
};
use jiff::Timestamp;
use proptest::prelude::*;

const KEY: &str = "c2VjcmV0LWtleQ==";

fn device(text: &str) -> Result<DeviceConnectionString, ConnectionStringError> {
    text.replace("KEY", KEY).parse()
}

fn service(text: &str) -> Result<ServiceConnectionString, ConnectionStringError> {
    text.replace("KEY", KEY).parse()
}

fn events(text: &str) -> Result<EventHubsConnectionString, ConnectionStringError> {
    text.replace("KEY", KEY).parse()
}

#[test]
fn a_standard_device_string_and_its_token() {
    let parsed = device("HostName=hub.azure-devices.net;DeviceId=d:1;SharedAccessKey=KEY").unwrap();
    assert_eq!(parsed.device_id.as_str(), "d:1");
    assert_eq!(parsed.address, HubAddress::new("hub.azure-devices.net"));
    assert!(parsed.address.is_azure());
    let token = parsed.sas_token(Timestamp::UNIX_EPOCH, Duration::from_secs(60)).unwrap().unwrap();
    assert_eq!((token.resource(), token.policy()), ("hub.azure-devices.net/devices/d:1", None));
}

#[test]
fn a_module_and_a_policy_key_change_the_token() {
    let parsed =
        device("HostName=h;DeviceId=d;ModuleId=m;SharedAccessKeyName=device;SharedAccessKey=KEY").unwrap();
    let token = parsed.sas_token(Timestamp::UNIX_EPOCH, Duration::ZERO).unwrap().unwrap();
    assert_eq!((token.resource(), token.policy()), ("h/devices/d/modules/m", Some("device")));
}

#[test]
fn a_gateway_is_connected_to_and_the_hub_is_signed_for() {
    let parsed = device("HostName=h.example;DeviceId=d;SharedAccessKey=KEY;GatewayHostName=edge").unwrap();
    assert_eq!(parsed.address.connect_host(), "edge");
    let token = parsed.sas_token(Timestamp::UNIX_EPOCH, Duration::ZERO).unwrap().unwrap();
    assert_eq!(token.resource(), "h.example/devices/d");
}

#[test]
fn a_certificate_needs_no_token_and_a_given_token_is_kept() {
    let parsed = device("HostName=h;DeviceId=d;x509=TRUE").unwrap();
    assert!(matches!(parsed.credential, DeviceCredential::X509));
    assert!(parsed.sas_token(Timestamp::UNIX_EPOCH, Duration::ZERO).unwrap().is_none());

    let given = "SharedAccessSignature sr=h%2Fdevices%2Fd&sig=AAAA&se=1";
    let parsed = device(&format!("HostName=h;DeviceId=d;SharedAccessSignature={given}")).unwrap();
    let token = parsed.sas_token(Timestamp::UNIX_EPOCH, Duration::from_secs(60)).unwrap().unwrap();
    assert_eq!(token.reveal(), given);
}

#[test]
fn our_own_keys_name_ports_and_the_ca() {
    let text = "HostName=localhost;SharedAccessKeyName=service;SharedAccessKey=KEY;MqttsPort=1;AmqpsPort=2;HttpsPort=65535;TrustedCaFile=/a b/ca=1.pem";
    let parsed = service(text).unwrap();
    let address = &parsed.address;
    assert_eq!((address.mqtts_port, address.amqps_port, address.https_port), (1, 2, 65535));
    assert_eq!(address.trusted_ca_file.as_deref(), Some("/a b/ca=1.pem".as_ref()));
    assert_eq!(parsed.reveal(), text.replace("KEY", KEY));
    // The standard ports are not worth a word.
    assert_eq!(HubAddress::new("h").extra_keys(), "");
}

#[test]
fn event_hubs_strings_with_and_without_an_emulator() {
    let parsed = events("Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=service;SharedAccessKey=KEY;EntityPath=hub").unwrap();
    assert_eq!(
        (parsed.host_name.as_str(), parsed.port, parsed.plain),
        ("ns.servicebus.windows.net", 5671, false)
    );
    assert_eq!(parsed.entity_path.as_deref(), Some("hub"));
    let parsed = events("Endpoint=sb://localhost;SharedAccessKeyName=a;SharedAccessKey=not base64;UseDevelopmentEmulator=true").unwrap();
    assert_eq!((parsed.port, parsed.plain), (5672, true));
    let parsed = events("Endpoint=sb://localhost:77/;SharedAccessKeyName=a;SharedAccessKey=b").unwrap();
    assert_eq!(parsed.port, 77);
}

#[test]
fn key_names_ignore_case_and_a_last_semicolon_is_fine() {
    assert!(device("hostname=h;DEVICEID=d;sharedaccesskey=KEY;").is_ok());
}

#[test]
fn every_defect_of_a_device_string_names_the_key() {
    let long_id = format!("HostName=h;DeviceId={};SharedAccessKey=KEY", "x".repeat(129));
    for (text, expected) in [
        ("", "it is empty"),
        ("  ", "it is empty"),
        ("HostName=h;DeviceId", "part 2 has no '='"),
        (
            "HostName=h;DeviceID2=d;SharedAccessKey=KEY",
            "part 2 has the unknown key \"DeviceID2\"; known are HostName, DeviceId",
        ),
        // The text before a '=' is a secret here, and not the name of a key.
        ("KEY", "part 1 does not begin with the name of a key"),
        ("HostName=h;DeviceId=d;KEY", "part 3 does not begin with the name of a key"),
        ("HostName=h;DeviceId=d;=KEY", "part 3 does not begin with the name of a key"),
        ("HostName=h;HostName=h;DeviceId=d;SharedAccessKey=KEY", "HostName is given twice"),
        ("DeviceId=d;SharedAccessKey=KEY", "HostName is missing"),
        ("HostName=h;SharedAccessKey=KEY", "DeviceId is missing"),
        ("HostName=h;DeviceId=d", "SharedAccessKey is missing"),
        ("HostName=;DeviceId=d;SharedAccessKey=KEY", "HostName has no value"),
        ("HostName=h;DeviceId=d;SharedAccessKey=c2V*", "SharedAccessKey is not base64"),
        ("HostName=h;DeviceId=a/b;SharedAccessKey=KEY", "DeviceId is not valid: the id holds '/'"),
        (&long_id, "DeviceId is not valid: the id has 129 characters"),
        ("HostName=h;DeviceId=d;ModuleId=a b;SharedAccessKey=KEY", "ModuleId is not valid"),
        ("HostName=https://h;DeviceId=d;SharedAccessKey=KEY", "HostName is not a host name"),
        ("HostName=h:8443;DeviceId=d;SharedAccessKey=KEY", "HostName holds a port: give ports as MqttsPort="),
        ("HostName=h;DeviceId=d;SharedAccessKey=KEY;MqttsPort=0", "MqttsPort is not a port number"),
        ("HostName=h;DeviceId=d;SharedAccessKey=KEY;HttpsPort=70000", "HttpsPort is not a port number"),
        ("HostName=h;DeviceId=d;SharedAccessKey=KEY;x509=true", "SharedAccessKey and x509"),
        ("HostName=h;DeviceId=d;x509=yes", "x509 must be true or false"),
        ("HostName=h;DeviceId=d;SharedAccessSignature=nonsense", "SharedAccessSignature is not a SAS token"),
        (
            "HostName=h;SharedAccessKeyName=service;SharedAccessKey=KEY",
            "it is a service connection string; a device needs its own",
        ),
        ("Endpoint=sb://h/;SharedAccessKeyName=a;SharedAccessKey=KEY", "it is an Event Hubs-compatible"),
    ] {
        let error = device(text).unwrap_err().to_string();
        assert!(error.starts_with("the device connection string cannot be used: "), "{error}");
        assert!(error.contains(expected), "{text:.80}\n  gives {error}\n  not   {expected}");
        assert!(!error.contains("c2V"), "{error}");
    }
}

#[test]
fn what_a_paste_adds_is_called_by_its_name() {
    let string = "HostName=h;DeviceId=d;SharedAccessKey=KEY";
    let command = |command: &str| Defect::Command { command: command.to_owned(), key: "HostName" };
    for (text, expected) in [
        (format!("\"{string}\""), Defect::QuotationMark(1)),
        (format!("'{string}"), Defect::QuotationMark(1)),
        (format!("{string}'"), Defect::QuotationMark(3)),
        (format!("{string};\""), Defect::QuotationMark(4)),
        (format!("\u{201c}{string}\u{201d}"), Defect::QuotationMark(1)),
        ("HostName=\"h\";DeviceId=d;SharedAccessKey=KEY".to_owned(), Defect::QuotationMark(1)),
        ("HostName=h;DeviceId=\"d\";SharedAccessKey=KEY".to_owned(), Defect::QuotationMark(2)),
        ("HostName=h;Device\nId=d;SharedAccessKey=KEY".to_owned(), Defect::LineBreak(2)),
        ("HostName=h;DeviceId=d;SharedAccessKey=c2Vj\r\nKEY".to_owned(), Defect::LineBreak(3)),
        (format!("{string}\n{string}"), Defect::LineBreak(3)),
        (format!("\u{feff}{string}"), Defect::ByteOrderMark),
        (format!("export NAME='{string}'"), command("export NAME")),
        (format!("NAME={string}"), command("NAME")),
        (format!("$env:NAME = \"{string}\""), command("$env:NAME")),
        (format!("set NAME={string}"), command("set NAME")),
        (format!("{string};{}=x", "x".repeat(16 * 1024)), Defect::TooLong(16 * 1024)),
        // The word before the string is as long as a key, and may be one.
        (format!("{}= {string}", "c2Vj".repeat(11)), Defect::NoKey(1)),
    ] {
        let error = device(&text).unwrap_err();
        assert_eq!(error.defect(), &expected, "{text:.80}");
        assert!(!error.to_string().contains("c2V"), "{error}");
    }
    let error = device(&format!("export NAME='{string}'")).unwrap_err().to_string();
    assert!(error.contains("\"export NAME=\": give only what follows, from HostName= on"), "{error}");
    // The service's rules let an id begin and end with an apostrophe, and hold a '='.
    assert!(device("HostName=h;SharedAccessKey=KEY;DeviceId='d'").is_ok());
    assert!(device("DeviceId=HostName=x;HostName=h;SharedAccessKey=KEY").is_ok());
    // A line end after the string belongs to whatever it was read from.
    assert!(device(&format!("{string}\r\n")).is_ok());
    let error = service(&format!("export NAME={string}")).unwrap_err();
    assert_eq!(error.defect(), &command("export NAME"));
    let error =
        events("export E=\"Endpoint=sb://h/;SharedAccessKeyName=a;SharedAccessKey=KEY\"").unwrap_err();
    assert_eq!(error.defect(), &Defect::Command { command: "export E".to_owned(), key: "Endpoint" });
}

#[test]
fn a_string_of_another_kind_says_which() {
    let error = service("HostName=h;DeviceId=d;SharedAccessKey=KEY").unwrap_err();
    assert!(matches!(error.defect(), Defect::WrongKind { found: "a device", .. }), "{error}");
    let error = events("HostName=h;SharedAccessKeyName=a;SharedAccessKey=KEY").unwrap_err();
    assert!(matches!(error.defect(), Defect::WrongKind { found: "a service", .. }), "{error}");
    let error = service("HostName=h;SharedAccessKey=KEY").unwrap_err();
    assert_eq!(error.defect(), &Defect::Missing("SharedAccessKeyName"));
    let error = events("Endpoint=https://h/;SharedAccessKeyName=a;SharedAccessKey=KEY").unwrap_err();
    assert_eq!(error.defect(), &Defect::NotAnEndpoint);
}

#[test]
fn debug_and_display_hold_no_secret() {
    let device = device("HostName=h;DeviceId=d;SharedAccessKey=KEY").unwrap();
    let service = service("HostName=h;SharedAccessKeyName=service;SharedAccessKey=KEY").unwrap();
    let shown = format!("{device:?} {device} {service:?} {service}");
    assert!(shown.contains("device d on h") && shown.contains("policy service on h"));
    assert!(!shown.contains(KEY), "{shown}");
}

/// The signature was computed with Python's `hmac`, over the key's text as Event Hubs has it.
#[test]
fn an_event_hubs_key_signs_with_its_text() {
    let string = events("Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=service;SharedAccessKey=plain text key;EntityPath=hub").unwrap();
    let now = jiff::Timestamp::from_second(1_700_000_000).unwrap();
    let hour = std::time::Duration::from_secs(3600);
    let token = string.sas_token("sb://ns.servicebus.windows.net/hub", now, hour).unwrap();
    assert_eq!(
        token.reveal(),
        "SharedAccessSignature sr=sb%3A%2F%2Fns.servicebus.windows.net%2Fhub&sig=wGVh7meHihULEtJ7LZ7zhs110CDZ0temn5QpfR75ong%3D&se=1700003600&skn=service"
    );
}

#[test]
fn an_event_hubs_string_is_shown_whole_and_read_again() {
    for text in [
        "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=service;SharedAccessKey=c2VjcmV0LWtleQ==;EntityPath=hub",
        "Endpoint=sb://localhost:5672/;SharedAccessKeyName=a;SharedAccessKey=b;UseDevelopmentEmulator=true",
        "Endpoint=sb://localhost/;SharedAccessKeyName=a;SharedAccessKey=b;EntityPath=e;AmqpsPort=77;TrustedCaFile=/ca.pem",
    ] {
        assert_eq!(events(text).unwrap().reveal(), text);
    }
}

proptest! {
    #[test]
    fn what_is_revealed_parses_to_the_same(
        host in "[a-z][a-z0-9.-]{0,20}", id in "[A-Za-z0-9:.+%_#*?!(),=@$'-]{1,128}", port in 1u16.., ca in proptest::option::of("/[a-z/.]{1,20}")
    ) {
        let mut address = HubAddress::new(host);
        address.mqtts_port = port;
        address.trusted_ca_file = ca.map(Into::into);
        let string = DeviceConnectionString::new(address, id.parse().unwrap(), iothub_auth::SharedAccessKey::new(KEY));
        let again: DeviceConnectionString = string.reveal().parse().unwrap();
        prop_assert_eq!(again.address, string.address);
        prop_assert_eq!(again.device_id, string.device_id);
    }

    #[test]
    fn parsing_never_panics(text in "\\PC{0,200}") {
        let _parsed = text.parse::<DeviceConnectionString>();
        let _parsed = text.parse::<ServiceConnectionString>();
        let _parsed = text.parse::<EventHubsConnectionString>();
    }
}
