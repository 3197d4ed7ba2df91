//! This file is the seam to rumqttc: it has a connection to the hub on which MQTT packets come and go.
//!
//! The driver connects and serves with it. `iothub-transport` opens the stream below; of rumqttc only the packets and
//! their framing are used. rumqttc's own event loop would number and replay packets itself, drop what is in flight when
//! a session is lost, never set DUP, and flush every packet alone. Here packet ids come from the outbox, packets are
//! gathered and flushed together, and reading goes on while a flush waits, so that two full sockets cannot block each
//! other.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use iothub_auth::{HubAddress, InvalidProxy, ProxySetting};
use iothub_transport::{Connector, Destination, Stream, Transport, WebSocketEndpoint};
use rumqttc::{
    Connect, ConnectReturnCode, Login, Packet, PubAck, Publish, QoS, Subscribe, SubscribeFilter,
    SubscribeReasonCode,
};
use rustls::ClientConfig;
use tokio::time::{Instant, Sleep};
use tokio_util::codec::Framed;

mod failure;

pub(crate) use failure::{ConnectFailure, Failure, Refusal};

/// The framing of packets on a stream.
type Packets = Framed<Stream, rumqttc::Codec>;

/// Largest packet either way: a message of 256 KB, the longest topic, and the headers.
const MAX_PACKET: usize = 384 * 1024;

/// Packets are gathered up to here before a flush. Below this the framing takes a packet without
/// waiting, which is what makes `write` synchronous.
const GATHERED: usize = 8 * 1024;

/// How long the answer to a ping may take, if the keep-alive is no shorter: a dead link is noticed
/// after the keep-alive and this.
const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// Where to connect and as whom.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) connector: Connector,
    /// The port of MQTT over TLS.
    pub(crate) port: u16,
    /// The port of MQTT over WebSocket.
    pub(crate) websocket_port: u16,
    pub(crate) client_id: String,
    pub(crate) user_name: String,
    pub(crate) keep_alive: Duration,
    pub(crate) connect_timeout: Duration,
}

/// An accepted connection.
pub(crate) struct Link {
    packets: Box<Packets>,
    transport: Transport,
    session_present: bool,
    /// Bytes written since the last complete flush.
    unflushed: usize,
    keep_alive: Duration,
    heard: Instant,
    spoke: Instant,
    /// When a ping was sent that nothing has followed yet.
    pinged: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

/// What to subscribe to.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) path: String,
    /// Whether the hub is to wait for an acknowledgement of what it sends.
    pub(crate) at_least_once: bool,
}

/// What happened on a connection.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// All that was written is on its way: there is room again.
    Flushed,
    Acknowledged(u16),
    Subscribed {
        packet_id: u16,
        /// For each filter, in their order.
        accepted: Vec<bool>,
    },
    Published {
        topic: String,
        payload: Bytes,
        /// 0 if the hub wants no acknowledgement.
        packet_id: u16,
        dup: bool,
    },
}

/// The path of MQTT over WebSocket.
const WEBSOCKET_PATH: &str = "/$iothub/websocket";

/// The query of a device without a certificate. Azure would ask for one after the handshake, which TLS 1.3 and rustls do
/// not know; Microsoft's client for Java sends it too.
const NO_CERTIFICATE: &str = "?iothub-no-client-cert=true";

/// The name of MQTT over WebSocket.
const SUBPROTOCOL: &str = "mqtt";

/// Returns the means to open streams to a hub.
pub(crate) fn connector(
    address: &HubAddress,
    tls: Arc<ClientConfig>,
    transport: Transport,
    proxy: &ProxySetting,
) -> Result<Connector, InvalidProxy> {
    let query = if tls.client_auth_cert_resolver.has_certs() { "" } else { NO_CERTIFICATE };
    let websocket = WebSocketEndpoint {
        port: address.https_port,
        path: format!("{WEBSOCKET_PATH}{query}"),
        subprotocol: SUBPROTOCOL,
    };
    let destination = Destination {
        host: address.connect_host().to_owned(),
        port: address.mqtts_port,
        tls: Some(tls),
        websocket: Some(websocket),
    };
    Connector::new(destination, transport, proxy)
}

