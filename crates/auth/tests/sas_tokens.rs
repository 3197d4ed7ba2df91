//! SAS tokens against vectors published by others, against tokens made by other languages' encoders,
//! and against every way of tampering.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise, its helpers too")]

use std::time::Duration;

use iothub_auth::{CLOCK_SKEW, SasError, SasToken, SharedAccessKey};
use jiff::Timestamp;
use proptest::prelude::*;

const NO_TIME: Duration = Duration::ZERO;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The vector of `common/sas_test.go` in amenzhinsky/iothub: key `c2VjcmV0`, one hour from
/// 2017-01-01T01:01:01Z.
#[test]
fn signs_as_the_published_go_vector() {
    let token = SasToken::sign(
        "test.azure-devices.net/devices/test",
        &SharedAccessKey::new("c2VjcmV0"),
        "2017-01-01T01:01:01Z".parse().unwrap(),
        Duration::from_secs(3600),
        None,
    )
    .unwrap();
    assert_eq!(
        token.reveal(),
        "SharedAccessSignature sr=test.azure-devices.net%2Fdevices%2Ftest\
         &sig=IMr3Y5GKbdixQSt96QgIEymAURnu3qzLvEHhGHPLxrU%3D&se=1483236061"
    );
}

/// The vector of `common/core/test/_shared_access_signature_test.js` in Azure/azure-iot-sdk-node:
/// the key is `password` in base64, the policy's name needs encoding.
#[test]
fn signs_and_reads_as_the_published_node_vector() {
    let key = SharedAccessKey::new("cGFzc3dvcmQ=");
    let published = "SharedAccessSignature sr=uri&sig=kcWxXAK2OAaAoq2oCkaGzX2NMqDB8nCyNuq2fPYCDhk%3D&skn=encode%28%27Me%27%29&se=12345";
    let read = SasToken::parse(published).unwrap();
    assert_eq!((read.resource(), read.policy(), read.expiry()), ("uri", Some("encode('Me')"), at(12345)));
    assert_eq!(read.verify([&key], at(12345), NO_TIME), Ok(()));

    let signed =
        SasToken::sign("uri", &key, at(0), Duration::from_secs(12345), Some("encode('Me')")).unwrap();
    assert!(signed.reveal().contains("sig=kcWxXAK2OAaAoq2oCkaGzX2NMqDB8nCyNuq2fPYCDhk%3D"));
    assert!(signed.reveal().ends_with("&skn=encode%28%27Me%27%29"));
}

/// One resource as four encoders write it: Python's `quote`, Node's `encodeURIComponent` with its
/// lower-case extras, .NET's `UrlEncode`, and not encoded at all. Made with Python's `hmac` and
/// `urllib`, key `c2VjcmV0LWtleQ==`.
#[test]
fn verifies_what_every_encoder_writes() {
    let key = SharedAccessKey::new("c2VjcmV0LWtleQ==");
    for text in [
        "SharedAccessSignature sr=Hub.example%2Fdevices%2Fd%211%28%27%2A%29%2Bx&sig=fSd8%2FJKYkc4SlOkH8m9oXjF%2Fn%2BH%2ByiiEMmYV0sX9jak%3D&se=1900000000",
        "SharedAccessSignature sr=Hub.example%2Fdevices%2Fd%211%28%27%2a%29%2Bx&sig=AAErJeSGBtYDZAo9bqVwxsvX59iMLYn8AVAOxQa29ds%3D&se=1900000000",
        "SharedAccessSignature sr=Hub.example%2Fdevices%2Fd!1(%27*)%2Bx&sig=6Aai4tEUwVmxyd0uLn8fSvBwmEfQkXX7wnL2O69di%2BY%3D&se=1900000000",
        "SharedAccessSignature sig=Qt3A7PqXdPY2jyIBUAWPS25RcnmZAz8mfkOjMOcu8H8%3D&se=1900000000&sr=Hub.example/devices/d!1('*)+x",
    ] {
        let token = SasToken::parse(text).unwrap();
        assert_eq!(token.verify([&key], at(1_899_999_999), NO_TIME), Ok(()), "{text}");
        assert_eq!(token.resource(), "Hub.example/devices/d!1('*)+x");
        assert_eq!(token.scope().host(), "hub.example");
        assert!(token.scope().covers(&["devices", "d!1('*)+x"]));
    }
    // Lower-case escapes, an empty policy name.
    let token = SasToken::parse(
        "SharedAccessSignature sr=hub.example%2fdevices%2fd%21&sig=hsJrKaffYKC4lvPhm2Uy0%2BtrKZTOX3gKWkXQen%2FtQ6w%3D&skn=&se=1900000000",
    )
    .unwrap();
    assert_eq!(token.policy(), None);
    assert_eq!(token.verify([&key], at(0), NO_TIME), Ok(()));
}

#[test]
fn either_key_proves_and_a_third_does_not() {
    let [one, two, three] = ["AAAA", "BBBB", "CCCC"].map(SharedAccessKey::new);
    let token = SasToken::sign("h/devices/d", &two, at(0), Duration::from_secs(60), None).unwrap();
    assert_eq!(token.verify([&one, &two], at(0), NO_TIME), Ok(()));
    assert_eq!(token.verify([&one, &three], at(0), NO_TIME), Err(SasError::WrongSignature));
    assert_eq!(token.verify([], at(0), NO_TIME), Err(SasError::WrongSignature));
}

