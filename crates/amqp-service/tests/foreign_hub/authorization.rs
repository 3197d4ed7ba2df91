//! These tests check tokens: which one is put to `$cbs`, how the hub may answer, and when the next one follows.

use std::error::Error as _;
use std::time::Duration;

use fe2o3_amqp_types::messaging::Body;
use iothub_amqp_service::{C2dMessage, C2dSender, ErrorKind};
use iothub_auth::{ManualClock, SasToken, SharedAccessKey};
use jiff::Timestamp;
use serde_amqp::Value;

use crate::hub::{Behaviour, ForeignHub, KEY, PutToken, device, error, soon, text};

const MINUTE: Duration = Duration::from_secs(60);

fn start() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

/// The token in a request, verified with the policy's key.
fn verified(request: &PutToken, now: Timestamp) -> SasToken {
    let Body::Value(value) = &request.message.body else { panic!("a value: {request:?}") };
    let Value::String(token) = &value.0 else { panic!("a string: {request:?}") };
    let token = SasToken::parse(token).unwrap();
    token.verify([&SharedAccessKey::new(KEY)], now, Duration::ZERO).unwrap();
    token
}

#[tokio::test]
async fn the_token_is_put_as_the_official_clients_do_it() {
    let mut hub = ForeignHub::start().await;
    let clock = ManualClock::new(start());
    let _sender = soon(hub.builder().clock(clock.clock()).connect()).await.unwrap();
    let request = hub.token().await;
    assert_eq!(text(&request.message, "operation"), Some("put-token"));
    assert_eq!(text(&request.message, "type"), Some("servicebus.windows.net:sastoken"));
    assert_eq!(text(&request.message, "name"), Some("localhost"));
    let token = verified(&request, start());
    assert_eq!(token.resource(), "localhost");
    assert_eq!(token.policy(), Some("service"));
    assert_eq!(token.expiry(), start() + 60 * MINUTE);
}

#[tokio::test]
async fn a_token_is_renewed_on_the_same_links_before_it_expires() {
    let mut hub = ForeignHub::start().await;
    let clock = ManualClock::new(start());
    let sender = soon(hub.builder().clock(clock.clock()).connect()).await.unwrap();
    let first = hub.token().await;
    for round in 1..=3 {
        clock.advance(45 * MINUTE);
        let now = start() + 45 * MINUTE * round;
        let renewed = hub.token().await;
        assert_eq!(renewed.pair, first.pair);
        assert_eq!(verified(&renewed, now).expiry(), now + 60 * MINUTE);
        // Sending goes on meanwhile.
        let (sent, ()) = tokio::join!(sender.send(device(), C2dMessage::default()), async {
            hub.arrival().await.accept()
        });
        sent.unwrap();
    }
    assert_eq!(hub.connections(), 1);
}

#[tokio::test]
async fn a_refused_renewal_is_tried_again_before_the_token_expires() {
    let mut hub = ForeignHub::start().await;
    let clock = ManualClock::new(start());
    let sender = soon(hub.builder().clock(clock.clock()).connect()).await.unwrap();
    hub.token().await;
    hub.behave(|behaviour| behaviour.token_status = Some(500));
    clock.advance(45 * MINUTE);
    hub.token().await;
    // The old token is still good.
    let (sent, ()) =
        tokio::join!(sender.send(device(), C2dMessage::default()), async { hub.arrival().await.accept() });
    sent.unwrap();
    hub.behave(|behaviour| behaviour.token_status = Some(200));
    // Three quarters of the remaining 15 minutes.
    clock.advance(MINUTE * 45 / 4);
    let now = start() + 45 * MINUTE + MINUTE * 45 / 4;
    assert_eq!(verified(&hub.token().await, now).expiry().as_second(), (now + 60 * MINUTE).as_second());
    assert_eq!(hub.connections(), 1);
}