/// Opens a connection.
///
/// # Cancel safety
/// Dropping the future closes what was opened.
pub(crate) async fn connect(target: &Target, password: Option<&str>) -> Result<Link, ConnectFailure> {
    let deadline = Instant::now() + target.connect_timeout;
    let opened = target.connector.open(target.connect_timeout).await.map_err(ConnectFailure::from)?;
    let transport = opened.transport;
    let codec = rumqttc::Codec { max_incoming_size: MAX_PACKET, max_outgoing_size: MAX_PACKET };
    let mut packets = Box::new(Framed::new(opened.stream, codec));
    let greeted = tokio::time::timeout_at(deadline, greet(&mut packets, target, password)).await;
    let session_present = match greeted.unwrap_or(Err(Failure::Timeout(target.connect_timeout))) {
        Ok(session_present) => session_present,
        Err(failure) => {
            let port = if transport == Transport::WebSocket { target.websocket_port } else { target.port };
            return Err(ConnectFailure { transport, port, failure, before: None });
        }
    };
    let now = Instant::now();
    Ok(Link {
        packets,
        transport,
        session_present,
        unflushed: 0,
        keep_alive: target.keep_alive,
        heard: now,
        spoke: now,
        pinged: None,
        timer: Box::pin(tokio::time::sleep_until(now + target.keep_alive)),
    })
}

/// Sends CONNECT, and returns whether the hub kept the session.
async fn greet(packets: &mut Packets, target: &Target, password: Option<&str>) -> Result<bool, Failure> {
    let mut connect = Connect::new(&target.client_id);
    connect.clean_session = false;
    // The options allow no more than fit.
    connect.keep_alive = u16::try_from(target.keep_alive.as_secs()).unwrap_or(u16::MAX);
    connect.login = Some(Login::new(&target.user_name, password.unwrap_or_default()));
    packets.send(Packet::Connect(connect)).await?;
    match packets.next().await.ok_or(Failure::HungUp)?? {
        Packet::ConnAck(ack) if ack.code == ConnectReturnCode::Success => Ok(ack.session_present),
        Packet::ConnAck(ack) => Err(Failure::refused(ack.code)),
        _ => Err(Failure::unexpected()),
    }
}

enum Step {
    Flushed,
    Packet(Packet),
    Timer,
}

impl Link {
    /// Returns the way that the connection takes: TCP or WebSocket.
    pub(crate) const fn transport(&self) -> Transport {
        self.transport
    }

    /// Whether the hub kept this device's session.
    pub(crate) const fn session_present(&self) -> bool {
        self.session_present
    }

    /// Whether another packet may be written before the next flush.
    pub(crate) const fn has_room(&self) -> bool {
        self.unflushed < GATHERED
    }

    /// Whether all that was written is flushed.
    pub(crate) const fn is_flushed(&self) -> bool {
        self.unflushed == 0
    }

    /// Writes a publish; it leaves with the next flush, which [`next`](Self::next) drives.
    pub(crate) fn publish(
        &mut self,
        packet_id: u16,
        dup: bool,
        topic: &str,
        payload: &Bytes,
    ) -> Result<(), Failure> {
        self.write(Packet::Publish(Publish {
            dup,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: topic.to_owned(),
            pkid: packet_id,
            payload: payload.clone(),
        }))
    }

