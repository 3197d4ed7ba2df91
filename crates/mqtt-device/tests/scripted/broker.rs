//! A broker that does what a test tells it, packet by packet, so that a test can acknowledge late, lose
//! a session or break a rule. It speaks real TLS on a free port and decides nothing by itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use iothub_mqtt_device::{Clock, DeviceClient, DeviceClientBuilder, ReconnectPolicy};
use rumqttc::{
    ConnAck, Connect, ConnectReturnCode, Packet, PubAck, Publish, QoS, SubAck, SubscribeReasonCode,
};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// No step of a script takes this long unless something is wrong.
const STEP: Duration = Duration::from_secs(20);

pub(crate) struct Broker {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    files: tempfile::TempDir,
}

const fn within(cap: Duration) -> ReconnectPolicy {
    ReconnectPolicy { floor: Duration::ZERO, first: cap, cap, give_up_after: None }
}

/// The broker's end of one connection.
pub(crate) struct Peer {
    stream: TlsStream<TcpStream>,
    buffer: BytesMut,
    pub(crate) connect: Connect,
}

impl Broker {
    pub(crate) async fn start() -> Self {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("ca.pem"), certified.cert.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
        let config = rustls::ServerConfig::builder_with_provider(iothub_auth::ring_provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, acceptor: TlsAcceptor::from(Arc::new(config)), files }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    pub(crate) fn string_without_ca(&self) -> String {
        format!("HostName=localhost;DeviceId=d1;SharedAccessKey=c2VjcmV0LWtleQ==;MqttsPort={}", self.port())
    }

    pub(crate) fn string(&self) -> String {
        format!("{};TrustedCaFile={}", self.string_without_ca(), self.files.path().join("ca.pem").display())
    }

    /// A builder whose client comes back soon, and stays away long enough for its state to be seen.
    pub(crate) fn client(&self) -> DeviceClientBuilder {
        DeviceClient::builder(&self.string()).reconnect(within(Duration::from_millis(20)))
    }

    /// The same for a clock that only the test turns: without any delay.
    pub(crate) fn client_at(&self, clock: Clock) -> DeviceClientBuilder {
        DeviceClient::builder(&self.string()).reconnect(within(Duration::ZERO)).clock(clock)
    }

    /// The next connection, up to its CONNECT.
    pub(crate) async fn accept(&self) -> Peer {
        let accepted = async {
            let (tcp, _) = self.listener.accept().await.unwrap();
            tcp.set_nodelay(true).unwrap();
            self.acceptor.accept(tcp).await.unwrap()
        };
        let stream = tokio::time::timeout(STEP, accepted).await.expect("a connection");
        let connect = Connect::new("");
        let mut peer = Peer { stream, buffer: BytesMut::new(), connect };
        match peer.read().await {
            Some(Packet::Connect(connect)) => peer.connect = connect,
            other => panic!("CONNECT expected, got {other:?}"),
        }
        peer
    }

    /// A connection whose client does not trust this broker.
    pub(crate) async fn refuse_handshake(&self) {
        let (tcp, _) = self.listener.accept().await.unwrap();
        assert!(self.acceptor.accept(tcp).await.is_err());
    }

    /// The next connection, accepted.
    pub(crate) async fn welcome(&self, session_present: bool) -> Peer {
        let mut peer = self.accept().await;
        peer.answer(ConnectReturnCode::Success, session_present).await;
        peer
    }
}

impl Peer {
    pub(crate) async fn answer(&mut self, code: ConnectReturnCode, session_present: bool) {
        self.write(&[Packet::ConnAck(ConnAck::new(code, session_present))]).await;
    }

    /// The next packet; `None` at the end of the connection.
    pub(crate) async fn read(&mut self) -> Option<Packet> {
        tokio::time::timeout(STEP, self.try_read()).await.expect("a packet or the end of the connection")
    }

    async fn try_read(&mut self) -> Option<Packet> {
        loop {
            match Packet::read(&mut self.buffer, 1024 * 1024) {
                Ok(packet) => return Some(packet),
                Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("the client sent no MQTT: {error}"),
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return None,
            }
        }
    }

