//! This file lets a device in: it reads the first bytes of a connection up to the CONNECT, and writes the CONNACK.
//!
//! `connection` calls it first. A peer may send one CONNECT of bounded size within a deadline. A device that
//! proves its identity, with a token as its password or with its client certificate, takes the place of an older connection of the same identity and finds its session. Any
//! other peer is told a code, and the reason is in the hub's activity: code 1 for another protocol level, 2 and 4
//! for a client id or a user name that cannot be read, 5 for a proof that fails. Bytes that are not a CONNECT get
//! no answer.

use std::sync::Arc;
use std::time::Duration;

use iothub_models::{ErrorCode, Identity, ModelId};
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};

use super::codec::{self, Connect, ConnectCode, Fault};
use super::mailbox::Mailbox;
use super::telemetry::{self, Telemetry, TelemetryError};
use super::topics::{self, PublishTopic, TopicError};
use super::user_name;
use super::wire::{Progress, Wire};
use crate::core::event::HubEvent;
use crate::core::grant::{Denied, DeviceGrant};
use crate::hub::Hub;
use crate::journal::NotKept;
use crate::tls::ClientChain;

/// The longest time that a peer may take until its CONNECT is answered.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// The longest time that a device may be silent, whatever keep-alive it asks for.
/// Source: *Communicate with your IoT hub using the MQTT protocol*, "Default keep-alive timeout".
const MAX_SILENCE: Duration = Duration::from_secs(1767);

/// The time that a connection goes on after its token has expired, as on the service.
/// Source: *Troubleshoot device disconnects*, "MQTT device disconnect behavior".
const TOKEN_GRACE: Duration = Duration::from_secs(10 * 60);

/// A device that was let in.
#[derive(Debug)]
pub(super) struct Admitted {
    pub mailbox: Mailbox,
    pub sender: Sender,
    /// The will, which is published unless the device sends a DISCONNECT.
    pub will: Option<Telemetry>,
    /// The longest time between two packets of the device.
    pub max_silence: Duration,
    /// The instant at which the connection ends because its credential has expired for [`TOKEN_GRACE`].
    pub token_deadline: Timestamp,
}

/// The properties of the sender that the hub adds to each telemetry message of a connection.
#[derive(Debug)]
pub(super) struct Sender {
    id: Identity,
    generation_id: Arc<str>,
    auth_method: Arc<str>,
    model_id: Option<Arc<str>>,
}

impl Sender {
    fn new(id: &Identity, grant: &DeviceGrant, model_id: Option<&ModelId>) -> Self {
        Self {
            id: id.clone(),
            generation_id: Arc::clone(&grant.generation_id),
            auth_method: grant.credential.auth_method().into(),
            model_id: model_id.map(|id| id.as_str().into()),
        }
    }

    pub(super) fn event(&self, telemetry: Telemetry, now: Timestamp) -> HubEvent {
        let mut event = HubEvent::telemetry(
            telemetry.message,
            self.id.clone(),
            Arc::clone(&self.generation_id),
            Arc::clone(&self.auth_method),
            now,
        );
        event.system_properties = telemetry.system_properties;
        event.model_id.clone_from(&self.model_id);
        event
    }
}

/// The reason why a connection was not let in. The texts are for the hub's activity.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the peer left before its CONNECT was complete")]
    Left,
    #[error("no CONNECT within {} s", DEADLINE.as_secs())]
    Late,
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("the CONNECT is refused: {0}")]
    Unusable(user_name::Unusable),
    #[error("the user name is for host {0:?}, and this hub answers to {1}; add names with --host-name")]
    UnknownHost(String, String),
    #[error("{reason}", reason = .1.reason)]
    Denied(Identity, Denied),
    #[error("the topic of its will is not the telemetry topic of the device: {0}")]
    WillTopic(TopicError),
    #[error("the will is refused: {0}")]
    Will(TelemetryError),
}

impl Refusal {
    /// Returns the identity that the peer claims to be, where that could be read.
    pub(super) const fn id(&self) -> Option<&Identity> {
        match self {
            Self::Denied(id, _) => Some(id),
            _ => None,
        }
    }

