//! A foreign client over loopback TCP, as applications use it.

// The foreign client's futures are large, and a test makes few of them.
#![allow(clippy::large_futures)]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use fe2o3_amqp::{
    Connection, Receiver, Sender, Session,
    connection::ConnectionHandle,
    link::{ReceiverAttachError, SenderAttachError},
    sasl_profile::SaslProfile,
    session::SessionHandle,
};
use fe2o3_amqp_types::{
    definitions::ReceiverSettleMode,
    messaging::{Body, Data, Message, Outcome},
    primitives::Value,
};
use iothub_amqp_server::{ConnectionEnd, ServeError, serve};
use serde_amqp::primitives::Binary;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    nodes::{Event, Feed, Nodes},
    peer::{config, data},
};

struct Client {
    connection: ConnectionHandle<()>,
    session: SessionHandle<()>,
    feed: Feed,
    events: mpsc::UnboundedReceiver<Event>,
    server: JoinHandle<Result<ConnectionEnd, ServeError>>,
}

impl Client {
    async fn connect(sasl: Option<SaslProfile>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        theirs.set_nodelay(true).unwrap();
        let (sender, events) = mpsc::unbounded_channel();
        let nodes = Nodes::new(sender);
        let feed = nodes.feed.clone();
        let server = tokio::spawn(serve(theirs, Arc::new(config()), nodes, CancellationToken::new()));
        let builder = Connection::builder().container_id("client").hostname("here").max_frame_size(4096);
        let mut connection = match sasl {
            Some(profile) => builder.sasl_profile(profile).open_with_stream(stream).await.unwrap(),
            None => builder.open_with_stream(stream).await.unwrap(),
        };
        let session = Session::begin(&mut connection).await.unwrap();
        Self { connection, session, feed, events, server }
    }

    async fn close(mut self) {
        self.session.end().await.unwrap();
        self.connection.close().await.unwrap();
        assert_eq!(self.server.await.unwrap().unwrap(), ConnectionEnd::ClosedByPeer(None));
    }
}

fn body(bytes: Vec<u8>) -> Message<Data> {
    Message::builder().data(Binary::from(bytes)).build()
}

async fn in_time(test: impl Future<Output = ()>) {
    timeout(Duration::from_secs(60), test).await.expect("the test hangs");
}

#[tokio::test]
async fn sends_small_and_large_and_learns_outcomes() {
    in_time(async {
        let mut client = Client::connect(Some(SaslProfile::Anonymous)).await;
        let mut sender = Sender::attach(&mut client.session, "s", "/accept").await.unwrap();
        for size in [0, 10, 4000, 5000, 300_000] {
            let message = vec![size as u8; size];
            assert!(matches!(sender.send(body(message.clone())).await.unwrap(), Outcome::Accepted(_)));
            let delivery = loop {
                if let Some(Event::Message(_, delivery)) = client.events.recv().await {
                    break delivery;
                }
            };
            assert_eq!(delivery.decode().unwrap().body.to_data().unwrap(), message);
        }
        for _ in 0..100 {
            sender.send(body(vec![1; 100])).await.unwrap();
        }
        sender.close().await.unwrap();
        let mut sender = Sender::attach(&mut client.session, "r", "/reject").await.unwrap();
        assert!(matches!(sender.send(body(vec![])).await.unwrap(), Outcome::Rejected(_)));
        sender.close().await.unwrap();
        client.close().await;
    })
    .await;
}

#[tokio::test]
async fn receives_small_and_large_in_order() {
    in_time(async {
        let mut client = Client::connect(None).await;
        let bodies: Vec<_> = (0..50usize).map(|n| vec![n as u8; n * n * 50]).collect();
        client.feed.lock().unwrap().extend(bodies.iter().map(|body| Bytes::from(data(body))));
        for (name, address) in [("u", "/feed/unsettled"), ("s", "/feed/settled")] {
            let mut receiver = Receiver::builder()
                .name(name)
                .source(address)
                .credit_mode(fe2o3_amqp::link::receiver::CreditMode::Auto(7))
                .attach(&mut client.session)
                .await
                .unwrap();
            if name == "s" {
                client.feed.lock().unwrap().extend(bodies.iter().map(|body| Bytes::from(data(body))));
            }
            for expected in &bodies {
                let delivery = receiver.recv::<Body<Value>>().await.unwrap();
                receiver.accept(&delivery).await.unwrap();
                let Body::Data(got) = delivery.into_body() else { panic!("no data") };
                assert_eq!(got.iter().map(|data| &data.0[..]).collect::<Vec<_>>(), [expected]);
            }
            receiver.close().await.unwrap();
        }
        client.close().await;
    })
    .await;
}

#[tokio::test]
async fn settles_second_in_two_steps() {
    in_time(async {
        let mut client = Client::connect(None).await;
        client.feed.lock().unwrap().extend([Bytes::from(data(b"x"))]);
        let mut receiver = Receiver::builder()
            .name("second")
            .source("/feed/unsettled")
            .receiver_settle_mode(ReceiverSettleMode::Second)
            .attach(&mut client.session)
            .await
            .unwrap();
        let delivery = receiver.recv::<Body<Value>>().await.unwrap();
        assert_eq!(&delivery.delivery_tag()[..], [0; 16]);
        receiver.accept(&delivery).await.unwrap();
        loop {
            if let Some(Event::Outcome(_, sent)) = client.events.recv().await {
                assert!(!sent.settled);
                break;
            }
        }
        receiver.close().await.unwrap();
        client.close().await;
    })
    .await;
}

#[tokio::test]
async fn reads_refusals() {
    in_time(async {
        // A connection each: after a refusal this client's session is confused about handles.
        let mut client = Client::connect(None).await;
        let refused = Sender::attach(&mut client.session, "no", "/nowhere").await.unwrap_err();
        assert!(matches!(refused, SenderAttachError::RemoteClosedWithError(_)), "{refused:?}");
        let mut client = Client::connect(None).await;
        let refused = Receiver::attach(&mut client.session, "no", "/nowhere").await.unwrap_err();
        assert!(matches!(refused, ReceiverAttachError::RemoteClosedWithError(_)), "{refused:?}");
        let mut client = Client::connect(None).await;
        let mut small = Sender::attach(&mut client.session, "small", "/small").await.unwrap();
        assert!(small.send(body(vec![0; 1000])).await.is_err());
    })
    .await;
}
