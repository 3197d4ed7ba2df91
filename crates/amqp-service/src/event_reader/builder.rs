//! This file holds the settings of an [`EventReader`], and begins its work.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use iothub_auth::{Clock, Proxy, ProxySetting};
use iothub_transport::Transport;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::owner::{Owner, Plan, QUESTIONS, open};
use super::progress::Progress;
use super::restarts::RestartSender;
use super::{EventReader, EventSource};
use crate::amqp::{LinkOptions, Management};
use crate::checkpoint::{Checkpoint, CheckpointScope, CheckpointStore};
use crate::connection_state::{ConnectionStates, StateSender};
use crate::endpoint::{Credential, Endpoint, Network, Timing};
use crate::error::{Error, ErrorKind};
use crate::event_position::EventPosition;
use crate::reconnect::Reconnect;

/// The number of events that wait for their reader beside those that wait on the links.
const WAITING: usize = 128;

/// The largest prefetch. The library bounds the frames that a link holds, and large events have several.
const MAX_PREFETCH: u32 = 5000;

/// The settings of an [`EventReader`].
///
/// ```no_run
/// # async fn example(source: iothub_amqp_service::EventSource) -> Result<(), iothub_amqp_service::Error> {
/// use iothub_amqp_service::{EventPosition, EventReader, FileCheckpointStore};
///
/// let events = EventReader::builder(source)
///     .consumer_group("dashboard")
///     .from(EventPosition::Earliest)
///     .checkpoint_store(FileCheckpointStore::new("checkpoints.json"))
///     .open()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing happens until `open`"]
pub struct EventReaderBuilder {
    source: EventSource,
    timing: Timing,
    network: Network,
    options: LinkOptions,
    partitions: Option<Vec<String>>,
    from: EventPosition,
    store: Option<Arc<dyn CheckpointStore>>,
    resumes: bool,
}

impl EventReaderBuilder {
    pub(super) fn new(source: EventSource) -> Self {
        let options = LinkOptions { consumer_group: "$Default".to_owned(), owner_level: None, prefetch: 300 };
        Self {
            source,
            timing: Timing::default(),
            network: Network::default(),
            options,
            partitions: None,
            from: EventPosition::default(),
            store: None,
            resumes: true,
        }
    }

    /// Sets the way to the hub: TCP on port 5671 (the default), WebSocket on port 443, or whichever of them is open.
    /// `AmqpsPort=` and `HttpsPort=` in the connection string name other ports.
    pub const fn transport(mut self, transport: Transport) -> Self {
        self.network.transport = transport;
        self
    }

