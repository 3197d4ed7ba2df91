//! These tests check connections that cannot be made, break, stall or end, and the outcome of the messages on them.

use std::error::Error as _;
use std::time::Duration;

use iothub_amqp_service::{C2dMessage, C2dSender, ErrorKind};
use iothub_auth::ManualClock;
use jiff::Timestamp;
use tokio::net::TcpListener;

use crate::hub::{Behaviour, Door, ForeignHub, device, soon};

const MINUTE: Duration = Duration::from_secs(60);

fn manual() -> ManualClock {
    ManualClock::new(Timestamp::UNIX_EPOCH + 500_000 * MINUTE)
}

/// Sends a message, and has the hub accept it.
async fn delivered(hub: &mut ForeignHub, sender: &C2dSender, body: &str) {
    let (sent, ()) = soon(async {
        tokio::join!(sender.send(device(), C2dMessage::new(body)), async {
            let arrival = hub.arrival().await;
            assert_eq!(arrival.body(), body);
            arrival.accept();
        })
    })
    .await;
    sent.unwrap();
}

#[tokio::test]
async fn a_refused_port_here_asks_whether_the_hub_runs_and_not_for_firewalls() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let string = format!("HostName=localhost;SharedAccessKeyName=p;SharedAccessKey=a2V5;AmqpsPort={port}");
    let failure = soon(C2dSender::connect(&string)).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Network);
    assert!(failure.is_retryable());
    let shown = failure.to_string();
    for named in [&format!("localhost:{port}"), "is the hub running? `cargo xtask hub`", "AmqpsPort="] {
        assert!(shown.contains(named), "{shown}");
    }
    assert!(!shown.contains("firewall"), "{shown}");
    assert!(failure.source().is_some());
}

#[tokio::test]
async fn a_certificate_nobody_vouches_for_is_refused() {
    let hub = ForeignHub::start().await;
    let string = hub.connection_string();
    let (without_ca, _) = string.split_once(";TrustedCaFile=").unwrap();
    let failure = soon(C2dSender::connect(without_ca)).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Tls);
    assert!(failure.to_string().contains("TrustedCaFile="), "{failure}");

    let missing = format!("{without_ca};TrustedCaFile=/nowhere/ca.pem");
    let failure = soon(C2dSender::connect(&missing)).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Tls);
    assert!(failure.source().unwrap().to_string().contains("/nowhere/ca.pem"), "{failure:?}");
}

#[tokio::test]
async fn a_string_that_is_none_is_an_invalid_argument() {
    let failure = C2dSender::connect("HostName=localhost").await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::InvalidArgument);
    assert!(failure.source().unwrap().to_string().contains("SharedAccessKeyName is missing"), "{failure:?}");
}

#[tokio::test]
async fn a_hub_cannot_end_the_process() {
    let hub = ForeignHub::start_with(Behaviour { door: Door::Abysmal, ..Behaviour::default() }).await;
    let failure = soon(hub.builder().connect()).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Protocol);
    assert!(failure.source().unwrap().to_string().contains("nested too deep"), "{failure:?}");
}

#[tokio::test]
async fn a_hub_that_says_nothing_is_not_waited_for_beyond_the_deadline() {
    let hub = ForeignHub::start_with(Behaviour { door: Door::Silent, ..Behaviour::default() }).await;
    let clock = manual();
    let connecting = tokio::spawn(hub.builder().clock(clock.clock()).connect());
    hub.has_taken(1).await;
    clock.advance(Duration::from_secs(30));
    let failure = soon(connecting).await.unwrap().unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Network);
}

#[tokio::test]
async fn a_connection_lost_before_the_verdict_leaves_the_outcome_open_and_sends_nothing_twice() {
    let mut hub = ForeignHub::start().await;
    let sender = hub.sender().await;
    let sending = tokio::spawn({
        let sender = sender.clone();
        async move { sender.send(device(), C2dMessage::new("lost")).await }
    });
    let arrival = hub.arrival().await;
    hub.cut();
    let failure = soon(sending).await.unwrap().unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::OutcomeUnknown);
    assert!(!failure.is_retryable());
    drop(arrival);
    // What arrives next is the next message, on a new connection.
    delivered(&mut hub, &sender, "next").await;
    assert_eq!(hub.connections(), 2);
    assert!(hub.arrived().is_none());
}

