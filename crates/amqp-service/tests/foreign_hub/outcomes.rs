//! What the hub says about a message, and what its sender hears.

use std::error::Error as _;
use std::sync::Arc;

use fe2o3_amqp_types::messaging::MessageId;
use iothub_amqp_service::{C2dMessage, ErrorKind};

use crate::hub::{Behaviour, ForeignHub, device, error, soon, text};

#[tokio::test]
async fn a_message_is_sent_when_the_hub_accepted_it_and_not_before() {
    let mut hub = ForeignHub::start().await;
    let sender = hub.sender().await;
    let message = C2dMessage {
        properties: [("testProperty", "PropMsg_0")].into_iter().collect(),
        ..C2dMessage::new("hello")
    };
    let sending = tokio::spawn({
        let sender = sender.clone();
        async move { sender.send(device(), message).await }
    });

    let arrival = hub.arrival().await;
    assert!(!sending.is_finished());
    assert_eq!(arrival.body(), "hello");
    assert_eq!(text(&arrival.message, "testProperty"), Some("PropMsg_0"));
    let properties = arrival.message.properties.as_ref().unwrap();
    assert_eq!(properties.to.as_deref(), Some("/devices/myDevice/messages/devicebound"));
    let Some(MessageId::String(id)) = &properties.message_id else { panic!("{properties:?}") };
    assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 4);
    arrival.accept();
    soon(sending).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_rejection_is_reported_with_kind_condition_and_tracking_id() {
    let mut hub = ForeignHub::start().await;
    let sender = hub.sender().await;
    for (condition, kind) in [
        ("amqp:not-found", ErrorKind::DeviceNotFound),
        ("amqp:resource-limit-exceeded", ErrorKind::QueueFull),
        ("amqp:link:message-size-exceeded", ErrorKind::TooLarge),
        ("amqp:unauthorized-access", ErrorKind::NotAuthorized),
        ("com.microsoft:argument-error", ErrorKind::InvalidArgument),
        ("com.microsoft:device-container-throttled", ErrorKind::Throttled),
        ("com.microsoft:quota-exceeded", ErrorKind::QuotaExceeded),
        ("amqp:not-allowed", ErrorKind::Refused),
    ] {
        let (sent, ()) = soon(async {
            tokio::join!(sender.send(device(), C2dMessage::new("x")), async {
                hub.arrival().await.reject(Some(error(condition, "because")));
            })
        })
        .await;
        let failure = sent.unwrap_err();
        assert_eq!(failure.kind(), kind, "{condition}");
        assert_eq!(failure.condition(), Some(condition));
        assert_eq!(failure.tracking_id(), Some("tracking-1"));
        assert_eq!(failure.device_id(), Some(device()));
        let (shown, source) = (failure.to_string(), failure.source().unwrap().to_string());
        assert!(shown.contains("device myDevice") && !shown.contains("because"), "{shown}");
        assert!(source.contains("because"), "{source}");
    }
    // None of that did the connection any harm.
    assert_eq!(hub.connections(), 1);
}

#[tokio::test]
async fn what_is_neither_accepted_nor_rejected_may_be_sent_again() {
    let mut hub = ForeignHub::start().await;
    let sender = hub.sender().await;
    for modified in [false, true] {
        let (sent, ()) = tokio::join!(sender.send(device(), C2dMessage::default()), async {
            let arrival = hub.arrival().await;
            if modified { arrival.modify() } else { arrival.release() }
        });
        let failure = sent.unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::Unavailable);
        assert!(failure.is_retryable());
    }
    let (sent, ()) = tokio::join!(sender.send(device(), C2dMessage::default()), async {
        hub.arrival().await.reject(None);
    });
    assert_eq!(sent.unwrap_err().kind(), ErrorKind::Refused);
}

#[tokio::test]
async fn what_no_hub_takes_is_refused_before_it_is_sent() {
    let mut hub = ForeignHub::start().await;
    let sender = hub.sender().await;
    let large = C2dMessage::new(vec![0; 64 * 1024 + 1]);
    assert_eq!(sender.send(device(), large).await.unwrap_err().kind(), ErrorKind::TooLarge);
    let named = C2dMessage { properties: [("clé", "x")].into_iter().collect(), ..C2dMessage::default() };
    let failure = sender.send(device(), named).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::InvalidArgument);
    assert!(failure.to_string().contains('é'), "{failure}");
    // The next message is the first to arrive.
    let (sent, ()) = tokio::join!(sender.send(device(), C2dMessage::new("good")), async {
        let arrival = hub.arrival().await;
        assert_eq!(arrival.body(), "good");
        arrival.accept();
    });
    sent.unwrap();
}