#[tokio::test]
async fn answers_as_servers_give_them_are_understood() {
    for (status, correlates) in [(200, true), (200, false), (202, true)] {
        let hub = ForeignHub::start_with(Behaviour {
            token_status: Some(status),
            correlates,
            ..Behaviour::default()
        })
        .await;
        hub.sender().await.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_refused_token_says_what_to_check_and_shows_no_secret() {
    for (status, kind) in [
        (Some(401), ErrorKind::NotAuthorized),
        (None, ErrorKind::NotAuthorized),
        (Some(404), ErrorKind::HubNotFound),
        (Some(500), ErrorKind::Unavailable),
        (Some(429), ErrorKind::Throttled),
    ] {
        let hub = ForeignHub::start_with(Behaviour { token_status: status, ..Behaviour::default() }).await;
        let failure = soon(C2dSender::connect(&hub.connection_string())).await.unwrap_err();
        assert_eq!(failure.kind(), kind, "{status:?}");
        let all = format!("{failure} {failure:?} {}", failure.source().unwrap());
        assert!(!all.contains(KEY) && !all.contains("sig="), "{all}");
        if kind == ErrorKind::NotAuthorized {
            assert!(all.contains("service connect") && all.contains("clock"), "{all}");
        }
        if let Some(status) = status {
            assert!(all.contains(&status.to_string()), "{all}");
        }
    }
}

#[tokio::test]
async fn a_refused_link_is_not_asked_for_again() {
    let refusal = error("amqp:unauthorized-access", "the policy does not grant it");
    let hub = ForeignHub::start_with(Behaviour { link_error: Some(refusal), ..Behaviour::default() }).await;
    // The hub may refuse before or after the link is there; either way it is the sender that hears it.
    let failure = match soon(hub.builder().connect()).await {
        Ok(sender) => soon(sender.send(device(), C2dMessage::default())).await.unwrap_err(),
        Err(failure) => failure,
    };
    assert_eq!(failure.kind(), ErrorKind::NotAuthorized);
    assert_eq!(failure.condition(), Some("amqp:unauthorized-access"));
    // One connection for the sender and one for the message, none for trying again.
    assert!(hub.connections() <= 2);
}

#[tokio::test]
async fn a_wrong_key_costs_one_attempt_for_all_that_is_queued() {
    let mut hub = ForeignHub::start().await;
    let sender = hub.sender().await;
    hub.behave(|behaviour| behaviour.token_status = Some(401));
    hub.part().await;
    assert_eq!(hub.tokens_so_far(), 1);
    // On one thread, all are queued before the first fails.
    let sending = (0..50).map(|_| sender.send(device(), C2dMessage::default()));
    for sent in soon(futures_util::future::join_all(sending)).await {
        assert_eq!(sent.unwrap_err().kind(), ErrorKind::NotAuthorized);
    }
    assert_eq!(hub.tokens_so_far(), 1);

    // The next message tries anew.
    hub.behave(|behaviour| behaviour.token_status = Some(200));
    let (sent, ()) =
        tokio::join!(sender.send(device(), C2dMessage::default()), async { hub.arrival().await.accept() });
    sent.unwrap();
}

/// A hub whose clock was set forward refuses each message, and keeps the connection.
#[tokio::test]
async fn a_message_that_an_old_token_kept_out_is_sent_again_with_a_fresh_one() {
    let mut hub = ForeignHub::start().await;
    let clock = ManualClock::new(start());
    let sender = soon(hub.builder().clock(clock.clock()).connect()).await.unwrap();
    assert_eq!(verified(&hub.token().await, start()).expiry(), start() + 60 * MINUTE);
    clock.advance(20 * MINUTE);
    let refusal = || error("amqp:unauthorized-access", "the token has expired");
    let (sent, ()) = tokio::join!(sender.send(device(), C2dMessage::new("twice")), async {
        hub.arrival().await.reject(Some(refusal()));
        let again = hub.arrival().await;
        assert_eq!(again.body(), "twice");
        again.accept();
    });
    sent.unwrap();
    let now = start() + 20 * MINUTE;
    assert_eq!(verified(&hub.token().await, now).expiry(), now + 60 * MINUTE);
    assert_eq!(hub.connections(), 2);

    // A fresh token that is refused as well is the answer.
    clock.advance(20 * MINUTE);
    let (sent, ()) = tokio::join!(sender.send(device(), C2dMessage::new("never")), async {
        hub.arrival().await.reject(Some(refusal()));
        hub.arrival().await.reject(Some(refusal()));
    });
    assert_eq!(sent.unwrap_err().kind(), ErrorKind::NotAuthorized);
    let (sent, ()) = tokio::join!(sender.send(device(), C2dMessage::new("nor this")), async {
        hub.arrival().await.reject(Some(refusal()));
    });
    assert_eq!(sent.unwrap_err().kind(), ErrorKind::NotAuthorized);
    assert_eq!(hub.connections(), 3);
}
