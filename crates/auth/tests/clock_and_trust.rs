//! Clocks that are turned wake exactly who is due, and trust in a CA file reaches a real handshake.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise, its helpers too")]

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use iothub_auth::{AdjustableClock, Clock, Elapsed, ManualClock, client_config, ring_provider};
use jiff::Timestamp;
use rustls::pki_types::{PrivateKeyDer, ServerName};

#[tokio::test]
async fn a_manual_clock_wakes_whoever_is_due_and_nobody_else() {
    let hands = ManualClock::new(Timestamp::UNIX_EPOCH);
    let clock = hands.clock();
    let early = tokio::spawn({
        let clock = clock.clone();
        async move { clock.sleep(Duration::from_secs(10)).await }
    });
    let late = tokio::spawn({
        let clock = clock.clone();
        async move { clock.sleep_until(Timestamp::from_second(11).unwrap()).await }
    });
    // Both must sleep before the hands move, or `late` would count from later.
    tokio::task::yield_now().await;
    hands.advance(Duration::from_secs(10));
    early.await.unwrap();
    assert!(!late.is_finished());
    hands.advance(Duration::from_secs(1));
    late.await.unwrap();
    assert_eq!(clock.now(), Timestamp::from_second(11).unwrap());
}

#[tokio::test]
async fn an_adjustable_clock_runs_by_itself_and_is_set_forward_for_all() {
    const HOUR: Duration = Duration::from_secs(3600);
    let hands = AdjustableClock::new();
    let clock = hands.clock();
    let before = Timestamp::now();
    let shown = clock.now();
    assert!((before..=Timestamp::now()).contains(&shown));
    // It runs: nobody turns it here.
    clock.sleep(Duration::from_millis(5)).await;
    assert!(clock.now().duration_since(shown).unsigned_abs() >= Duration::from_millis(5));

    let [due, later] = [HOUR, 2 * HOUR].map(|wait| {
        let clock = clock.clone();
        tokio::spawn(async move { clock.sleep(wait).await })
    });
    tokio::task::yield_now().await;
    hands.clone().advance(HOUR);
    due.await.unwrap();
    assert!(!later.is_finished());
    assert!(clock.now().duration_since(Timestamp::now()).unsigned_abs() > HOUR - Duration::from_secs(60));
    // In two turns, neither of which alone is enough.
    hands.advance(HOUR / 2);
    tokio::task::yield_now().await;
    assert!(!later.is_finished());
    hands.advance(HOUR / 2);
    later.await.unwrap();

    // A time that is past is not waited for, and the end of the calendar is no overflow.
    clock.sleep_until(before).await;
    hands.advance(Duration::MAX);
    assert_eq!(clock.now(), Timestamp::MAX);
}

#[tokio::test]
async fn a_deadline_gives_up_only_when_it_passes() {
    let hands = ManualClock::new(Timestamp::UNIX_EPOCH);
    let clock = hands.clock();
    assert_eq!(clock.timeout(Duration::from_secs(1), async { 7 }).await, Ok(7));
    let waiting = tokio::spawn({
        let clock = clock.clone();
        async move { clock.timeout(Duration::from_secs(5), std::future::pending::<()>()).await }
    });
    tokio::task::yield_now().await;
    hands.advance(Duration::from_secs(5));
    assert_eq!(waiting.await.unwrap(), Err(Elapsed));
    assert_eq!(
        Clock::real().timeout(Duration::from_millis(1), std::future::pending::<()>()).await,
        Err(Elapsed)
    );
}

#[test]
fn a_ca_file_is_trusted_and_only_where_it_is_named() {
    let ca = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(ca.cert.pem().as_bytes()).unwrap();

    let server = rustls::ServerConfig::builder_with_provider(ring_provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![ca.cert.der().clone()],
            PrivateKeyDer::try_from(ca.signing_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let server = Arc::new(server);
    let trusting = client_config(Some(file.path())).unwrap();
    assert!(handshake(&server, &trusting).is_ok());
    let strange = client_config(None).unwrap();
    let refused = handshake(&server, &strange).unwrap_err().to_string();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
}

#[test]
fn clients_of_one_ca_share_a_configuration_until_the_ca_changes() {
    let pem = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem()).unwrap();
    let first = client_config(Some(file.path())).unwrap();
    assert!(Arc::ptr_eq(&first, &client_config(Some(file.path())).unwrap()));
    assert!(!Arc::ptr_eq(&first, &client_config(None).unwrap()));
    std::fs::write(file.path(), pem()).unwrap();
    assert!(!Arc::ptr_eq(&first, &client_config(Some(file.path())).unwrap()));
}

#[test]
fn a_ca_file_that_is_none_is_named() {
    let missing = client_config(Some("/no/such/ca.pem".as_ref())).unwrap_err();
    assert!(missing.to_string().contains("/no/such/ca.pem"));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"no certificate").unwrap();
    assert!(client_config(Some(file.path())).is_err());
}

fn handshake(
    server: &Arc<rustls::ServerConfig>,
    client: &Arc<rustls::ClientConfig>,
) -> Result<(), rustls::Error> {
    let mut server = rustls::ServerConnection::new(Arc::clone(server))?;
    let mut client =
        rustls::ClientConnection::new(Arc::clone(client), ServerName::try_from("localhost").unwrap())?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        let served = server.process_new_packets();
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
        served?;
    }
    Ok(())
}