#[test]
fn expires_after_the_skew_and_says_how_late_it_is() {
    let key = SharedAccessKey::new("AAAA");
    let token = SasToken::sign("h", &key, at(1000), Duration::from_secs(60), None).unwrap();
    assert_eq!(token.expiry(), at(1060));
    let skew = i64::try_from(CLOCK_SKEW.as_secs()).unwrap();
    assert_eq!(token.verify([&key], at(1060 + skew), CLOCK_SKEW), Ok(()));
    assert_eq!(token.verify([&key], at(1061 + skew), CLOCK_SKEW), Err(SasError::Expired(skew + 1)));
    // Beyond the calendar is far away, not an error.
    let far = SasToken::parse("SharedAccessSignature sr=h&sig=AAAA&se=9223372036854775807").unwrap();
    assert_eq!(far.expiry(), Timestamp::MAX);
    assert_eq!(far.verify([&key], at(0), NO_TIME), Err(SasError::WrongSignature));
}

#[test]
fn every_defect_has_its_error() {
    let long = format!("SharedAccessSignature sr={}", "x".repeat(5000));
    for (text, error) in [
        ("", SasError::NotASasToken),
        ("Bearer abc", SasError::NotASasToken),
        ("SharedAccessSignature", SasError::NotASasToken),
        ("SharedAccessSignature sig=AAAA&se=1", SasError::Missing("sr")),
        ("SharedAccessSignature sr=&sig=AAAA&se=1", SasError::Missing("sr")),
        ("SharedAccessSignature sr=h&se=1", SasError::Missing("sig")),
        ("SharedAccessSignature sr=h&sig=AAAA", SasError::Missing("se")),
        ("SharedAccessSignature sr=h&sr=h&sig=AAAA&se=1", SasError::Duplicate("sr")),
        ("SharedAccessSignature sr=h&sig=AAAA&se=soon", SasError::BadExpiry),
        ("SharedAccessSignature sr=h&sig=AAAA&se=99999999999999999999", SasError::BadExpiry),
        ("SharedAccessSignature sr=h&sig=*&se=1", SasError::BadEncoding("sig")),
        ("SharedAccessSignature sr=%ff&sig=AAAA&se=1", SasError::BadEncoding("sr")),
        (&long, SasError::TooLong(4096)),
    ] {
        assert_eq!(SasToken::parse(text).unwrap_err(), error, "{text:.60}");
    }
    let key = SharedAccessKey::new("not base64!");
    assert_eq!(SasToken::sign("h", &key, at(0), NO_TIME, None).unwrap_err(), SasError::KeyNotBase64);
}

#[test]
fn debug_shows_neither_signature_nor_key() {
    let key = SharedAccessKey::new("c2VjcmV0");
    let token = SasToken::sign("h/devices/d", &key, at(0), NO_TIME, None).unwrap();
    let signature = token.reveal().split("sig=").nth(1).unwrap()[..20].to_owned();
    let shown = format!("{token:?} {key:?}");
    assert!(shown.contains("h/devices/d"));
    assert!(!shown.contains(&signature) && !shown.contains("c2VjcmV0"), "{shown}");
}

proptest! {
    #[test]
    fn what_was_signed_reads_back_and_verifies(
        resource in "[ -~]{1,60}", policy in proptest::option::of("[ -~]{1,20}"), key in proptest::collection::vec(any::<u8>(), 1..64)
    ) {
        use base64::Engine as _;
        let key = SharedAccessKey::new(base64::engine::general_purpose::STANDARD.encode(key));
        let signed = SasToken::sign(&resource, &key, at(100), Duration::from_secs(60), policy.as_deref()).unwrap();
        let read = SasToken::parse(signed.reveal()).unwrap();
        prop_assert_eq!(read.resource(), resource.as_str());
        prop_assert_eq!(read.policy(), policy.as_deref());
        prop_assert_eq!(read.verify([&key], at(100), NO_TIME), Ok(()));
    }

    #[test]
    fn one_changed_byte_never_verifies(position in 22usize..120, byte in b'!'..=b'~') {
        let key = SharedAccessKey::new("c2VjcmV0");
        let token = SasToken::sign("hub.example/devices/device-1", &key, at(0), Duration::from_secs(60), None).unwrap();
        let mut text = token.reveal().as_bytes().to_vec();
        let position = position.min(text.len() - 1);
        prop_assume!(text[position] != byte);
        text[position] = byte;
        if let Ok(changed) = SasToken::parse(std::str::from_utf8(&text).unwrap()) {
            // The same signature or policy written differently is still the same token.
            let same = changed.resource() == token.resource() && changed.expiry() == token.expiry();
            prop_assert!(changed.verify([&key], at(0), NO_TIME).is_err() || same);
        }
    }

    #[test]
    fn parsing_never_panics(text in "\\PC{0,200}") {
        let _token = SasToken::parse(&format!("SharedAccessSignature {text}"));
        let _token = SasToken::parse(&text);
    }
}