#[tokio::test]
async fn a_connection_lost_while_idle_is_made_again_by_the_next_message() {
    let mut hub = ForeignHub::start().await;
    let sender = hub.sender().await;
    for _ in 0..3 {
        delivered(&mut hub, &sender, "there").await;
        hub.part().await;
    }
    delivered(&mut hub, &sender, "again").await;
}

#[tokio::test]
async fn connecting_again_goes_on_while_the_message_has_time() {
    let mut hub = ForeignHub::start().await;
    let sender = hub.sender().await;
    hub.behave(|behaviour| behaviour.door = Door::Slammed);
    hub.part().await;
    let sending = tokio::spawn({
        let sender = sender.clone();
        async move { sender.send(device(), C2dMessage::new("patient")).await }
    });
    hub.has_taken(4).await;
    hub.behave(|behaviour| behaviour.door = Door::Open);
    hub.arrival().await.accept();
    soon(sending).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_message_that_could_not_be_sent_in_time_says_why_not() {
    let hub = ForeignHub::start().await;
    let sender = soon(hub.builder().send_timeout(Duration::from_millis(500)).connect()).await.unwrap();
    hub.behave(|behaviour| behaviour.door = Door::Slammed);
    hub.part().await;
    let failure = soon(sender.send(device(), C2dMessage::default())).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Network);
    assert!(failure.is_retryable());
    assert!(failure.to_string().contains("is the hub running?"), "{failure}");
}

#[tokio::test]
async fn a_verdict_that_does_not_come_in_time_leaves_the_outcome_open() {
    let mut hub = ForeignHub::start().await;
    let clock = manual();
    let sender = soon(hub.builder().clock(clock.clock()).connect()).await.unwrap();
    let sending = tokio::spawn({
        let sender = sender.clone();
        async move { sender.send(device(), C2dMessage::new("slow")).await }
    });
    let late = hub.arrival().await;
    clock.advance(Duration::from_secs(30));
    let failure = soon(sending).await.unwrap().unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::OutcomeUnknown);
    // The verdict that comes late harms nobody.
    late.accept();
    delivered(&mut hub, &sender, "next").await;
}

/// After one message without an answer, on a connection that brought no other, the next message does not
/// wait for the same.
#[tokio::test]
async fn one_unanswered_message_is_enough_to_try_another_connection() {
    let mut hub = ForeignHub::start().await;
    let clock = manual();
    let sender = soon(hub.builder().clock(clock.clock()).connect()).await.unwrap();
    let send = |body: &'static str| {
        let sender = sender.clone();
        tokio::spawn(async move { sender.send(device(), C2dMessage::new(body)).await })
    };
    let unheard = send("unheard");
    drop(hub.arrival().await);
    clock.advance(Duration::from_secs(20));
    // This one has time left when the first is given up, and keeps its connection until it has its answer.
    let patient = send("patient");
    let late = hub.arrival().await;
    clock.advance(Duration::from_secs(10));
    assert_eq!(soon(unheard).await.unwrap().unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    delivered(&mut hub, &sender, "elsewhere").await;
    assert_eq!(hub.connections(), 2);
    late.accept();
    soon(patient).await.unwrap().unwrap();
    // The connection that was left ends when nobody waits for it.
    delivered(&mut hub, &sender, "still elsewhere").await;
    hub.has_lost(1).await;
    assert_eq!(hub.connections(), 2);
}