    pub(crate) async fn write(&mut self, packets: &[Packet]) {
        let mut bytes = BytesMut::new();
        for packet in packets {
            packet.write(&mut bytes, 1024 * 1024).unwrap();
        }
        self.stream.write_all(&bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub(crate) async fn publish(&mut self) -> Publish {
        match self.read().await {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("PUBLISH expected, got {other:?}"),
        }
    }

    /// Publishes as `(packet id, DUP, body)`.
    pub(crate) async fn publishes(&mut self, count: usize) -> Vec<(u16, bool, String)> {
        let mut read = Vec::with_capacity(count);
        for _ in 0..count {
            let publish = self.publish().await;
            assert_eq!((publish.qos, publish.retain), (QoS::AtLeastOnce, false));
            read.push((publish.pkid, publish.dup, String::from_utf8(publish.payload.to_vec()).unwrap()));
        }
        read
    }

    pub(crate) async fn acknowledge(&mut self, ids: impl IntoIterator<Item = u16>) {
        let acks: Vec<_> = ids.into_iter().map(|id| Packet::PubAck(PubAck::new(id))).collect();
        self.write(&acks).await;
    }

    /// Reads a SUBSCRIBE for one filter, agrees, and returns its packet id and filter.
    pub(crate) async fn subscribe(&mut self) -> (u16, String) {
        let (packet_id, filters) = self.asks_for().await;
        assert_eq!(filters.len(), 1);
        self.agree(packet_id, 1).await;
        (packet_id, filters.into_iter().next().unwrap().0)
    }

    /// Reads a SUBSCRIBE: its packet id, its filters and their QoS.
    pub(crate) async fn asks_for(&mut self) -> (u16, Vec<(String, QoS)>) {
        let Some(Packet::Subscribe(subscribe)) = self.read().await else { panic!("SUBSCRIBE expected") };
        let filters = subscribe.filters.into_iter().map(|filter| (filter.path, filter.qos)).collect();
        (subscribe.pkid, filters)
    }

    /// Grants all of a SUBSCRIBE.
    pub(crate) async fn agree(&mut self, packet_id: u16, filters: usize) {
        let granted = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce); filters];
        self.write(&[Packet::SubAck(SubAck::new(packet_id, granted))]).await;
    }

    /// Agrees to send what a client needs for its twin, as it asks for it: answers, or changes too.
    pub(crate) async fn serve_twin(&mut self, changes: bool) {
        let (packet_id, filters) = self.asks_for().await;
        let expected = ["$iothub/twin/res/#", "$iothub/twin/PATCH/properties/desired/#"];
        let expected: Vec<_> = expected[..1 + usize::from(changes)]
            .iter()
            .map(|path| (path.to_string(), QoS::AtMostOnce))
            .collect();
        assert_eq!(filters, expected);
        self.agree(packet_id, filters.len()).await;
    }

    /// Reads a request about the twin: the topic up to its id, the id and what follows it, the body.
    pub(crate) async fn request(&mut self) -> (String, String, String) {
        let publish = self.publish().await;
        assert_eq!((publish.qos, publish.retain, publish.dup), (QoS::AtMostOnce, false, false));
        let (path, id) = publish.topic.split_once("?$rid=").expect("a request id");
        (path.to_owned(), id.to_owned(), String::from_utf8(publish.payload.to_vec()).unwrap())
    }

    /// Answers a request: `id` may have `&$version=` after it.
    pub(crate) async fn answer_request(&mut self, status: u16, id: &str, body: &str) {
        self.tell(&format!("$iothub/twin/res/{status}/?$rid={id}"), body).await;
    }

    /// Reads a GET and answers it with these desired properties.
    pub(crate) async fn answer_get(&mut self, desired: &str) {
        let (path, id, _) = self.request().await;
        assert_eq!(path, "$iothub/twin/GET/");
        self.answer_request(200, &id, &format!(r#"{{"desired":{desired},"reported":{{"$version":1}}}}"#))
            .await;
    }

    /// Tells of a change of desired properties.
    pub(crate) async fn tell_change(&mut self, version: i64, patch: &str) {
        self.tell(&format!("$iothub/twin/PATCH/properties/desired/?$version={version}"), patch).await;
    }

    /// Agrees to send calls of direct methods, as a client asks for them.
    pub(crate) async fn serve_methods(&mut self) {
        let (packet_id, filters) = self.asks_for().await;
        assert_eq!(filters, [("$iothub/methods/POST/#".to_owned(), QoS::AtMostOnce)]);
        self.agree(packet_id, 1).await;
    }

    /// Calls a direct method.
    pub(crate) async fn call(&mut self, method: &str, id: &str, body: &str) {
        self.tell(&format!("$iothub/methods/POST/{method}/?$rid={id}"), body).await;
    }

    /// Reads the answer to a call: status, id and body.
    pub(crate) async fn answer_of_device(&mut self) -> (i32, String, String) {
        let publish = self.publish().await;
        assert_eq!((publish.qos, publish.retain, publish.dup), (QoS::AtMostOnce, false, false));
        let rest = publish.topic.strip_prefix("$iothub/methods/res/").expect("an answer");
        let (status, id) = rest.split_once("/?$rid=").expect("a request id");
        (status.parse().unwrap(), id.to_owned(), String::from_utf8(publish.payload.to_vec()).unwrap())
    }

    async fn tell(&mut self, topic: &str, body: &str) {
        self.write(&[Packet::Publish(Publish::new(topic, QoS::AtMostOnce, body))]).await;
    }

    /// Sends a cloud-to-device message.
    pub(crate) async fn deliver(&mut self, id: u16, dup: bool, body: &str) {
        let mut publish = Publish::new("devices/d1/messages/devicebound/%24.mid=m", QoS::AtLeastOnce, body);
        (publish.pkid, publish.dup) = (id, dup);
        self.write(&[Packet::Publish(publish)]).await;
    }

    /// Ends the connection without a word.
    pub(crate) fn cut(self) {
        drop(self);
    }
}
