//! `cargo xtask interop --record` calls [`run`], which writes the bytes that Microsoft's clients send to
//! `tests/fixtures/wire`, in the form that the README there describes. The clients talk to the hub through a recorder
//! that ends TLS on their ports; only the client's side is kept.

mod split;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use iothub_auth::{ServiceConnectionString, SharedAccessKey, client_config, ring_provider};
use iothub_local_hub::{LocalHub, PolicyName, Ports};
use iothub_models::{C2dMessage, DeviceIdentity, SymmetricKeys};
use iothub_programs::workspace;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use self::split::{Protocol, Splitter};
use super::InsideOptions;
use super::device::Device;
use super::language::Language;
use super::message::{self, MessageCase};
use super::registries::Registry;
use super::sender::{Over, SendOutcome, send};
use super::site::Site;
use super::talk::LINE;

/// The key of everything in a recording, so that its tokens can be verified: 32 times the letter k.
const KEY: &str = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";
const DEVICE: &str = "d1";

/// The recorded lines that are not written yet.
type Lines = Arc<Mutex<Vec<String>>>;

pub(super) async fn run(options: &InsideOptions) -> Result<()> {
    let state = tempfile::tempdir().context("no temporary folder")?;
    let key = SharedAccessKey::new(KEY);
    let hub = LocalHub::builder().state_dir(state.path()).owner_key(key.clone()).start().await?;
    let lines = Lines::default();
    let recorder = Recorder::new(state.path(), &lines)?;
    for (protocol, public, of_hub) in [
        (Protocol::Mqtt, Ports::STANDARD.mqtts, hub.ports().mqtts),
        (Protocol::Amqp, Ports::STANDARD.amqps, hub.ports().amqps),
        (Protocol::Https, Ports::STANDARD.https, hub.ports().https),
    ] {
        recorder.listen(protocol, public, of_hub).await?;
    }
    let owner: ServiceConnectionString = hub.connection_string(PolicyName::IotHubOwner).parse()?;
    let site = Site::new(options.installed.clone(), state.path().join("ca.pem"), owner, Some(hub))?;
    let mut identity = DeviceIdentity::new(DEVICE.parse()?);
    identity.authentication.symmetric_key =
        Some(SymmetricKeys { primary_key: Some(key.clone()), secondary_key: Some(key) });

    for language in Language::OFFICIAL.into_iter().filter(|language| options.language.contains(language)) {
        let identity = site.service().devices().create(identity.clone()).await?;
        drop(take(&lines));
        device(&site, language, &identity).await?;
        write(&format!("mqtt-{}-device", language.name()), &lines)?;
        sender(&site, language).await?;
        write(&format!("amqp-{}-sender", language.name()), &lines)?;
        site.delete_device(DEVICE).await?;
        drop(take(&lines));
        registry(&site, language).await?;
        write(&format!("https-{}-registry", language.name()), &lines)?;
    }
    println!("Look through them before they are committed: user agents name this machine's kernel.");
    Ok(())
}

async fn device(site: &Site, language: Language, identity: &DeviceIdentity) -> Result<()> {
    let mut device = Device::start(site, language, identity).await?;
    for case in message::cases()?.iter().filter(|case| case.is_telemetry() && !case.is_large()) {
        device.send_telemetry(case).await?;
    }
    site.send_c2d(DEVICE, C2dMessage::new("recorded")).await?;
    device.next_c2d().await?;
    site.wait_for_empty_queue(DEVICE).await?;
    device.stop().await
}

async fn sender(site: &Site, language: Language) -> Result<()> {
    let every_sender = |case: &MessageCase| Language::ALL.into_iter().all(|sender| case.is_c2d_for(sender));
    let mut cases = message::cases()?;
    cases.retain(|case| every_sender(case) && !case.is_large());
    let outcomes = send(site, language, Over::Tcp, DEVICE, &cases).await?;
    ensure!(outcomes.iter().any(|outcome| matches!(outcome, SendOutcome::Sent { .. })), "nothing was sent");
    Ok(())
}

