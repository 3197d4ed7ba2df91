//! What the foreign hub does by itself: taking connections, sessions and links, answering `$cbs`, and
//! settling messages as it is told.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fe2o3_amqp::acceptor::{
    ConnectionAcceptor, LinkAcceptor, LinkEndpoint, ListenerSessionHandle, SessionAcceptor,
};
use fe2o3_amqp::link::delivery::DeliveryInfo;
use fe2o3_amqp::{Receiver, Sender};
use fe2o3_amqp_types::messaging::{ApplicationProperties, Body, DeliveryState, Message, Properties};
use serde_amqp::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use crate::hub::{Arrival, Door, Outlet, PutToken, Shared, error};

pub(crate) async fn listen(listener: TcpListener, tls: TlsAcceptor, shared: Arc<Shared>) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        shared.connections.send_modify(|count| *count += 1);
        tokio::spawn(serve(tcp, tls.clone(), Arc::clone(&shared)));
    }
}

async fn serve(tcp: TcpStream, tls: TlsAcceptor, shared: Arc<Shared>) {
    let mut cut = shared.cut.subscribe();
    let door = shared.behaviour.lock().unwrap().door;
    match door {
        Door::Slammed => return,
        Door::Silent => return drop(cut.changed().await),
        Door::Open | Door::Abysmal => {}
    }
    let Ok(mut tls) = tls.accept(tcp).await else { return };
    if door == Door::Abysmal {
        tls.write_all(&abysmal_open()).await.unwrap();
        return drop(cut.changed().await);
    }
    let (near, far) = tokio::io::duplex(64 * 1024);
    let amqp = tokio::spawn(connection(near, Arc::clone(&shared)));
    let (mut from_client, mut to_client) = tokio::io::split(tls);
    let (mut from_hub, mut to_hub) = tokio::io::split(far);
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
    from: &mut (impl tokio::io::AsyncRead + Unpin),
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
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

async fn connection(stream: tokio::io::DuplexStream, shared: Arc<Shared>) {
    let acceptor = ConnectionAcceptor::new("foreign-hub");
    let Ok(mut connection) = acceptor.accept(stream).await else { return };
    while let Ok(session) = SessionAcceptor::new().accept(&mut connection).await {
        tokio::spawn(links(session, Arc::clone(&shared)));
    }
}

async fn links(mut session: ListenerSessionHandle, shared: Arc<Shared>) {
    let mut replies = None;
    let mut requests = None;
    while let Some(attach) = session.next_incoming_attach().await {
        let behaviour = shared.behaviour.lock().unwrap().clone();
        let is_cbs = format!("{:?}{:?}", attach.source, attach.target).contains("$cbs");
        let copy = attach.clone();
        let mut acceptor = LinkAcceptor::builder();
        if let (Some(size), false) = (behaviour.max_message_size, is_cbs) {
            acceptor = acceptor.max_message_size(size);
        }
        match acceptor.build().accept_incoming_attach(attach, &mut session).await.unwrap() {
            LinkEndpoint::Sender(sender) if is_cbs => replies = Some(sender),
            LinkEndpoint::Sender(sender) => match behaviour.link_error {
                Some(error) => drop(sender.close_with_error(error).await),
                None => {
                    let address = copy.source.as_ref().and_then(|source| source.address.clone());
                    let outlet = Outlet { address: address.unwrap_or_default(), attach: copy, sender };
                    drop(shared.outlets.send(outlet));
                }
            },
            LinkEndpoint::Receiver(receiver) if is_cbs => requests = Some(receiver),
            LinkEndpoint::Receiver(receiver) => match behaviour.link_error {
                Some(error) => drop(receiver.close_with_error(error).await),
                None => drop(tokio::spawn(devicebound(receiver, Arc::clone(&shared)))),
            },
        }
        if let (Some(_), Some(_)) = (&replies, &requests) {
            let (Some(replies), Some(requests)) = (replies.take(), requests.take()) else { unreachable!() };
            let pair = shared.pairs.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(cbs(requests, replies, pair, Arc::clone(&shared)));
        }
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
