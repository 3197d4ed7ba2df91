//! [`RawAmqp`] is a back end that speaks AMQP frame by frame, over a real socket: another library than the hub's
//! encodes performatives and messages, and the test itself encodes everything else.

use std::time::Duration;

use fe2o3_amqp_types::definitions::{Error, Handle, ReceiverSettleMode, Role, SenderSettleMode};
use fe2o3_amqp_types::messaging::message::__private::{Deserializable, Serializable};
use fe2o3_amqp_types::messaging::{
    ApplicationProperties, Body, Data, DeliveryState, Message, MessageId, Properties, Source, Target,
};
use fe2o3_amqp_types::performatives::{
    Attach, Begin, ChannelMax, Flow, MaxFrameSize, Open, Performative, Transfer,
};
use fe2o3_amqp_types::primitives::{Binary, SimpleValue, Symbol, Value};
use fe2o3_amqp_types::sasl::{SaslInit, SaslOutcome};
use iothub_auth::{SasToken, ServiceConnectionString};
use iothub_local_hub::{PolicyName, RunningHub};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::raw_mqtt::soon;

pub(crate) const AMQP: &[u8; 8] = b"AMQP\x00\x01\x00\x00";
pub(crate) const SASL: &[u8; 8] = b"AMQP\x03\x01\x00\x00";
/// The node that takes cloud-to-device messages.
pub(crate) const DEVICE_BOUND: &str = "/messages/devicebound";
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// The condition and the description of an error, as a client reads them.
pub(crate) type Refusal = (String, String);

/// An answer on `$cbs`.
#[derive(Debug, PartialEq)]
pub(crate) struct CbsAnswer {
    pub(crate) status: i32,
    pub(crate) description: String,
    pub(crate) correlation_id: Option<MessageId>,
}

/// A connection.
pub(crate) struct RawAmqp {
    stream: Box<dyn Stream>,
    next_delivery: u32,
}

/// A TLS connection to the hub's AMQP port that has sent nothing yet.
pub(crate) async fn tls(hub: &RunningHub) -> TlsStream<TcpStream> {
    let config = iothub_auth::client_config(Some(hub.ca_file())).unwrap();
    let stream = TcpStream::connect(("127.0.0.1", hub.ports().amqps)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    soon(TlsConnector::from(config).connect(name, stream)).await.unwrap()
}

/// A policy's token for a resource, signed now.
pub(crate) fn token_for(hub: &RunningHub, policy: PolicyName, resource: &str, ttl: Duration) -> String {
    let string: ServiceConnectionString = hub.connection_string(policy).parse().unwrap();
    let now = hub.clock().now();
    SasToken::sign(resource, &string.key, now, ttl, Some(policy.as_str())).unwrap().reveal().to_owned()
}

/// The token a back end uses: of the policy `service`, for the whole hub, for an hour.
pub(crate) fn service_token(hub: &RunningHub) -> String {
    token_for(hub, PolicyName::Service, "localhost", HOUR)
}

pub(crate) fn frame(kind: u8, channel: u16, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len() + 8).unwrap();
    [&size.to_be_bytes()[..], &[2, kind], &channel.to_be_bytes(), body].concat()
}

/// A frame with a performative and what follows it.
pub(crate) fn performative(performative: &Performative, payload: &[u8]) -> Vec<u8> {
    frame(0, 0, &[&serde_amqp::to_vec(performative).unwrap()[..], payload].concat())
}

pub(crate) fn open_frame() -> Vec<u8> {
    let open = Open {
        container_id: "stranger".into(),
        hostname: Some("localhost".into()),
        max_frame_size: MaxFrameSize(65536),
        channel_max: ChannelMax(10),
        idle_time_out: None,
        outgoing_locales: None,
        incoming_locales: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    };
    performative(&Performative::Open(open), &[])
}

fn begin_frame() -> Vec<u8> {
    let begin = Begin {
        remote_channel: None,
        next_outgoing_id: 0,
        incoming_window: 1000,
        outgoing_window: 1000,
        handle_max: Handle(255),
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    };
    performative(&Performative::Begin(begin), &[])
}

/// Makes one transfer of a delivery.
pub(crate) fn transfer(handle: u32, id: u32, more: bool) -> Transfer {
    Transfer {
        handle: Handle(handle),
        delivery_id: Some(id),
        delivery_tag: Some(Binary::from(id.to_be_bytes().to_vec())),
        message_format: Some(0),
        settled: Some(false),
        more,
        rcv_settle_mode: None,
        state: None,
        resume: false,
        aborted: false,
        batchable: false,
    }
}