async fn registry(site: &Site, language: Language) -> Result<()> {
    let mut registry = Registry::start(site, language)?;
    for command in [
        json!({"op": "create", "device_id": DEVICE}),
        json!({"op": "delete", "device_id": DEVICE}),
        json!({"op": "create", "device_id": DEVICE, "primary_key": KEY, "secondary_key": KEY}),
        json!({"op": "get", "device_id": DEVICE}),
        json!({"op": "list", "max": 10}),
        json!({"op": "update", "device_id": DEVICE, "status": "disabled"}),
        json!({"op": "registry_statistics"}),
        json!({"op": "service_statistics"}),
    ] {
        registry.call(command).await?;
    }
    let read = registry.call(json!({"op": "get", "device_id": DEVICE})).await?;
    let etag = read["device"]["etag"].clone();
    registry.call(json!({"op": "update", "device_id": DEVICE, "status": "enabled", "etag": etag})).await?;
    registry.call(json!({"op": "delete", "device_id": DEVICE})).await?;
    registry.end().await
}

fn take(lines: &Lines) -> Vec<String> {
    std::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner))
}

fn write(name: &str, lines: &Lines) -> Result<()> {
    let lines = take(lines);
    ensure!(!lines.is_empty(), "{name}: nothing was recorded");
    let path = workspace::root().join(format!("tests/fixtures/wire/{name}.jsonl"));
    fs::write(&path, lines.join("\n") + "\n")
        .with_context(|| format!("{} cannot be written", path.display()))?;
    println!("{name}: {} lines", lines.len());
    Ok(())
}

/// Ends TLS with the hub's own certificate, and carries bytes on to the hub.
#[derive(Clone)]
struct Recorder {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    lines: Lines,
}

impl Recorder {
    fn new(state: &Path, lines: &Lines) -> Result<Self> {
        let file = fs::read_to_string(state.join("hub.json")).context("the hub's state cannot be read")?;
        let file: Value = serde_json::from_str(&file)?;
        let pem = |name: &str| file["certificates"][name].as_str().with_context(|| format!("no {name}"));
        let leaf = CertificateDer::from_pem_slice(pem("leafCertificate")?.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(pem("leafKey")?.as_bytes())?;
        let server = ServerConfig::builder_with_provider(ring_provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![leaf], key)?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(client_config(Some(&state.join("ca.pem")))?),
            lines: Arc::clone(lines),
        })
    }

    /// Records what comes to a public port. The task ends with the runtime.
    async fn listen(&self, protocol: Protocol, public: u16, of_hub: u16) -> Result<()> {
        let address = ("127.0.0.1", public);
        let listener = TcpListener::bind(address).await.with_context(|| format!("port {public}"))?;
        let recorder = self.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let recorder = recorder.clone();
                tokio::spawn(async move {
                    // A connection that breaks is the client's to report.
                    drop(recorder.carry(protocol, client, of_hub).await);
                });
            }
        });
        Ok(())
    }

    async fn carry(&self, protocol: Protocol, client: TcpStream, of_hub: u16) -> Result<()> {
        let client = tokio::time::timeout(LINE, self.acceptor.accept(client)).await??;
        let hub = TcpStream::connect(("127.0.0.1", of_hub)).await?;
        let hub = self.connector.connect(ServerName::try_from("localhost")?, hub).await?;
        let (mut from_client, mut to_client) = tokio::io::split(client);
        let (mut from_hub, mut to_hub) = tokio::io::split(hub);
        let up = async {
            let mut splitter = Splitter::new(protocol);
            let mut bytes = vec![0; 64 * 1024];
            loop {
                let read = from_client.read(&mut bytes).await?;
                if read == 0 {
                    to_hub.shutdown().await?;
                    return anyhow::Ok(());
                }
                let said = splitter.take(&bytes[..read]);
                self.lines.lock().unwrap_or_else(PoisonError::into_inner).extend(said);
                to_hub.write_all(&bytes[..read]).await?;
                to_hub.flush().await?;
            }
        };
        let down = async {
            tokio::io::copy(&mut from_hub, &mut to_client).await?;
            to_client.shutdown().await?;
            anyhow::Ok(())
        };
        tokio::try_join!(up, down)?;
        Ok(())
    }
}
