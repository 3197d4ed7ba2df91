//! The one file that knows rumqttc: a TLS connection to the hub on which MQTT packets come and go.
//!
//! rumqttc's event loop opens the connection (TCP, TLS, CONNECT, CONNACK) and is made anew for every
//! attempt, with fresh credentials. From then on only its framing is used: the event loop would number
//! and replay packets itself, drop what is in flight when a session is lost, never set DUP, and flush
//! every packet alone. Here packet ids come from the outbox, packets are gathered and flushed together,
//! and reading goes on while a flush waits, so that two full sockets cannot block each other.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use rumqttc::{
    ConnectReturnCode, Event, EventLoop, MqttOptions, Packet, PubAck, Publish, QoS, Subscribe,
    SubscribeFilter, SubscribeReasonCode, TlsConfiguration, Transport,
};
use tokio::time::{Instant, Sleep};

mod failure;

pub(crate) use failure::{Failure, Refusal};

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
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) client_id: String,
    pub(crate) user_name: String,
    pub(crate) keep_alive: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) tls: Arc<rustls::ClientConfig>,
}

/// An accepted connection.
pub(crate) struct Link {
    event_loop: Box<EventLoop>,
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

/// Opens a connection.
///
/// # Cancel safety
/// Dropping the future closes what was opened.
pub(crate) async fn connect(target: &Target, password: Option<&str>) -> Result<Link, Failure> {
    let mut options = MqttOptions::new(&target.client_id, &target.host, target.port);
    options
        .set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::clone(&target.tls))))
        .set_credentials(&target.user_name, password.unwrap_or_default())
        .set_clean_session(false)
        .set_keep_alive(target.keep_alive)
        .set_manual_acks(true)
        .set_inflight(1)
        .set_max_packet_size(MAX_PACKET, MAX_PACKET);
    let mut event_loop = Box::new(EventLoop::new(options, 1));
    // The deadline is ours, below; this one counts whole seconds.
    event_loop.network_options.set_connection_timeout(u64::from(u32::MAX)).set_tcp_nodelay(true);
    let connected = tokio::time::timeout(target.connect_timeout, event_loop.poll())
        .await
        .map_err(|_| Failure::Timeout(target.connect_timeout))?;
    let session_present = match connected? {
        Event::Incoming(Packet::ConnAck(ack)) if ack.code == ConnectReturnCode::Success => {
            ack.session_present
        }
        _ => return Err(Failure::unexpected()),
    };
    // Its buffers are for the state machine that is not used from here on.
    event_loop.state.events = std::collections::VecDeque::new();
    let now = Instant::now();
    Ok(Link {
        event_loop,
        session_present,
        unflushed: 0,
        keep_alive: target.keep_alive,
        heard: now,
        spoke: now,
        pinged: None,
        timer: Box::pin(tokio::time::sleep_until(now + target.keep_alive)),
    })
}

enum Step {
    Flushed,
    Packet(Packet),
    Timer,
}

impl Link {
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
            let network = self.event_loop.network.as_mut()?;
            network.flush().await.ok()?;
            network.write(Packet::Disconnect).await.ok()?;
            network.flush().await.ok()
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
            let read = self.event_loop.network.as_mut()?.read().now_or_never()?;
            match read.map_err(Failure::from).and_then(|packet| self.received(packet)) {
                Ok(None) => {}
                Ok(Some(incoming)) => return Some(Ok(incoming)),
                Err(failure) => return Some(Err(failure)),
            }
        }
    }

    /// The futures polled here hold no state of their own: each continues where the last one stopped.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Failure>> {
        let Some(network) = self.event_loop.network.as_mut() else {
            return Poll::Ready(Err(Failure::HungUp));
        };
        if self.unflushed > 0
            && let Poll::Ready(flushed) = pin!(network.flush()).poll(cx)
        {
            flushed?;
            self.unflushed = 0;
            self.spoke = Instant::now();
            return Poll::Ready(Ok(Step::Flushed));
        }
        if let Poll::Ready(packet) = pin!(network.read()).poll(cx) {
            return Poll::Ready(Ok(Step::Packet(packet?)));
        }
        self.timer.as_mut().poll(cx).map(|()| Ok(Step::Timer))
    }

    fn write(&mut self, packet: Packet) -> Result<(), Failure> {
        let size = packet.size();
        let network = self.event_loop.network.as_mut().ok_or(Failure::HungUp)?;
        // Below the gathering limit the framing is always ready.
        let Some(written) = network.write(packet).now_or_never() else {
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
