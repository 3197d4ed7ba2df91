//! What the foreign hub does by itself: taking connections, sessions and links, answering `$cbs`, and
//! settling messages as it is told.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fe2o3_amqp::acceptor::{
    ConnectionAcceptor, LinkAcceptor, LinkEndpoint, ListenerSessionHandle, SaslAnonymousMechanism,
    SessionAcceptor,
};
use fe2o3_amqp::link::delivery::DeliveryInfo;
use fe2o3_amqp::{Receiver, Sender};
use fe2o3_amqp_types::messaging::{ApplicationProperties, Body, DeliveryState, Message, Properties};
use serde_amqp::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use crate::event_hub::{Outlet, management, redirect};
use crate::hub::{Arrival, Behaviour, Door, PutToken, Shared, error, text};

/// TLS over TCP, or TCP.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub(crate) async fn listen(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        shared.connections.send_modify(|count| *count += 1);
        tokio::spawn(serve(tcp, tls.clone(), Arc::clone(&shared)));
    }
}

async fn serve(tcp: TcpStream, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut cut = shared.cut.subscribe();
    let door = shared.behaviour.lock().unwrap().door;
    match door {
        Door::Slammed => return,
        Door::Silent => return drop(cut.changed().await),
        Door::Open | Door::Abysmal => {}
    }
    let mut io: Box<dyn Io> = match tls {
        None => Box::new(tcp),
        Some(tls) => match tls.accept(tcp).await {
            Ok(tls) => Box::new(tls),
            Err(_) => return,
        },
    };
    if door == Door::Abysmal {
        io.write_all(&abysmal_open()).await.unwrap();
        return drop(cut.changed().await);
    }
    // Whether the client begins with a SASL layer.
    let mut header = [0; 8];
    if io.read_exact(&mut header).await.is_err() {
        return;
    }
    let (near, far) = tokio::io::duplex(64 * 1024);
    let amqp = tokio::spawn(connection(near, header[4] == 3, Arc::clone(&shared)));
    let (mut from_client, mut to_client) = tokio::io::split(io);
    let (mut from_hub, mut to_hub) = tokio::io::split(far);
    to_hub.write_all(&header).await.unwrap();
    let frozen = shared.frozen.subscribe();
    tokio::select! {
        _ = cut.changed() => {}
        () = async {
            tokio::join!(
                pump(&mut from_client, &mut to_hub, frozen.clone()),
                pump(&mut from_hub, &mut to_client, frozen.clone()),
            );
        } => {}
    }
    amqp.abort();
    shared.ended.send_modify(|count| *count += 1);
}

/// The protocol header, and an Open with too much in it.
fn abysmal_open() -> Vec<u8> {
    let mut properties = vec![0x45];
    for _ in 0..5000 {
        let size = u32::try_from(properties.len() + 4).unwrap();
        properties = [&[0xd0], &size.to_be_bytes()[..], &[0, 0, 0, 1], &properties].concat();
    }
    let list = [b"\0\0\0\x0a\xa1\x01c\x40\x40\x40\x40\x40\x40\x40\x40".as_slice(), &properties].concat();
    let size = |bytes: &[u8]| u32::try_from(bytes.len() + 4).unwrap().to_be_bytes();
    let body =
        [b"\0\x53\x10\xd0".as_slice(), &u32::try_from(list.len()).unwrap().to_be_bytes(), &list].concat();
    let rest = [&[2, 0, 0, 0], &body[..]].concat();
    [b"AMQP\0\x01\0\0".as_slice(), &size(&rest), &rest].concat()
}

/// Copies bytes until the end of the stream, or until frozen, for ever.
async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut frozen: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            biased;
            () = async { drop(frozen.wait_for(|frozen| *frozen).await) } => std::future::pending().await,
            read = from.read(&mut buffer) => read.unwrap_or(0),
        };
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() || to.flush().await.is_err() {
            drop(to.shutdown().await);
            return;
        }
    }
}

async fn connection(stream: tokio::io::DuplexStream, sasl: bool, shared: Arc<Shared>) {
    let accepted = if sasl {
        let anonymous = SaslAnonymousMechanism::new();
        let acceptor = ConnectionAcceptor::builder().container_id("foreign-hub").sasl_acceptor(anonymous);
        acceptor.build().accept(stream).await
    } else {
        ConnectionAcceptor::new("foreign-hub").accept(stream).await
    };
    let Ok(mut connection) = accepted else { return };
    while let Ok(session) = SessionAcceptor::new().accept(&mut connection).await {
        tokio::spawn(links(session, Arc::clone(&shared)));
    }
}