    /// Sets the proxy through which the hub is reached. Without it that is the one that the environment names:
    /// `HTTPS_PROXY`, then `ALL_PROXY`, except for the hosts in `NO_PROXY` and for a hub on this machine.
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.network.proxy = ProxySetting::Proxy(proxy);
        self
    }

    /// Reaches the hub without a proxy, even if the environment names one.
    pub fn no_proxy(mut self) -> Self {
        self.network.proxy = ProxySetting::Direct;
        self
    }

    /// The clock for deadlines and tokens; by default the real one.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.timing.clock = clock;
        self
    }

    /// Sets how long one attempt to connect, to find the endpoint and to begin reading may take; also one
    /// question to the event hub. 30 seconds by default.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.timing.connect_timeout = timeout;
        self
    }

    /// Sets how long the hub may take to say goodbye; 5 seconds by default.
    pub const fn close_timeout(mut self, timeout: Duration) -> Self {
        self.timing.close_timeout = timeout;
        self
    }

    /// Sets how long a token is valid; one hour by default, at least one minute. It is renewed after three
    /// quarters of that.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.timing.token_lifetime = lifetime.max(Timing::MIN_TOKEN_LIFETIME);
        self
    }

    /// The consumer group; `$Default` by default.
    pub fn consumer_group(mut self, name: impl Into<String>) -> Self {
        self.options.consumer_group = name.into();
        self
    }

    /// The partitions to read, by id; all by default.
    pub fn partitions(mut self, ids: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.partitions = Some(ids.into_iter().map(Into::into).collect());
        self
    }

    /// Sets where to begin in partitions that have no checkpoint; [`Latest`](EventPosition::Latest) by default.
    pub fn from(mut self, position: EventPosition) -> Self {
        self.from = position;
        self
    }

    /// Sets where [`checkpoint`](EventReader::checkpoint) keeps how far the reader has come. A partition that
    /// has a checkpoint there is gone on with after it.
    pub fn checkpoint_store(mut self, store: impl CheckpointStore + 'static) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Begins where [`from`](Self::from) says, even if there are checkpoints. New ones are still kept.
    pub const fn ignore_checkpoints(mut self) -> Self {
        self.resumes = false;
        self
    }

    /// Reads each partition as the only one of its consumer group: a reader with a lower level, or
    /// without, loses the partition, and so does this one to a reader of the same level or a higher one.
    /// By default there is no level.
    pub const fn owner_level(mut self, level: i64) -> Self {
        self.options.owner_level = Some(level);
        self
    }

    /// Sets how many events of each partition may be on their way or wait to be taken; 300 by default, at
    /// least one and at most 5,000.
    pub fn prefetch(mut self, events: u32) -> Self {
        self.options.prefetch = events.clamp(1, MAX_PREFETCH);
        self
    }

    /// Finds the endpoint, connects, and begins to read every partition. Where it begins is settled when
    /// this returns: no later event is missed.
    ///
    /// # Errors
    /// [`Network`](ErrorKind::Network) if hub or endpoint cannot be reached, [`Tls`](ErrorKind::Tls) if a
    /// certificate or `TrustedCaFile` cannot be used, [`NotAuthorized`](ErrorKind::NotAuthorized) if the
    /// connection string is refused, [`NotFound`](ErrorKind::NotFound) for an event hub, consumer group or
    /// partition that does not exist, [`TooManyReaders`](ErrorKind::TooManyReaders),
    /// [`ConsumerDisconnected`](ErrorKind::ConsumerDisconnected) if a reader with a higher owner level is
    /// there, [`CheckpointStore`](ErrorKind::CheckpointStore) if the checkpoints cannot be read,
    /// [`Timeout`](ErrorKind::Timeout) if no answer comes, and others as the hub says.
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection that was being made.
    pub async fn open(self) -> Result<EventReader, Error> {
        let Self { source, timing, network, options, partitions, from, store, resumes } = self;
        let credential = match source {
            EventSource::IotHub(hub) => Credential::Hub(hub),
            EventSource::EventHubs(events) if events.entity_path.is_none() => {
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    "the connection string names no event hub: add EntityPath=",
                ));
            }
            EventSource::EventHubs(events) => Credential::Events(events),
        };
        if options.consumer_group.is_empty() || options.consumer_group.contains('/') {
            return Err(Error::new(ErrorKind::InvalidArgument, "that is no name of a consumer group"));
        }
        let endpoint = Endpoint::new(credential, timing, network).await?;
        let deadline = endpoint.timing.clock.after(endpoint.timing.connect_timeout);
        let (found, connection, mut management) =
            Box::pin(super::owner::connect(&endpoint, deadline)).await?;
        let scope = CheckpointScope {
            host_name: found.host_name.clone(),
            event_hub: found.entity_path.clone().unwrap_or_default(),
            consumer_group: options.consumer_group.clone(),
        };
        let (ids, made) = Box::pin(ids(partitions, &mut management, &endpoint)).await?;
        let checkpoints = match &store {
            Some(store) if resumes => load(store.as_ref(), &scope).await?,
            _ => Vec::new(),
        };
        let progress = ids.iter().map(|id| {
            let checkpoint = checkpoints.iter().find(|checkpoint| checkpoint.partition_id == *id);
            Progress::new(id, checkpoint.cloned(), &from)
        });
        let plan = Plan { partitions: progress.collect(), options };
        let mut begun = Box::pin(open(&endpoint, deadline, connection, management, plan, made)).await?;

        let (events_of, events) = mpsc::channel(WAITING);
        let (requests, received_requests) = mpsc::channel(QUESTIONS);
        let (states_of, states) = StateSender::connected();
        let missed = Arc::new(AtomicU64::new(0));
        let (restarts_of, restarts) = RestartSender::new();
        restarts_of.tell(&mut begun.plan.partitions);
        let owner = Owner {
            reconnect: Reconnect::new(endpoint, states_of),
            events: events_of,
            requests: received_requests,
            missed: Arc::clone(&missed),
            restarts: restarts_of,
        };
        tokio::spawn(owner.run(begun));
        let states = ConnectionStates::new(states);
        Ok(EventReader {
            events,
            last_word: None,
            requests,
            states,
            missed,
            restarts,
            endpoint: found,
            scope,
            store,
        })
    }
}

/// The partitions to read: those that were named, if they are there, or all. Also when the event hub was made,
/// if it says so.
async fn ids(
    named: Option<Vec<String>>,
    management: &mut Management,
    endpoint: &Endpoint,
) -> Result<(Vec<String>, Option<Timestamp>), Error> {
    let timing = &endpoint.timing;
    let asked = timing.clock.timeout(timing.connect_timeout, management.hub()).await;
    let known = asked.map_err(|elapsed| {
        Error::new(ErrorKind::Timeout, "the event hub did not say what its partitions are").because(elapsed)
    })??;
    let Some(mut named) = named else {
        return Ok((known.partition_ids, known.created_at));
    };
    named.sort();
    named.dedup();
    if let Some(missing) = named.iter().find(|id| !known.partition_ids.contains(id)) {
        return Err(Error::new(ErrorKind::NotFound, format!("there is no partition {missing:?}"))
            .hint(format!("its partitions are {}", known.partition_ids.join(", "))));
    }
    if named.is_empty() {
        return Err(Error::new(ErrorKind::InvalidArgument, "there is no partition to read"));
    }
    Ok((named, known.created_at))
}

async fn load(store: &dyn CheckpointStore, scope: &CheckpointScope) -> Result<Vec<Checkpoint>, Error> {
    store.load(scope).await.map_err(|error| {
        Error::new(ErrorKind::CheckpointStore, "the checkpoints were not read").because_of(error)
    })
}
