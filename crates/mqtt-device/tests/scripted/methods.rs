//! Direct methods: every call is answered, by the application or in its place, on its own connection or
//! not at all.

use std::time::Duration;

use iothub_auth::ManualClock;
use iothub_mqtt_device::{
    DeviceClient, DirectMethodCall, DirectMethodResponse, DirectMethods, ErrorKind, MethodHandlers,
    ModuleClient,
};
use rumqttc::{Packet, Publish, QoS, SubAck, SubscribeReasonCode};
use serde_json::{Value, json};

use super::broker::{Broker, Peer};

/// A client that takes direct methods.
async fn serving(broker: &Broker) -> (DeviceClient, Peer, DirectMethods) {
    let (client, mut peer) = tokio::join!(broker.client().connect(), broker.welcome(false));
    let client = client.unwrap();
    let (methods, ()) = tokio::join!(client.direct_methods(), peer.serve_methods());
    (client, peer, methods.unwrap())
}

async fn next(methods: &mut DirectMethods) -> DirectMethodCall {
    methods.next().await.expect("a call")
}

fn answer(status: i32, id: &str, body: &str) -> (i32, String, String) {
    (status, id.to_owned(), body.to_owned())
}

#[tokio::test]
async fn a_call_is_answered_under_its_own_id() {
    let broker = Broker::start().await;
    let (client, mut peer, mut methods) = serving(&broker).await;
    assert_eq!(client.direct_methods().await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    peer.call("reboot", "1a", r#"{"delay":3}"#).await;
    peer.call("thermostat1*getMaxMinReport", "%41-b", r#""2026-11-25T00:00:00Z""#).await;
    peer.call("!#%&'*+-.^_`|~", "3", "").await;
    let (reboot, report, odd) =
        (next(&mut methods).await, next(&mut methods).await, next(&mut methods).await);

    assert_eq!((reboot.method().as_str(), reboot.payload()), ("reboot", &json!({"delay": 3})));
    assert!(reboot.command().component().is_none());
    assert_eq!(report.command().component().map(AsRef::as_ref), Some("thermostat1"));
    assert_eq!(report.command().command(), "getMaxMinReport");
    assert_eq!(report.payload_as::<String>().unwrap(), "2026-11-25T00:00:00Z");
    assert!(report.payload_as::<u8>().is_err());
    assert_eq!((odd.method().as_str(), odd.payload()), ("!#%&'*+-.^_`|~", &Value::Null));

    // In the order of answering, with any status.
    odd.respond(DirectMethodResponse::new(-7, Value::Null)).unwrap();
    report.respond(DirectMethodResponse::new(200, json!({"maxTemp": 1.5, "avgTemp": 1.0}))).unwrap();
    reboot.respond(DirectMethodResponse::new(599, "")).unwrap();
    assert_eq!(peer.answer_of_device().await, answer(-7, "3", "null"));
    assert_eq!(peer.answer_of_device().await, answer(200, "%41-b", r#"{"maxTemp":1.5,"avgTemp":1.0}"#));
    assert_eq!(peer.answer_of_device().await, answer(599, "1a", r#""""#));
}

#[tokio::test]
async fn a_call_that_nobody_answers_is_answered_as_failed() {
    let broker = Broker::start().await;
    let (client, mut peer, mut methods) = serving(&broker).await;
    peer.call("reboot", "1", "null").await;
    drop(next(&mut methods).await);
    assert_eq!(
        peer.answer_of_device().await,
        answer(500, "1", r#"{"error":"the device's program gave no answer"}"#)
    );

    peer.call("reboot", "2", "{oops").await;
    let (status, id, body) = peer.answer_of_device().await;
    assert_eq!((status, id.as_str()), (400, "2"), "{body}");

    // What is unread when the stream goes, what comes after that, and what the next stream gets.
    peer.call("reboot", "3", "").await;
    peer.call("unread", "4", "").await;
    let read = next(&mut methods).await;
    drop(methods);
    let (status, id, _) = peer.answer_of_device().await;
    assert_eq!((status, id.as_str()), (500, "4"));
    read.respond(DirectMethodResponse::new(200, 1)).unwrap();
    assert_eq!(peer.answer_of_device().await, answer(200, "3", "1"));
    peer.call("reboot", "5", "").await;
    let (status, id, _) = peer.answer_of_device().await;
    assert_eq!((status, id.as_str()), (501, "5"));
    let mut methods = client.direct_methods().await.unwrap();
    peer.call("reboot", "6", "").await;
    assert_eq!(next(&mut methods).await.method().as_str(), "reboot");
}

#[tokio::test]
async fn what_is_beyond_the_bound_is_answered_and_not_dropped() {
    let broker = Broker::start().await;
    let (_client, mut peer, mut methods) = serving(&broker).await;
    let calls: Vec<_> = (0..257)
        .map(|id| {
            Packet::Publish(Publish::new(format!("$iothub/methods/POST/m/?$rid={id}"), QoS::AtMostOnce, "1"))
        })
        .collect();
    peer.write(&calls).await;
    let (status, id, _) = peer.answer_of_device().await;
    assert_eq!((status, id.as_str()), (429, "256"));
    for id in 0..256 {
        next(&mut methods).await.respond(DirectMethodResponse::new(200, id)).unwrap();
        assert_eq!(peer.answer_of_device().await, answer(200, &id.to_string(), &id.to_string()));
    }
}

#[tokio::test]
async fn an_answer_never_leaves_on_another_connection() {
    let broker = Broker::start().await;
    let (_client, mut peer, mut methods) = serving(&broker).await;
    peer.call("m", "1", r#""old""#).await;
    peer.call("m", "2", r#""unread""#).await;
    let old = next(&mut methods).await;
    peer.cut();

    let mut peer = broker.welcome(true).await;
    peer.serve_methods().await;
    assert_eq!(
        old.respond(DirectMethodResponse::new(200, "old")).unwrap_err().kind(),
        ErrorKind::Disconnected
    );
    peer.call("m", "1", r#""new""#).await;
    let new = next(&mut methods).await;
    assert_eq!(new.payload(), "new", "what was unread is the hub's to fail");
    new.respond(DirectMethodResponse::new(200, "new")).unwrap();
    assert_eq!(peer.answer_of_device().await, answer(200, "1", r#""new""#));
}

#[tokio::test]
async fn the_largest_answer_leaves_and_a_larger_one_is_told_to_both_sides() {
    let broker = Broker::start().await;
    let (client, mut peer, mut methods) = serving(&broker).await;
    for (id, length) in [("1", 128 * 1024 - 2), ("2", 128 * 1024 - 1)] {
        peer.call("m", id, "").await;
        let outcome = next(&mut methods).await.respond(DirectMethodResponse::new(200, "x".repeat(length)));
        let (status, answered, body) = peer.answer_of_device().await;
        assert_eq!(answered, id);
        if id == "1" {
            assert!(outcome.is_ok());
            assert_eq!((status, body.len()), (200, 128 * 1024));
        } else {
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::TooLarge);
            assert_eq!(
                (status, body.as_str()),
                (500, r#"{"error":"the device's answer is larger than 128 KB"}"#)
            );
        }
    }
    peer.call("m", "3", "").await;
    let late = next(&mut methods).await;
    client.shutdown().await.unwrap();
    assert!(methods.next().await.is_none());
    assert_eq!(late.respond(DirectMethodResponse::new(200, 1)).unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_call_at_qos_1_is_acknowledged_and_answered() {
    let broker = Broker::start().await;
    let (_client, mut peer, mut methods) = serving(&broker).await;
    let mut call = Publish::new("$iothub/methods/POST/m/?$rid=1", QoS::AtLeastOnce, "");
    call.pkid = 9;
    peer.write(&[Packet::Publish(call)]).await;
    assert!(matches!(peer.read().await, Some(Packet::PubAck(ack)) if ack.pkid == 9));
    next(&mut methods).await.respond(DirectMethodResponse::new(200, true)).unwrap();
    assert_eq!(peer.answer_of_device().await, answer(200, "1", "true"));
}

#[tokio::test]
async fn a_hub_that_refuses_methods_says_so_and_may_be_asked_again() {
    let broker = Broker::start().await;
    let (client, mut peer) = tokio::join!(broker.client().connect(), broker.welcome(false));
    let client = client.unwrap();
    let (refused, ()) = tokio::join!(client.direct_methods(), async {
        let (packet_id, _) = peer.asks_for().await;
        peer.write(&[Packet::SubAck(SubAck::new(packet_id, vec![SubscribeReasonCode::Failure]))]).await;
    });
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAuthorized);
    assert!(error.to_string().contains("direct methods"), "{error}");
    let (methods, ()) = tokio::join!(client.direct_methods(), peer.serve_methods());
    peer.call("m", "1", "").await;
    assert_eq!(next(&mut methods.unwrap()).await.method().as_str(), "m");
}

#[tokio::test]
async fn handlers_answer_their_methods_side_by_side() {
    let broker = Broker::start().await;
    let (client, mut peer, methods) = serving(&broker).await;
    let (release, released) = tokio::sync::watch::channel(false);
    let handlers = MethodHandlers::new()
        .on("slow", move |payload| {
            let mut released = released.clone();
            async move {
                released.wait_for(|released| *released).await.unwrap();
                DirectMethodResponse::new(200, payload)
            }
        })
        .on("fast", async |_| DirectMethodResponse::new(204, Value::Null));
    let serving = tokio::spawn(handlers.serve(methods));
    peer.call("slow", "1", r#""s""#).await;
    peer.call("fast", "2", "").await;
    peer.call("unknown", "3", "").await;
    let mut answered = [peer.answer_of_device().await, peer.answer_of_device().await];
    answered.sort();
    assert_eq!(
        answered,
        [answer(204, "2", "null"), answer(404, "3", r#"{"error":"the device knows no method unknown"}"#)]
    );
    release.send(true).unwrap();
    assert_eq!(peer.answer_of_device().await, answer(200, "1", r#""s""#));
    client.shutdown().await.unwrap();
    serving.await.unwrap();
}

#[tokio::test]
async fn a_module_has_methods_too() {
    let broker = Broker::start().await;
    let string = broker.string().replace("DeviceId=d1", "DeviceId=d1;ModuleId=m1");
    let (client, mut peer) = tokio::join!(ModuleClient::connect(&string), broker.welcome(false));
    let client = client.unwrap();
    let (methods, ()) = tokio::join!(client.direct_methods(), peer.serve_methods());
    let mut methods = methods.unwrap();
    peer.call("m", "1", "").await;
    next(&mut methods).await.respond(DirectMethodResponse::new(200, "module")).unwrap();
    assert_eq!(peer.answer_of_device().await, answer(200, "1", r#""module""#));
}

#[tokio::test]
async fn a_renewed_token_waits_for_the_answers_that_are_due() {
    let broker = Broker::start().await;
    let hands = ManualClock::new("2026-11-21T00:00:00Z".parse().unwrap());
    let connect = broker.client_at(hands.clock()).token_ttl(Duration::from_secs(100)).connect();
    let (client, mut peer) = tokio::join!(connect, broker.welcome(false));
    let client = client.unwrap();
    let (methods, ()) = tokio::join!(client.direct_methods(), peer.serve_methods());
    let mut methods = methods.unwrap();
    peer.call("m", "1", "").await;
    let call = next(&mut methods).await;
    hands.advance(Duration::from_secs(86));
    // By now a client that does not wait would have said goodbye.
    for id in ["2", "3"] {
        peer.call("m", id, "{").await;
        assert_eq!(peer.answer_of_device().await.0, 400);
    }
    call.respond(DirectMethodResponse::new(200, 1)).unwrap();
    assert_eq!(peer.answer_of_device().await, answer(200, "1", "1"));
    assert!(matches!(peer.read().await, Some(Packet::Disconnect)));
    drop(client);
}
