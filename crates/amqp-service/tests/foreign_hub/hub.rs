//! The foreign hub as a test sees it: what it shall do, and what has arrived.

use std::io::Write as _;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use fe2o3_amqp::link::delivery::DeliveryInfo;
use fe2o3_amqp_types::definitions::{AmqpError, Error, ErrorCondition, Fields, LinkError};
use fe2o3_amqp_types::messaging::{Body, DeliveryState, Message, Modified, Rejected, Released};
use fe2o3_amqp_types::primitives::{SimpleValue, Symbol};
use iothub_amqp_service::{
    C2dSender, C2dSenderBuilder, DeviceId, EventReader, EventReaderBuilder, EventSource, FeedbackReceiver,
    FeedbackReceiverBuilder, ServiceConnectionString,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_amqp::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use crate::event_hub::{EVENT_HUB, Outlet};
use crate::serve::listen;

/// Long enough for a slow machine, short enough to fail a test.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const KEY: &str = "Zm9yZWlnbi1odWItcG9saWN5LWtleS0wMTIzNDU2Nzg5YWI=";

pub(crate) fn device() -> &'static DeviceId {
    static DEVICE: LazyLock<DeviceId> = LazyLock::new(|| "myDevice".parse().unwrap());
    &DEVICE
}

/// Awaits something that must happen soon.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it did not happen in time")
}

/// What the hub does from now on.
#[derive(Clone, Debug)]
pub(crate) struct Behaviour {
    /// How it takes new connections.
    pub(crate) door: Door,
    /// The status it answers a put-token with; `None` rejects the message instead.
    pub(crate) token_status: Option<i32>,
    /// Whether answers of `$cbs` name the request.
    pub(crate) correlates: bool,
    /// The error it closes each new link with, `$cbs` apart.
    pub(crate) link_error: Option<Error>,
    pub(crate) max_message_size: Option<u64>,
    /// The partitions of its event hub: the first and the last sequence number that each keeps.
    pub(crate) partitions: Vec<(i64, i64)>,
    /// The error it closes links of readers with.
    pub(crate) reading_error: Option<Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Open,
    /// Hangs up at once.
    Slammed,
    /// Takes the connection and says nothing.
    Silent,
    /// Answers with an Open whose properties nest 5,000 deep.
    Abysmal,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            door: Door::Open,
            token_status: Some(200),
            correlates: true,
            link_error: None,
            max_message_size: None,
            partitions: vec![(0, -1)],
            reading_error: None,
        }
    }
}

/// A put-token request that arrived.
#[derive(Debug)]
pub(crate) struct PutToken {
    pub(crate) message: Message<Body<Value>>,
    /// Which pair of links brought it, counted over all connections.
    pub(crate) pair: usize,
}

/// A cloud-to-device message that arrived and waits for its verdict.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) message: Message<Body<Value>>,
    pub(crate) delivery: DeliveryInfo,
    pub(crate) verdicts: mpsc::UnboundedSender<(DeliveryInfo, DeliveryState)>,
}

impl Arrival {
    pub(crate) fn accept(self) {
        self.settle(DeliveryState::Accepted(fe2o3_amqp_types::messaging::Accepted {}));
    }

    pub(crate) fn reject(self, error: Option<Error>) {
        self.settle(DeliveryState::Rejected(Rejected { error }));
    }

    pub(crate) fn release(self) {
        self.settle(DeliveryState::Released(Released {}));
    }

    pub(crate) fn modify(self) {
        self.settle(DeliveryState::Modified(Modified {
            delivery_failed: Some(true),
            undeliverable_here: None,
            message_annotations: None,
        }));
    }

    fn settle(self, verdict: DeliveryState) {
        self.verdicts.send((self.delivery, verdict)).unwrap();
    }

    pub(crate) fn body(&self) -> String {
        match &self.message.body {
            Body::Data(sections) => {
                let [section] = &sections[..] else { panic!("one data section, not {sections:?}") };
                String::from_utf8(section.0.to_vec()).unwrap()
            }
            other => panic!("a data section, not {other:?}"),
        }
    }
}

/// An error as IoT Hub's, with a tracking id in its info.
pub(crate) fn error(condition: &str, description: &str) -> Error {
    let mut info = Fields::new();
    info.insert(Symbol::from("com.microsoft:tracking-id"), Value::String("tracking-1".to_owned()));
    let condition = match condition {
        "amqp:not-found" => ErrorCondition::AmqpError(AmqpError::NotFound),
        "amqp:link:stolen" => ErrorCondition::LinkError(LinkError::Stolen),
        other => ErrorCondition::Custom(Symbol::from(other)),
    };
    Error::new(condition, Some(description.to_owned()), Some(info))
}

/// What the tests and the hub's tasks share.
pub(crate) struct Shared {
    pub(crate) behaviour: Mutex<Behaviour>,
    pub(crate) connections: watch::Sender<usize>,
    /// Connections that have ended.
    pub(crate) ended: watch::Sender<usize>,
    pub(crate) pairs: AtomicUsize,
    pub(crate) arrivals: mpsc::UnboundedSender<Arrival>,
    pub(crate) outlets: mpsc::UnboundedSender<Outlet>,
    pub(crate) tokens: mpsc::UnboundedSender<PutToken>,
    pub(crate) cut: watch::Sender<()>,
    pub(crate) part: watch::Sender<()>,
    pub(crate) frozen: watch::Sender<bool>,
}

pub(crate) struct ForeignHub {
    shared: Arc<Shared>,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    outlets: mpsc::UnboundedReceiver<Outlet>,
    tokens: mpsc::UnboundedReceiver<PutToken>,
    pub(crate) port: u16,
    ca_file: tempfile::NamedTempFile,
}