#[tokio::test]
async fn the_link_s_own_size_limit_costs_one_message_and_not_the_link() {
    let mut hub =
        ForeignHub::start_with(Behaviour { max_message_size: Some(1000), ..Behaviour::default() }).await;
    let sender = hub.sender().await;
    let failure = soon(sender.send(device(), C2dMessage::new(vec![0; 2000]))).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::TooLarge);
    let (sent, ()) =
        tokio::join!(sender.send(device(), C2dMessage::new("small")), async { hub.arrival().await.accept() });
    sent.unwrap();
    assert_eq!(hub.connections(), 1);
}

#[tokio::test]
async fn a_message_of_64_kb_travels_in_more_than_one_frame() {
    let mut hub = ForeignHub::start().await;
    let sender = hub.sender().await;
    let mut message = C2dMessage { message_id: Some("m".into()), ..C2dMessage::default() };
    message.body = vec![b'x'; 64 * 1024 - message.size()].into();
    let expected = message.body.len();
    let (sent, ()) = tokio::join!(sender.send(device(), message), async {
        let arrival = hub.arrival().await;
        assert_eq!(arrival.body().len(), expected);
        arrival.accept();
    });
    sent.unwrap();
}

#[tokio::test]
async fn concurrent_messages_do_not_wait_for_each_other_s_verdict() {
    let mut hub = ForeignHub::start().await;
    let sender = hub.sender().await;
    let sending: Vec<_> = (0..100)
        .map(|n| {
            let sender = sender.clone();
            tokio::spawn(async move { sender.send(device(), C2dMessage::new(n.to_string())).await })
        })
        .collect();
    // All arrive while none has its verdict; then they get them in another order.
    let mut arrivals = Vec::new();
    for _ in 0..100 {
        arrivals.push(hub.arrival().await);
    }
    assert!(sending.iter().all(|sending| !sending.is_finished()));
    for (n, arrival) in arrivals.into_iter().rev().enumerate() {
        if n % 10 == 0 { arrival.reject(Some(error("amqp:not-found", ""))) } else { arrival.accept() }
    }
    let mut refused = 0;
    for sending in sending {
        refused += usize::from(soon(sending).await.unwrap().is_err());
    }
    assert_eq!(refused, 10);
    assert_eq!(hub.connections(), 1);
}

#[tokio::test]
async fn no_more_than_the_window_is_unanswered_at_a_time() {
    const WINDOW: usize = 3;
    let mut hub = ForeignHub::start().await;
    let sender = Arc::new(soon(hub.builder().max_in_flight(WINDOW).connect()).await.unwrap());
    let sending: Vec<_> = (0..20)
        .map(|_| {
            let sender = Arc::clone(&sender);
            tokio::spawn(async move { sender.send(device(), C2dMessage::default()).await })
        })
        .collect();
    let mut waiting = Vec::new();
    for _ in 0..20 {
        if waiting.len() == WINDOW {
            assert!(hub.arrived().is_none(), "one more than the window");
            waiting.swap_remove(0_usize);
        }
        let arrival = hub.arrival().await;
        waiting.push(Accepting(Some(arrival)));
    }
    drop(waiting);
    for sending in sending {
        soon(sending).await.unwrap().unwrap();
    }
}

/// Accepts its message when it goes out of scope.
struct Accepting(Option<crate::hub::Arrival>);

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.take().unwrap().accept();
    }
}

#[tokio::test]
async fn a_message_dropped_before_its_turn_is_not_sent() {
    let mut hub = ForeignHub::start().await;
    let sender = soon(hub.builder().max_in_flight(1).connect()).await.unwrap();
    let first = tokio::spawn({
        let sender = sender.clone();
        async move { sender.send(device(), C2dMessage::new("first")).await }
    });
    let arrival = hub.arrival().await;
    let mut withdrawn = Box::pin(sender.send(device(), C2dMessage::new("withdrawn")));
    assert!(futures_util::poll!(&mut withdrawn).is_pending());
    drop(withdrawn);
    arrival.accept();
    soon(first).await.unwrap().unwrap();
    let (sent, ()) = tokio::join!(sender.send(device(), C2dMessage::new("third")), async {
        let arrival = hub.arrival().await;
        assert_eq!(arrival.body(), "third");
        arrival.accept();
    });
    sent.unwrap();
}