/// A message to a device, encoded.
pub(crate) fn c2d(device: &str, body: &[u8]) -> Vec<u8> {
    c2d_with(&format!("/devices/{device}/messages/devicebound"), body, |_| {})
}

/// A message to an address, with whatever `change` does to it, encoded.
pub(crate) fn c2d_with(to: &str, body: &[u8], change: impl FnOnce(&mut Message<Data>)) -> Vec<u8> {
    let mut message = Message::from(Data(Binary::from(body.to_vec())));
    message.properties = Some(Properties::builder().to(to).build());
    change(&mut message);
    serde_amqp::to_vec(&Serializable(message)).unwrap()
}

/// Application properties of text.
pub(crate) fn properties(pairs: &[(&str, &str)]) -> ApplicationProperties {
    pairs
        .iter()
        .fold(ApplicationProperties::builder(), |all, (name, value)| all.insert(*name, *value))
        .build()
}

/// A put-token request, encoded.
pub(crate) fn put_token(id: Option<MessageId>, token: &str) -> Vec<u8> {
    let kind = "servicebus.windows.net:sastoken";
    request(id, &[("operation", "put-token"), ("type", kind), ("name", "localhost")], token)
}

/// Any request to `$cbs`, encoded.
pub(crate) fn request(id: Option<MessageId>, pairs: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut message = Message::builder().value(Value::String(body.to_owned())).build();
    message.properties = id.map(|id| Properties::builder().message_id(id).build());
    message.application_properties = Some(properties(pairs));
    serde_amqp::to_vec(&Serializable(message)).unwrap()
}