    /// Writes a publish that has no acknowledgement, for what has an answer of its own.
    pub(crate) fn publish_once(&mut self, topic: String, payload: Bytes) -> Result<(), Failure> {
        self.write(Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic,
            pkid: 0,
            payload,
        }))
    }

    /// Acknowledges a publish of the hub.
    pub(crate) fn acknowledge(&mut self, packet_id: u16) -> Result<(), Failure> {
        self.write(Packet::PubAck(PubAck::new(packet_id)))
    }

    pub(crate) fn subscribe(
        &mut self,
        packet_id: u16,
        filters: impl IntoIterator<Item = Filter>,
    ) -> Result<(), Failure> {
        let mut subscribe = Subscribe::new_many(filters.into_iter().map(|Filter { path, at_least_once }| {
            let qos = if at_least_once { QoS::AtLeastOnce } else { QoS::AtMostOnce };
            SubscribeFilter::new(path, qos)
        }));
        subscribe.pkid = packet_id;
        self.write(Packet::Subscribe(subscribe))
    }

    /// Takes leave: the hub then knows that the device went by its own will.
    pub(crate) async fn goodbye(mut self) {
        let leave = async {
            self.packets.send(Packet::Disconnect).await.ok()?;
            // Over WebSocket the end is said too.
            self.packets.close().await.ok()
        };
        if !matches!(tokio::time::timeout(GOODBYE, leave).await, Ok(Some(()))) {
            tracing::debug!("the connection ended without a goodbye");
        }
    }

    /// Flushes, reads, and keeps the connection alive, until something happens.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Incoming, Failure> {
        loop {
            match poll_fn(|cx| self.poll_step(cx)).await? {
                Step::Flushed => return Ok(Incoming::Flushed),
                Step::Timer => self.check_alive()?,
                Step::Packet(packet) => {
                    if let Some(incoming) = self.received(packet)? {
                        return Ok(incoming);
                    }
                }
            }
        }
    }

    /// What has arrived already.
    pub(crate) fn try_next(&mut self) -> Option<Result<Incoming, Failure>> {
        loop {
            let read = self.packets.next().now_or_never()?;
            let packet = read.ok_or(Failure::HungUp).and_then(|packet| packet.map_err(Failure::from));
            match packet.and_then(|packet| self.received(packet)) {
                Ok(None) => {}
                Ok(Some(incoming)) => return Some(Ok(incoming)),
                Err(failure) => return Some(Err(failure)),
            }
        }
    }

    /// The futures polled here hold no state of their own: each continues where the last one stopped.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Failure>> {
        if self.unflushed > 0
            && let Poll::Ready(flushed) = pin!(self.packets.flush()).poll(cx)
        {
            flushed?;
            self.unflushed = 0;
            self.spoke = Instant::now();
            return Poll::Ready(Ok(Step::Flushed));
        }
        if let Poll::Ready(packet) = self.packets.poll_next_unpin(cx) {
            return Poll::Ready(Ok(Step::Packet(packet.ok_or(Failure::HungUp)??)));
        }
        self.timer.as_mut().poll(cx).map(|()| Ok(Step::Timer))
    }

    fn write(&mut self, packet: Packet) -> Result<(), Failure> {
        let size = packet.size();
        // Below the gathering limit the framing is always ready.
        let Some(written) = self.packets.feed(packet).now_or_never() else {
            return Err(Failure::Broken(std::io::ErrorKind::WouldBlock.into()));
        };
        written?;
        self.unflushed += size;
        Ok(())
    }

    fn received(&mut self, packet: Packet) -> Result<Option<Incoming>, Failure> {
        self.heard = Instant::now();
        self.pinged = None;
        Ok(Some(match packet {
            Packet::PingResp => return Ok(None),
            Packet::PubAck(ack) => Incoming::Acknowledged(ack.pkid),
            Packet::Publish(publish) if publish.qos != QoS::ExactlyOnce => Incoming::Published {
                topic: publish.topic,
                payload: publish.payload,
                packet_id: publish.pkid,
                dup: publish.dup,
            },
            Packet::SubAck(ack) => Incoming::Subscribed {
                packet_id: ack.pkid,
                accepted: ack
                    .return_codes
                    .iter()
                    .map(|code| !matches!(code, SubscribeReasonCode::Failure))
                    .collect(),
            },
            _ => return Err(Failure::unexpected()),
        }))
    }

    /// The timer fired: the hub must have heard from us within the keep-alive, and we from it.
    fn check_alive(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        let due = self.heard.min(self.spoke) + self.keep_alive;
        let patience = PING_TIMEOUT.min(self.keep_alive);
        let next = match self.pinged {
            Some(pinged) if now >= pinged + patience => return Err(Failure::Silent(now - self.heard)),
            Some(pinged) => pinged + patience,
            None if now >= due => {
                // Without room a flush is stuck, which the same deadline ends.
                if self.has_room() {
                    self.write(Packet::PingReq)?;
                }
                self.pinged = Some(now);
                now + patience
            }
            None => due,
        };
        self.timer.as_mut().reset(next);
        Ok(())
    }
}