impl ForeignHub {
    pub(crate) async fn start() -> Self {
        Self::start_with(Behaviour::default()).await
    }

    pub(crate) async fn start_with(behaviour: Behaviour) -> Self {
        Self::start_as(behaviour, true).await
    }

    /// One that speaks in the clear, as emulators do.
    pub(crate) async fn start_plain() -> Self {
        Self::start_as(Behaviour::default(), false).await
    }

    async fn start_as(behaviour: Behaviour, encrypts: bool) -> Self {
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut ca_file = tempfile::NamedTempFile::new().unwrap();
        ca_file.write_all(certificate.cert.pem().as_bytes()).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der()));
        let tls = rustls::ServerConfig::builder_with_provider(iothub_auth::ring_provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (arrivals, arrivals_of) = mpsc::unbounded_channel();
        let (outlets, outlets_of) = mpsc::unbounded_channel();
        let (tokens, tokens_of) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(behaviour),
            connections: watch::Sender::new(0),
            ended: watch::Sender::new(0),
            pairs: AtomicUsize::new(0),
            arrivals,
            outlets,
            tokens,
            cut: watch::Sender::new(()),
            part: watch::Sender::new(()),
            frozen: watch::Sender::new(false),
        });
        let tls = encrypts.then(|| TlsAcceptor::from(Arc::new(tls)));
        tokio::spawn(listen(listener, tls, Arc::clone(&shared)));
        Self { shared, arrivals: arrivals_of, outlets: outlets_of, tokens: tokens_of, port, ca_file }
    }

    pub(crate) fn connection_string(&self) -> String {
        format!(
            "HostName=localhost;SharedAccessKeyName=service;SharedAccessKey={KEY};AmqpsPort={};TrustedCaFile={}",
            self.port,
            self.ca_file.path().display()
        )
    }

    /// What a program gets that goes to the event hub itself.
    pub(crate) fn events_connection_string(&self) -> String {
        format!(
            "Endpoint=sb://localhost/;SharedAccessKeyName=service;SharedAccessKey={KEY};EntityPath={EVENT_HUB};\
             AmqpsPort={};TrustedCaFile={}",
            self.port,
            self.ca_file.path().display()
        )
    }

    pub(crate) fn reader(&self) -> EventReaderBuilder {
        EventReader::builder(self.connection_string().parse::<EventSource>().unwrap())
    }

    pub(crate) fn builder(&self) -> C2dSenderBuilder {
        C2dSender::builder(self.connection_string().parse::<ServiceConnectionString>().unwrap())
    }

    pub(crate) fn feedback_builder(&self) -> FeedbackReceiverBuilder {
        FeedbackReceiver::builder(self.connection_string().parse::<ServiceConnectionString>().unwrap())
    }

    /// A receiver of feedback, and the hub's end of its link.
    pub(crate) async fn feedback(&mut self) -> (FeedbackReceiver, Outlet) {
        let receiver = soon(self.feedback_builder().connect()).await.unwrap();
        (receiver, self.outlet().await)
    }

    pub(crate) async fn sender(&self) -> C2dSender {
        soon(self.builder().connect()).await.unwrap()
    }

    pub(crate) fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.behaviour.lock().unwrap());
    }

    /// The next message that arrives.
    pub(crate) async fn arrival(&mut self) -> Arrival {
        soon(self.arrivals.recv()).await.unwrap()
    }

    /// The next link that a client attached to receive on.
    pub(crate) async fn outlet(&mut self) -> Outlet {
        soon(self.outlets.recv()).await.unwrap()
    }

    /// A message that has arrived already.
    pub(crate) fn arrived(&mut self) -> Option<Arrival> {
        self.arrivals.try_recv().ok()
    }

    pub(crate) async fn token(&mut self) -> PutToken {
        soon(self.tokens.recv()).await.unwrap()
    }

    pub(crate) fn tokens_so_far(&mut self) -> usize {
        std::iter::from_fn(|| self.tokens.try_recv().ok()).count()
    }

    pub(crate) fn connections(&self) -> usize {
        *self.shared.connections.borrow()
    }

    /// Waits until so many connections have been taken in all.
    pub(crate) async fn has_taken(&self, connections: usize) {
        let mut count = self.shared.connections.subscribe();
        soon(count.wait_for(|count| *count >= connections)).await.unwrap();
    }

    /// Waits until so many connections have ended in all.
    pub(crate) async fn has_lost(&self, connections: usize) {
        let mut count = self.shared.ended.subscribe();
        soon(count.wait_for(|count| *count >= connections)).await.unwrap();
    }

    /// Breaks every open connection, without a word.
    pub(crate) fn cut(&self) {
        self.shared.cut.send_replace(());
    }

    /// Closes the link of every open connection, and waits until the clients have gone. Since they go
    /// because they noticed, the next message finds no connection.
    pub(crate) async fn part(&self) {
        let connections = self.connections();
        self.shared.part.send_replace(());
        self.has_lost(connections).await;
    }

    /// From now on nothing is read or written; connections stay open.
    pub(crate) fn freeze(&self) {
        self.shared.frozen.send_replace(true);
    }
}

/// The application property of this name, if it is a string.
pub(crate) fn text<'m>(message: &'m Message<Body<Value>>, name: &str) -> Option<&'m str> {
    message.application_properties.as_ref()?.iter().find_map(|(key, value)| match value {
        SimpleValue::String(text) if key == name => Some(text.as_str()),
        _ => None,
    })
}
