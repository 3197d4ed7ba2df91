//! [`Peer`] is the raw peer of the testkit in memory, with the server it talks to. [`crate::shape`] checks every frame that
//! it gets.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use fe2o3_amqp_types::{
    definitions::{Handle, Role},
    performatives::*,
};
use iothub_amqp_server::{
    ConnectionConfig, ConnectionEnd, ConnectionHandle, LinkId, ServeError, Symbol, serve,
};
use iothub_testkit::amqp::{AMQP, AmqpPeer, Frame, attach, condition_of};
use tokio::{io::duplex, sync::mpsc, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    nodes::{Event, Feed, Nodes},
    shape,
};

/// The longest a test waits for anything, on tokio's (often paused) clock.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A connection to a server of its own.
pub(crate) struct Peer {
    raw: AmqpPeer,
    pub(crate) events: mpsc::UnboundedReceiver<Event>,
    pub(crate) feed: Feed,
    handle: Arc<Mutex<Option<ConnectionHandle>>>,
    pub(crate) feed_link: Arc<Mutex<Option<LinkId>>>,
    pub(crate) server: JoinHandle<Result<ConnectionEnd, ServeError>>,
    pub(crate) shutdown: CancellationToken,
    queue: VecDeque<(u16, Performative, Bytes)>,
}

pub(crate) fn config() -> ConnectionConfig {
    ConnectionConfig {
        container_id: "test".into(),
        sasl_mechanisms: ["MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL"].map(Symbol::from).into(),
        ..ConnectionConfig::default()
    }
}

impl Peer {
    /// Opens a connection that has sent nothing yet. `pipe` is the number of bytes that either side may write unread.
    pub(crate) fn connect(config: ConnectionConfig, pipe: usize) -> Self {
        Self::connect_as(config, pipe, true)
    }