/// One message that the hub forgot says nothing about a connection on which it answers others.
#[tokio::test]
async fn a_connection_that_brings_answers_is_kept_although_one_is_missing() {
    let mut hub = ForeignHub::start().await;
    let clock = manual();
    let sender = soon(hub.builder().clock(clock.clock()).connect()).await.unwrap();
    let forgotten = tokio::spawn({
        let sender = sender.clone();
        async move { sender.send(device(), C2dMessage::new("forgotten")).await }
    });
    drop(hub.arrival().await);
    delivered(&mut hub, &sender, "answered").await;
    clock.advance(Duration::from_secs(30));
    assert_eq!(soon(forgotten).await.unwrap().unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    delivered(&mut hub, &sender, "answered too").await;
    assert_eq!(hub.connections(), 1);
}

/// One message of an impatient sender proves nothing about a slow hub; several such messages do.
#[tokio::test]
async fn a_hub_is_given_five_seconds_however_impatient_the_sender() {
    let mut hub = ForeignHub::start().await;
    let clock = manual();
    let second = Duration::from_secs(1);
    let sender = soon(hub.builder().clock(clock.clock()).send_timeout(second).connect()).await.unwrap();
    for unanswered in 1..=5 {
        let sending = tokio::spawn({
            let sender = sender.clone();
            async move { sender.send(device(), C2dMessage::new("unheard")).await }
        });
        drop(hub.arrival().await);
        clock.advance(second);
        assert_eq!(soon(sending).await.unwrap().unwrap_err().kind(), ErrorKind::OutcomeUnknown);
        assert_eq!(hub.connections(), 1, "after {unanswered} s");
    }
    delivered(&mut hub, &sender, "elsewhere").await;
    assert_eq!(hub.connections(), 2);
}

#[tokio::test]
async fn a_hub_that_leaves_a_windowful_unanswered_is_left() {
    let mut hub = ForeignHub::start().await;
    let clock = manual();
    let sender = soon(hub.builder().clock(clock.clock()).max_in_flight(2).connect()).await.unwrap();
    for _ in 0..2 {
        let sending = tokio::spawn({
            let sender = sender.clone();
            async move { sender.send(device(), C2dMessage::new("unheard")).await }
        });
        drop(hub.arrival().await);
        // It answers others, so that the silence is not that of the connection.
        delivered(&mut hub, &sender, "heard").await;
        clock.advance(Duration::from_secs(30));
        assert_eq!(soon(sending).await.unwrap().unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    }
    delivered(&mut hub, &sender, "elsewhere").await;
    assert_eq!(hub.connections(), 2);
}

#[tokio::test]
async fn closing_waits_for_what_was_sent_and_refuses_what_was_not() {
    let mut hub = ForeignHub::start().await;
    let sender = soon(hub.builder().max_in_flight(1).connect()).await.unwrap();
    let send = |body: &'static str| {
        let sender = sender.clone();
        tokio::spawn(async move { sender.send(device(), C2dMessage::new(body)).await })
    };
    let sent = send("sent");
    let arrival = hub.arrival().await;
    let closing = tokio::spawn(sender.clone().close());
    // Queued behind the wish to close.
    tokio::task::yield_now().await;
    let late = send("late");
    tokio::task::yield_now().await;
    assert!(!closing.is_finished());
    arrival.accept();
    soon(sent).await.unwrap().unwrap();
    soon(closing).await.unwrap().unwrap();
    hub.has_lost(1).await;
    assert_eq!(soon(late).await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(
        soon(sender.send(device(), C2dMessage::default())).await.unwrap_err().kind(),
        ErrorKind::Closed
    );
    soon(sender.close()).await.unwrap();
    assert!(hub.arrived().is_none());
}

#[tokio::test]
async fn closing_does_not_wait_for_ever() {
    let hub = ForeignHub::start().await;
    let clock = manual();
    let sender = soon(hub.builder().clock(clock.clock()).connect()).await.unwrap();
    hub.freeze();
    let closing = tokio::spawn(sender.close());
    while !closing.is_finished() {
        clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    let failure = soon(closing).await.unwrap().unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn the_last_clone_s_end_ends_the_connection() {
    let hub = ForeignHub::start().await;
    let sender = hub.sender().await;
    let clone = sender.clone();
    drop(sender);
    drop(clone);
    hub.has_lost(1).await;
}