async fn links(mut session: ListenerSessionHandle, shared: Arc<Shared>) {
    // Pairs of links that wait for their other half: of `$cbs`, and of `$management`.
    let mut halves: [(Option<Receiver>, Option<Sender>); 2] = Default::default();
    while let Some(attach) = session.next_incoming_attach().await {
        let behaviour = shared.behaviour.lock().unwrap().clone();
        let nodes = format!("{:?}{:?}", attach.source, attach.target);
        let pair = ["$cbs", "$management"].iter().position(|node| nodes.contains(node));
        let copy = attach.clone();
        let mut acceptor = LinkAcceptor::builder();
        if let (Some(size), None) = (behaviour.max_message_size, pair) {
            acceptor = acceptor.max_message_size(size);
        }
        match (acceptor.build().accept_incoming_attach(attach, &mut session).await.unwrap(), pair) {
            (LinkEndpoint::Sender(sender), Some(pair)) => halves[pair].1 = Some(sender),
            (LinkEndpoint::Receiver(receiver), Some(pair)) => halves[pair].0 = Some(receiver),
            (LinkEndpoint::Sender(sender), None) => {
                send_on(Outlet::new(copy, sender), behaviour, &shared).await
            }
            (LinkEndpoint::Receiver(receiver), None) => match behaviour.link_error {
                Some(error) => drop(receiver.close_with_error(error).await),
                None => drop(tokio::spawn(devicebound(receiver, Arc::clone(&shared)))),
            },
        }
        for (pair, halves) in halves.iter_mut().enumerate() {
            let (Some(_), Some(_)) = halves else { continue };
            let (Some(requests), Some(replies)) = std::mem::take(halves) else { unreachable!() };
            if pair == 1 {
                tokio::spawn(management(requests, replies, Arc::clone(&shared)));
                continue;
            }
            let pair = shared.pairs.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(cbs(requests, replies, pair, Arc::clone(&shared)));
        }
    }
}

/// A link on which the hub sends: sends the client elsewhere, refuses it, or leaves it to the test.
async fn send_on(outlet: Outlet, behaviour: Behaviour, shared: &Shared) {
    let refusal = match &outlet.address {
        address if address.starts_with("messages/events") => Some(redirect()),
        address if address.contains("/Partitions/") => behaviour.reading_error,
        _ => behaviour.link_error,
    };
    match refusal {
        Some(error) => drop(outlet.sender.close_with_error(error).await),
        None => drop(shared.outlets.send(outlet)),
    }
}

async fn cbs(mut requests: Receiver, mut replies: Sender, pair: usize, shared: Arc<Shared>) {
    while let Ok(request) = requests.recv::<Body<Value>>().await {
        let behaviour = shared.behaviour.lock().unwrap().clone();
        let Some(status) = behaviour.token_status else {
            requests.reject(&request, error("amqp:unauthorized-access", "no")).await.unwrap();
            continue;
        };
        requests.accept(&request).await.unwrap();
        let id = request.message().properties.as_ref().and_then(|properties| properties.message_id.clone());
        let properties =
            Properties { correlation_id: id.filter(|_| behaviour.correlates), ..Properties::default() };
        // Hubs answer 200, event hubs 202.
        let status = if text(request.message(), "name").is_some_and(|name| name.starts_with("sb://"))
            && status == 200
        {
            202
        } else {
            status
        };
        let reply = Message::builder()
            .properties(properties)
            .application_properties(
                ApplicationProperties::builder()
                    .insert("status-code", status)
                    .insert("status-description", if status < 300 { "OK" } else { "Unauthorized" })
                    .build(),
            )
            .value(Value::Null)
            .build();
        drop(shared.tokens.send(PutToken { message: request.into_message(), pair }));
        if replies.send(reply).await.is_err() {
            return;
        }
    }
}

async fn devicebound(mut receiver: Receiver, shared: Arc<Shared>) {
    let mut part = shared.part.subscribe();
    let (verdicts, mut to_settle) = mpsc::unbounded_channel::<(DeliveryInfo, DeliveryState)>();
    loop {
        tokio::select! {
            _ = part.changed() => {
                drop(receiver.close().await);
                return;
            }
            Some((delivery, verdict)) = to_settle.recv() => {
                let settled = match verdict {
                    DeliveryState::Accepted(_) => receiver.accept(delivery).await,
                    DeliveryState::Rejected(rejected) => receiver.reject(delivery, rejected.error).await,
                    DeliveryState::Released(_) => receiver.release(delivery).await,
                    DeliveryState::Modified(modified) => receiver.modify(delivery, modified).await,
                    other => panic!("no verdict: {other:?}"),
                };
                if settled.is_err() { return }
            }
            delivery = receiver.recv::<Body<Value>>() => {
                let Ok(delivery) = delivery else { return };
                let (delivery, message) = delivery.into_parts();
                drop(shared.arrivals.send(Arrival { message, delivery, verdicts: verdicts.clone() }));
            }
        }
    }
}