impl RawAmqp {
    pub(crate) fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), next_delivery: 0 }
    }

    /// Under TLS, with nothing sent.
    pub(crate) async fn connect(hub: &RunningHub) -> Self {
        Self::new(tls(hub).await)
    }

    /// On the port without TLS.
    pub(crate) async fn connect_plain(hub: &RunningHub) -> Self {
        Self::new(TcpStream::connect(("127.0.0.1", hub.ports().amqp)).await.unwrap())
    }

    /// Open, with a session on channel 0.
    pub(crate) async fn open(hub: &RunningHub) -> Self {
        let mut peer = Self::connect(hub).await;
        peer.say_open().await;
        peer
    }

    /// Open, with a token on `$cbs` that is accepted; its links have the handles 0 and 1.
    pub(crate) async fn authorized(hub: &RunningHub) -> Self {
        let mut peer = Self::open(hub).await;
        peer.attach_cbs().await;
        assert_eq!(peer.put_token(&service_token(hub)).await.status, 200);
        peer
    }

    /// Header, open and begin, and what the hub says to them.
    pub(crate) async fn say_open(&mut self) {
        self.write(&[&AMQP[..], &open_frame(), &begin_frame()].concat()).await;
        assert_eq!(self.read_header().await, *AMQP);
        assert!(matches!(self.recv().await.0, Performative::Open(_)));
        assert!(matches!(self.recv().await.0, Performative::Begin(_)));
    }

    /// Begins a session on channel 0 again.
    pub(crate) async fn begin(&mut self) {
        self.write(&begin_frame()).await;
        while !matches!(self.recv().await.0, Performative::Begin(_)) {}
    }

    /// Begins one more session without waiting for an answer.
    pub(crate) async fn say_begin_on(&mut self, channel: u16) {
        let mut begin = begin_frame();
        begin[6..8].copy_from_slice(&channel.to_be_bytes());
        self.write(&begin).await;
    }

    /// SASL with one mechanism, up to the outcome code.
    pub(crate) async fn sasl(&mut self, mechanism: &str, response: Option<&[u8]>) -> u8 {
        let init = SaslInit {
            mechanism: Symbol::from(mechanism),
            initial_response: response.map(|response| Binary::from(response.to_vec())),
            hostname: None,
        };
        self.write(&[&SASL[..], &frame(1, 0, &serde_amqp::to_vec(&init).unwrap())].concat()).await;
        assert_eq!(self.read_header().await, *SASL);
        let (kind, mechanisms) = self.recv_frame().await;
        assert_eq!(kind, 1);
        for offered in ["MSSBCBS", "PLAIN", "ANONYMOUS"] {
            assert!(mechanisms.windows(offered.len()).any(|part| part == offered.as_bytes()), "{offered}");
        }
        self.read_sasl_outcome().await
    }

    /// The mechanisms the hub offers, and the code of its outcome.
    pub(crate) async fn sasl_outcome(&mut self) -> u8 {
        assert_eq!(self.recv_frame().await.0, 1);
        self.read_sasl_outcome().await
    }

    async fn read_sasl_outcome(&mut self) -> u8 {
        let (kind, outcome) = self.recv_frame().await;
        assert_eq!(kind, 1);
        serde_amqp::from_slice::<SaslOutcome>(&outcome).unwrap().code as u8
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        soon(async {
            self.stream.write_all(bytes).await.unwrap();
            self.stream.flush().await.unwrap();
        })
        .await;
    }

    /// Writes unless the hub has hung up.
    pub(crate) async fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        soon(async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        })
        .await
    }

    pub(crate) async fn send(&mut self, frame: Performative, payload: &[u8]) {
        self.write(&performative(&frame, payload)).await;
    }

    pub(crate) async fn read_header(&mut self) -> [u8; 8] {
        let mut header = [0; 8];
        soon(self.stream.read_exact(&mut header)).await.unwrap();
        header
    }

    async fn recv_frame(&mut self) -> (u8, Vec<u8>) {
        let header = self.read_header().await;
        let size = u32::from_be_bytes(header[..4].try_into().unwrap()) as usize;
        assert!((8..=65536).contains(&size), "a frame of {size} bytes");
        let mut body = vec![0; size - 8];
        soon(self.stream.read_exact(&mut body)).await.unwrap();
        (header[5], body)
    }

    /// The next performative on any channel, and its payload.
    pub(crate) async fn recv(&mut self) -> (Performative, Vec<u8>) {
        loop {
            let (kind, body) = self.recv_frame().await;
            assert_eq!(kind, 0);
            if body.is_empty() {
                continue;
            }
            // A list of one or four bytes of size, behind a descriptor of three bytes.
            let length = match body[3] {
                0xc0 => 5 + usize::from(body[4]),
                0xd0 => 8 + u32::from_be_bytes(body[4..8].try_into().unwrap()) as usize,
                other => panic!("a performative of type {other:#x}"),
            };
            let payload = body[length..].to_vec();
            return (serde_amqp::from_slice(&body[..length]).unwrap(), payload);
        }
    }

    /// The hub ends the connection without another word.
    pub(crate) async fn expect_end(mut self) {
        let mut rest = Vec::new();
        // An end or a reset.
        if soon(self.stream.read_to_end(&mut rest)).await.is_ok() {
            assert_eq!(rest, b"");
        }
    }

    /// The error of the detach, end or close that comes next, and which of them it is.
    pub(crate) async fn expect_error(&mut self) -> (&'static str, Refusal) {
        loop {
            let (kind, error) = match self.recv().await.0 {
                Performative::Detach(detach) => ("detach", detach.error),
                Performative::End(end) => ("end", end.error),
                Performative::Close(close) => ("close", close.error),
                _ => continue,
            };
            return (kind, refusal(error.expect("a reason")));
        }
    }

    /// Attaches a link without waiting for an answer; with `Role::Sender` we send.
    pub(crate) async fn say_attach(&mut self, handle: u32, role: Role, address: &str) {
        let credit = role == Role::Receiver;
        let attach = Attach {
            name: format!("link-{handle}"),
            handle: Handle(handle),
            initial_delivery_count: (!credit).then_some(0),
            role,
            snd_settle_mode: SenderSettleMode::Mixed,
            rcv_settle_mode: ReceiverSettleMode::First,
            source: Some(Box::new(Source::builder().address(address).build())),
            target: Some(Box::new(Target::builder().address(address).build().into())),
            unsettled: None,
            incomplete_unsettled: false,
            max_message_size: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        self.send(Performative::Attach(attach), &[]).await;
    }

    /// Attaches a link on which we send, and returns the credit; or why it was refused.
    pub(crate) async fn attach_sender(&mut self, handle: u32, address: &str) -> Result<u32, Refusal> {
        self.say_attach(handle, Role::Sender, address).await;
        self.attached(handle).await?;
        loop {
            if let Performative::Flow(flow) = self.recv().await.0
                && flow.handle == Some(Handle(handle))
            {
                return Ok(flow.link_credit.unwrap());
            }
        }
    }

    /// Attaches a link on which we receive, and grants credit; or says why it was refused.
    pub(crate) async fn attach_receiver(&mut self, handle: u32, address: &str) -> Result<(), Refusal> {
        self.say_attach(handle, Role::Receiver, address).await;
        self.attached(handle).await?;
        self.grant(handle, 100).await;
        Ok(())
    }

    pub(crate) async fn grant(&mut self, handle: u32, credit: u32) {
        let flow = Flow {
            next_incoming_id: Some(0),
            incoming_window: 1000,
            next_outgoing_id: 0,
            outgoing_window: 1000,
            handle: Some(Handle(handle)),
            delivery_count: Some(0),
            link_credit: Some(credit),
            available: None,
            drain: false,
            echo: false,
            properties: None,
        };
        self.send(Performative::Flow(flow), &[]).await;
    }

    /// The answer to an attach, or why it was refused.
    pub(crate) async fn attached(&mut self, handle: u32) -> Result<Attach, Refusal> {
        let attach = loop {
            if let Performative::Attach(attach) = self.recv().await.0
                && attach.handle == Handle(handle)
            {
                break attach;
            }
        };
        // A link that is about to be refused has nothing on the hub's side.
        let node =
            if attach.role == Role::Receiver { attach.target.is_some() } else { attach.source.is_some() };
        if node {
            return Ok(attach);
        }
        let (kind, refusal) = self.expect_error().await;
        assert_eq!(kind, "detach");
        Err(refusal)
    }

    /// The links to `$cbs`: we send on 0 and receive on 1.
    pub(crate) async fn attach_cbs(&mut self) {
        self.attach_receiver(1, "$cbs").await.unwrap();
        self.attach_sender(0, "$cbs").await.unwrap();
    }

    /// Puts a token, and returns the answer.
    pub(crate) async fn put_token(&mut self, token: &str) -> CbsAnswer {
        self.post(0, &put_token(Some(MessageId::Ulong(7)), token)).await;
        self.cbs_answer().await
    }

    /// The next answer on `$cbs`.
    pub(crate) async fn cbs_answer(&mut self) -> CbsAnswer {
        loop {
            let (Performative::Transfer(transfer), payload) = self.recv().await else { continue };
            assert_eq!((transfer.handle, transfer.more), (Handle(1), false));
            let Deserializable(answer): Deserializable<Message<Body<Value>>> =
                serde_amqp::from_slice(&payload).unwrap();
            let properties = answer.application_properties.unwrap();
            let of = |wanted: &str| properties.iter().find(|(name, _)| *name == wanted).unwrap().1;
            // Clients take no other type of number.
            let SimpleValue::Int(status) = *of("status-code") else { panic!("no int: {properties:?}") };
            let SimpleValue::String(description) = of("status-description") else { panic!("{properties:?}") };
            let correlation_id = answer.properties.and_then(|properties| properties.correlation_id);
            return CbsAnswer { status, description: description.clone(), correlation_id };
        }
    }

    /// Sends a message in as many frames as it takes, and returns its delivery id.
    pub(crate) async fn post(&mut self, handle: u32, message: &[u8]) -> u32 {
        let id = self.next_delivery;
        self.next_delivery += 1;
        let mut chunks = message.chunks(60_000).peekable();
        while let Some(chunk) = chunks.next() {
            let head = transfer(handle, id, chunks.peek().is_some());
            self.send(Performative::Transfer(head), chunk).await;
        }
        id
    }

    /// The next outcome: of which deliveries, and what it is.
    pub(crate) async fn outcome(&mut self) -> (u32, u32, Result<(), Refusal>) {
        loop {
            match self.recv().await.0 {
                Performative::Disposition(disposition) => {
                    assert!(disposition.settled);
                    let outcome = match disposition.state.unwrap() {
                        DeliveryState::Accepted(_) => Ok(()),
                        DeliveryState::Rejected(rejected) => Err(refusal(rejected.error.unwrap())),
                        other => panic!("{other:?}"),
                    };
                    return (disposition.first, disposition.last.unwrap_or(disposition.first), outcome);
                }
                Performative::Flow(_) => {}
                other => panic!("no outcome: {other:?}"),
            }
        }
    }

    /// Sends a message and returns what becomes of it.
    pub(crate) async fn deliver(&mut self, handle: u32, message: &[u8]) -> Result<(), Refusal> {
        let id = self.post(handle, message).await;
        loop {
            let (first, last, outcome) = self.outcome().await;
            if last < id {
                continue; // that of a token
            }
            assert_eq!((first, last), (id, id));
            return outcome;
        }
    }
}

/// Every refusal says why; those of the hub itself carry an id under which its log has the rest.
pub(crate) fn refusal(error: Error) -> Refusal {
    let Value::Symbol(condition) = serde_amqp::to_value(&error.condition).unwrap() else {
        panic!("{error:?}")
    };
    (condition.0, error.description.expect("every refusal says why"))
}

/// The condition alone.
pub(crate) fn condition<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> String {
    outcome.unwrap_err().0
}