    /// Opens a connection as [`Peer::connect`] does; the handler trusts the peer from the start, or only after its
    /// first message.
    pub(crate) fn connect_as(config: ConnectionConfig, pipe: usize, trusted: bool) -> Self {
        let (stream, theirs) = duplex(pipe);
        let (sender, events) = mpsc::unbounded_channel();
        let mut nodes = Nodes::new(sender);
        nodes.trusted = trusted;
        let (feed, handle) = (nodes.feed.clone(), nodes.handle.clone());
        let feed_link = nodes.feed_link.clone();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(theirs, Arc::new(config), nodes, shutdown.clone()));
        let raw = AmqpPeer::new(stream).with_patience(PATIENCE);
        Self { raw, events, feed, handle, feed_link, server, shutdown, queue: VecDeque::new() }
    }

    /// Opens a connection with header, open and a session on channel 0.
    pub(crate) async fn open_with(config: ConnectionConfig, pipe: usize) -> Self {
        let mut peer = Self::connect(config, pipe);
        peer.say_open().await;
        peer
    }

    /// Exchanges header and open, and begins a session on channel 0.
    pub(crate) async fn say_open(&mut self) {
        self.write(AMQP).await;
        self.send(0, open()).await;
        assert_eq!(self.raw.read_header().await, *AMQP);
        assert!(matches!(self.recv().await, Performative::Open(_)));
        self.begin(0, 100).await;
    }

    pub(crate) async fn open() -> Self {
        Self::open_with(config(), 1 << 20).await
    }

    /// Begins a session whose incoming window is `window`.
    pub(crate) async fn begin(&mut self, channel: u16, window: u32) {
        let begin = Begin {
            next_outgoing_id: 7,
            incoming_window: window,
            outgoing_window: 100,
            ..iothub_testkit::amqp::begin()
        };
        self.send(channel, Performative::Begin(begin)).await;
        let Performative::Begin(begin) = self.recv_on(channel).await.0 else { panic!("no begin") };
        assert_eq!(begin.remote_channel, Some(channel));
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.raw.write(bytes).await;
    }

    /// Writes unless the server has hung up.
    pub(crate) async fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.raw.try_write(bytes).await
    }

    pub(crate) async fn send(&mut self, channel: u16, performative: Performative) {
        self.send_with(channel, performative, &[]).await;
    }

    pub(crate) async fn send_with(&mut self, channel: u16, performative: Performative, payload: &[u8]) {
        self.raw.send_on(channel, &performative, payload).await;
    }

    pub(crate) async fn read_exact(&mut self, into: &mut [u8]) {
        self.raw.read_exact(into).await;
    }

    pub(crate) async fn recv_frame(&mut self) -> Frame {
        self.raw.recv_frame().await
    }

    /// Returns the next performative on channel 0.
    pub(crate) async fn recv(&mut self) -> Performative {
        self.recv_on(0).await.0
    }

    /// Returns the next performative on a channel, with its payload. Frames of other channels are kept for later calls.
    pub(crate) async fn recv_on(&mut self, channel: u16) -> (Performative, Bytes) {
        loop {
            if let Some(at) = self.queue.iter().position(|(c, ..)| *c == channel) {
                let (_, performative, payload) = self.queue.remove(at).unwrap();
                return (performative, payload);
            }
            let Frame { kind, channel, body } = self.recv_frame().await;
            assert_eq!(kind, 0);
            if body.is_empty() {
                continue;
            }
            let len = shape::check(&body);
            let performative = serde_amqp::from_slice(&body[..len]).unwrap();
            self.queue.push_back((channel, performative, Bytes::copy_from_slice(&body[len..])));
        }
    }

    /// Returns the next transfer on channel 0; flows before it are dropped.
    pub(crate) async fn recv_transfer(&mut self) -> (Transfer, Bytes) {
        loop {
            match self.recv_on(0).await {
                (Performative::Transfer(transfer), payload) => return (transfer, payload),
                (Performative::Flow(_), _) => {}
                (other, _) => panic!("no transfer: {other:?}"),
            }
        }
    }

    pub(crate) async fn recv_disposition(&mut self) -> Disposition {
        loop {
            match self.recv().await {
                Performative::Disposition(disposition) => return disposition,
                Performative::Flow(_) => {}
                other => panic!("no disposition: {other:?}"),
            }
        }
    }

    /// Returns which of detach, end and close comes next on channel 0, and the condition of its error.
    pub(crate) async fn recv_error(&mut self) -> (&'static str, String) {
        self.recv_error_on(0).await
    }

    /// Returns which of detach, end and close comes next on `channel`, and the condition of its error.
    pub(crate) async fn recv_error_on(&mut self, channel: u16) -> (&'static str, String) {
        loop {
            let (kind, error) = match self.recv_on(channel).await.0 {
                Performative::Detach(detach) => ("detach", detach.error),
                Performative::End(end) => ("end", end.error),
                Performative::Close(close) => ("close", close.error),
                _ => continue,
            };
            return (kind, condition_of(&error.expect("an error")));
        }
    }

    /// Attaches a link on which we send, and returns the server's attach and first credit.
    pub(crate) async fn attach_sender(&mut self, handle: u32, target: &str) -> (Attach, u32) {
        self.send(0, Performative::Attach(attach(handle, Role::Sender, "/us", target))).await;
        let Performative::Attach(attach) = self.recv().await else { panic!("no attach") };
        let Performative::Flow(flow) = self.recv().await else { panic!("no credit") };
        assert_eq!(flow.handle, Some(Handle(handle)));
        (attach, flow.link_credit.unwrap())
    }

    /// Attaches a link on which we receive, and grants credit.
    pub(crate) async fn attach_receiver(&mut self, handle: u32, source: &str, credit: u32) -> Attach {
        self.send(0, Performative::Attach(attach(handle, Role::Receiver, source, "/us"))).await;
        let Performative::Attach(attach) = self.recv().await else { panic!("no attach") };
        if credit > 0 {
            self.send(0, flow(Some(handle), credit)).await;
        }
        attach
    }

    /// Returns the handle that the server's nodes got when the connection was opened.
    pub(crate) fn handle(&self) -> ConnectionHandle {
        self.handle.lock().unwrap().clone().expect("the connection is open")
    }

    /// Returns what `pick` makes of the next event for which it returns a value. Events before it are dropped.
    pub(crate) async fn event<T>(&mut self, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        loop {
            let event = timeout(PATIENCE, self.events.recv()).await.expect("no such event").expect("over");
            if let Some(picked) = pick(event) {
                return picked;
            }
        }
    }

    /// Waits for the server to end, dropping the bytes that it still sends. The handler's last word is `on_closed`.
    pub(crate) async fn end(self) -> ConnectionEnd {
        self.raw.read_to_end().await;
        ended(self.server, self.events).await
    }

    /// Stops listening and talking, as a peer that crashed.
    pub(crate) async fn vanish(self) -> ConnectionEnd {
        drop(self.raw);
        ended(self.server, self.events).await
    }
}

/// Waits for the server's task, and checks that the handler heard of the end.
async fn ended(
    server: JoinHandle<Result<ConnectionEnd, ServeError>>,
    mut events: mpsc::UnboundedReceiver<Event>,
) -> ConnectionEnd {
    let end = timeout(PATIENCE, server).await.unwrap().unwrap().unwrap();
    let mut last = None;
    while let Some(event) = events.recv().await {
        last = Some(event);
    }
    assert!(matches!(last, Some(Event::Closed)), "{last:?}");
    end
}

pub(crate) fn open() -> Performative {
    Performative::Open(Open {
        container_id: "peer".into(),
        hostname: Some("here".into()),
        max_frame_size: MaxFrameSize(1024),
        ..iothub_testkit::amqp::open()
    })
}

/// Returns a flow that grants credit, or one of the session alone.
pub(crate) fn flow(handle: Option<u32>, credit: u32) -> Performative {
    Performative::Flow(flow_fields(handle, credit))
}

pub(crate) fn flow_fields(handle: Option<u32>, credit: u32) -> Flow {
    Flow {
        incoming_window: 100,
        next_outgoing_id: 7,
        outgoing_window: 100,
        ..iothub_testkit::amqp::flow(handle, credit)
    }
}

pub(crate) fn transfer(handle: u32, id: u32, settled: bool, more: bool) -> Performative {
    let transfer = iothub_testkit::amqp::transfer(handle, id, more);
    Performative::Transfer(Transfer { settled: Some(settled), ..transfer })
}

/// Returns an encoded message with one data section.
pub(crate) fn data(bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).unwrap();
    [&[0x00, 0x53, 0x75, 0xb0][..], &len.to_be_bytes(), bytes].concat()
}