    /// Returns the service's code for it, if there is one.
    pub(super) const fn error_code(&self) -> Option<ErrorCode> {
        match self {
            Self::Denied(_, denied) => Some(denied.code),
            _ => None,
        }
    }

    /// Returns the code of the CONNACK; `None` if the peer gets no answer.
    fn code(&self) -> Option<ConnectCode> {
        match self {
            Self::Fault(Fault::ProtocolLevel(_) | Fault::BridgeLevel(_)) => Some(ConnectCode::ProtocolLevel),
            Self::Unusable(unusable) => Some(unusable.code()),
            Self::UnknownHost(..) | Self::Denied(..) => Some(ConnectCode::NotAuthorized),
            Self::Left | Self::Late | Self::Io(_) | Self::Fault(_) | Self::WillTopic(_) | Self::Will(_) => {
                None
            }
        }
    }
}

/// Waits for the CONNECT and writes the CONNACK to the output, whether the device is let in or refused.
/// `client_chain` has the certificates that the peer presented in its TLS handshake.
pub(super) async fn admit<S>(
    hub: &Hub,
    wire: &mut Wire<S>,
    client_chain: Option<&ClientChain>,
) -> Result<Admitted, Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let admitting = async {
        let connect = read_connect(wire).await?;
        let (admitted, session_present) = let_in(hub, connect, client_chain).await?;
        codec::write_connack(&mut wire.output, ConnectCode::Accepted, session_present);
        Ok(admitted)
    };
    let admitted = hub.clock().timeout(DEADLINE, admitting).await.unwrap_or(Err(Refusal::Late));
    if let Some(code) = admitted.as_ref().err().and_then(Refusal::code) {
        codec::write_connack(&mut wire.output, code, false);
    }
    admitted
}

async fn read_connect<S: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<S>) -> Result<Connect, Refusal> {
    loop {
        if let Some(connect) = codec::read_connect(&mut wire.input)? {
            return Ok(connect);
        }
        if wire.progress(true).await? == Progress::End {
            return Err(Refusal::Left);
        }
    }
}

async fn let_in(
    hub: &Hub,
    connect: Connect,
    client_chain: Option<&ClientChain>,
) -> Result<(Admitted, bool), Refusal> {
    let claim = user_name::parse(&connect.client_id, &connect.user_name).map_err(Refusal::Unusable)?;
    if !hub.config().host_names.contains(&claim.host) {
        return Err(Refusal::UnknownHost(claim.host, hub.config().host_names.to_string()));
    }
    let token = (!connect.password.is_empty()).then_some(connect.password.as_str());
    let id = claim.id.clone();
    let denied = |denied| Refusal::Denied(id.clone(), denied);
    let grant = hub.authorize_device(&id.device, id.module.as_ref(), token, client_chain);
    let grant = grant.map_err(denied)?;
    let limit = hub.config().limits.telemetry_message_bytes;
    let will = connect.will.map(|will| {
        match topics::parse_publish(&will.topic, &claim.id).map_err(Refusal::WillTopic)? {
            PublishTopic::Telemetry { bag } => telemetry::read_will(bag, &will, limit).map_err(Refusal::Will),
            // IoT Hub publishes wills as telemetry only.
            PublishTopic::Twin(_) | PublishTopic::Method(_) => Err(Refusal::WillTopic(TopicError::Unknown)),
        }
    });
    let will = will.transpose()?;
    let model_id = claim.model_id.as_ref();
    let sender = Sender::new(&claim.id, &grant, model_id);
    let mut session = hub.connect(claim.id, &grant, model_id).await.map_err(denied)?;
    session.alone().await;
    let not_kept =
        |error: NotKept| denied(Denied { code: ErrorCode::ServiceUnavailable, reason: error.to_string() });
    let (mailbox, session_present) = Mailbox::open(session, connect.clean_session).await.map_err(not_kept)?;
    let keep_alive = Duration::from_secs(connect.keep_alive.into()) * 3 / 2;
    let admitted = Admitted {
        mailbox,
        sender,
        will,
        max_silence: if keep_alive.is_zero() { MAX_SILENCE } else { keep_alive.min(MAX_SILENCE) },
        token_deadline: grant.credential.expiry().checked_add(TOKEN_GRACE).unwrap_or(Timestamp::MAX),
    };
    Ok((admitted, session_present))
}
