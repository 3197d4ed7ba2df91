//! These tests check connections that do not come about: each says what failed and what to do, and no error shows
//! the key.

use std::time::Duration;

use iothub_mqtt_device::{ConnectionState, DeviceClient, Error, ErrorKind};
use rumqttc::ConnectReturnCode;

use super::broker::Broker;

const KEY: &str = "c2VjcmV0LWtleQ==";

/// Everything the error shows.
fn shown(error: &Error) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    assert!(source.is_empty() || !error.to_string().contains(&source), "Display repeats its source");
    let all = format!("{error} | {source} | {error:?}");
    assert!(!all.contains(KEY) && !all.contains("sig="), "{all}");
    all
}

#[tokio::test]
async fn each_connack_code_has_its_kind_and_advice() {
    for (code, kind, advice) in [
        (ConnectReturnCode::RefusedProtocolVersion, ErrorKind::Protocol, "MQTT 3.1.1"),
        (ConnectReturnCode::BadClientId, ErrorKind::NotAuthorized, "iothub device show d1"),
        (ConnectReturnCode::ServiceUnavailable, ErrorKind::Unavailable, "try again"),
        (ConnectReturnCode::BadUserNamePassword, ErrorKind::NotAuthorized, "clock (20"),
        (ConnectReturnCode::NotAuthorized, ErrorKind::NotAuthorized, "the key is not its own"),
    ] {
        let broker = Broker::start().await;
        let (client, ()) = tokio::join!(broker.client().connect(), async {
            let mut peer = broker.accept().await;
            assert_eq!(peer.connect.client_id, "d1");
            assert!(!peer.connect.clean_session && peer.connect.keep_alive == 60);
            let login = peer.connect.login.clone().unwrap();
            assert!(login.username.starts_with("localhost/d1/?api-version=2021-04-12&DeviceClientType="));
            assert!(login.password.starts_with("SharedAccessSignature sr=localhost%2Fdevices%2Fd1&sig="));
            peer.answer(code, false).await;
        });
        let error = client.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert_eq!(error.is_retryable(), kind == ErrorKind::Unavailable);
        assert_eq!(error.device_id().unwrap().as_str(), "d1");
        assert!(shown(&error).contains(advice), "{error}");
    }
}

#[tokio::test]
async fn an_id_that_no_topic_may_hold_is_refused_before_a_connection() {
    let broker = Broker::start().await;
    let port = broker.port();
    drop(broker);
    for ids in ["DeviceId=a#b", "DeviceId=a+b"] {
        let string = format!("HostName=localhost;{ids};SharedAccessKey={KEY};MqttsPort={port}");
        let error = DeviceClient::connect(&string).await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::InvalidArgument, false));
        assert!(shown(&error).contains("+ or #"), "{error}");
        let error = DeviceClient::builder(&string).start().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}

#[tokio::test]
async fn a_closed_port_here_asks_whether_the_hub_runs_and_not_for_firewalls() {
    let broker = Broker::start().await;
    let (builder, port) = (broker.client(), broker.port());
    drop(broker);
    // The CA file went with the broker.
    let no_file = builder.connect().await.unwrap_err();
    assert_eq!(no_file.kind(), ErrorKind::Tls);
    assert!(shown(&no_file).contains("TrustedCaFile"));

    let string = format!("HostName=localhost;DeviceId=d1;SharedAccessKey={KEY};MqttsPort={port}");
    let error = DeviceClient::connect(&string).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Network, true));
    let text = shown(&error);
    assert!(text.starts_with(&format!("nothing listens on localhost port {port} ")), "{text}");
    assert!(text.contains("is the hub running?") && !text.contains("firewall"), "{text}");
}

#[tokio::test]
async fn a_silent_port_here_times_out_and_asks_whether_the_hub_runs() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let string = format!("HostName=localhost;DeviceId=d1;SharedAccessKey={KEY};MqttsPort={port}");
    let builder = DeviceClient::builder(&string).connect_timeout(Duration::from_millis(300));
    let error = builder.connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let text = shown(&error);
    assert!(text.contains("is the hub running?") && !text.contains("firewall"), "{text}");
}

#[tokio::test]
async fn an_unknown_ca_names_the_ways_to_trust_it() {
    let broker = Broker::start().await;
    let string = broker.string_without_ca();
    let (error, ()) = tokio::join!(DeviceClient::connect(&string), async {
        broker.refuse_handshake().await;
    });
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls);
    let text = shown(&error);
    assert!(text.contains("TrustedCaFile=") && text.contains("SSL_CERT_FILE"), "{text}");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_said_to_be_so() {
    let string = format!("HostName=no-such-hub.invalid;DeviceId=d1;SharedAccessKey={KEY}");
    let error = DeviceClient::connect(&string).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(shown(&error).contains("could not be resolved"), "{error}");
}

#[tokio::test]
async fn arguments_are_checked_before_anything_is_tried() {
    let hub = "HostName=localhost;DeviceId=d1;";
    for (string, cause) in [
        (String::new(), "empty"),
        (format!("HostName=localhost;SharedAccessKey={KEY}"), "DeviceId is missing"),
        (format!("{hub}SharedAccessKey=not base64"), "not base64"),
    ] {
        let error = DeviceClient::connect(&string).await.unwrap_err();
        assert_eq!((error.kind(), error.device_id()), (ErrorKind::InvalidArgument, None));
        assert!(shown(&error).contains(cause), "{error:?}");
    }
    let x509 = DeviceClient::connect(&format!("{hub}x509=true")).await.unwrap_err();
    assert_eq!(x509.kind(), ErrorKind::InvalidArgument);
    let window = DeviceClient::builder(&format!("{hub}SharedAccessKey={KEY}")).window(0).start().unwrap_err();
    assert!(shown(&window).contains("window"));
    let long = DeviceClient::builder(&format!("{hub}SharedAccessKey={KEY}")).product_info("x".repeat(70_000));
    assert_eq!(long.start().unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn an_expired_token_that_cannot_be_renewed_is_said_to_be_so() {
    let broker = Broker::start().await;
    let string = broker.string().replace(
        &format!("SharedAccessKey={KEY}"),
        "SharedAccessSignature=SharedAccessSignature sr=localhost%2Fdevices%2Fd1&sig=c2ln&se=1700000000",
    );
    let (client, ()) = tokio::join!(DeviceClient::connect(&string), async {
        broker.accept().await.answer(ConnectReturnCode::NotAuthorized, false).await;
    });
    let error = client.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAuthorized);
    assert!(shown(&error).contains("expired at 2023-11-14T22:13:20Z"), "{error}");
}

#[tokio::test]
async fn a_device_that_is_dropped_again_and_again_is_told_of_a_second_client() {
    let broker = Broker::start().await;
    let client = broker.client().start().unwrap();
    let mut states = client.connection_states();
    let watched = tokio::spawn(async move {
        let mut errors = Vec::new();
        while let Some(state) = states.next().await {
            if let ConnectionState::Disconnected { error, .. } = state {
                errors.push(error.to_string());
            }
        }
        errors
    });
    for _ in 0..6 {
        broker.welcome(true).await.cut();
    }
    let _last = broker.welcome(true).await;
    client.shutdown().await.unwrap();
    let errors = watched.await.unwrap();
    assert!(
        errors.iter().any(|error| error.contains("another client with the same device id")),
        "{errors:?}"
    );
}
