//! These tests look for the consequences of one transition elsewhere in the hub.

use std::time::Duration;

use iothub_models::{
    C2dMessage, ConnectionState, DeviceId, DeviceStatus, ErrorCode, Identity, TelemetryMessage,
};

use super::*;
use crate::config::{ConsumerGroups, HostNames};
use crate::core::connections::CloseReason;
use crate::core::event::HubEvent;
use crate::core::grant::{Credential, DeviceGrant, Signer};
use crate::core::limits::Limits;
use crate::core::policies::new_key;
use crate::core::refusal::Precondition;
use crate::core::registry::DeviceWrite;
use crate::journal::{Keep, Memory};

fn hub() -> Hub {
    hub_with(Clock::real(), Limits::default())
}

pub(super) fn hub_with(clock: Clock, limits: Limits) -> Hub {
    hub_in(Box::new(Memory), clock, limits)
}

pub(super) fn hub_in(keep: Box<dyn Keep>, clock: Clock, limits: Limits) -> Hub {
    let config = HubConfig {
        name: "hub".into(),
        host_names: HostNames::new("hub", &[]).unwrap(),
        limits,
        routes: Arc::default(),
        consumer_groups: ConsumerGroups::new(&[]).unwrap(),
        keeps_devices: false,
        device_cas: Default::default(),
    };
    Hub::new(config, clock, Policies::new(|_| new_key().unwrap()), 1, crate::amqp::event_message::CODEC, keep)
}

fn id(text: &str) -> DeviceId {
    text.parse().unwrap()
}

pub(super) async fn create(hub: &Hub, name: &str) -> DeviceGrant {
    let created = hub.put_device(DeviceWrite::new(id(name)), &Precondition::None).await.unwrap();
    let credential = Credential::Sas { signer: Signer::Device, expiry: jiff::Timestamp::MAX };
    DeviceGrant { generation_id: created.generation_id.into(), credential }
}

async fn connect(hub: &Hub, name: &str, grant: &DeviceGrant) -> DeviceSession {
    hub.connect(Identity::device(id(name)), grant, None).await.unwrap()
}

#[tokio::test]
async fn the_identity_shows_the_newest_connection() {
    let hub = hub();
    let grant = create(&hub, "d1").await;
    let older = connect(&hub, "d1", &grant).await;
    let newer = connect(&hub, "d1", &grant).await;
    assert_eq!(older.signals().unwrap().close_reason(), Some(CloseReason::NewerConnection));
    drop(older);
    assert_eq!(hub.device(&id("d1")).unwrap().connection_state, ConnectionState::Connected);
    assert_eq!(hub.service_statistics().connected_device_count, 1);
    drop(newer);
    assert_eq!(hub.device(&id("d1")).unwrap().connection_state, ConnectionState::Disconnected);
    assert_eq!(hub.service_statistics().connected_device_count, 0);
}

#[tokio::test]
async fn deleting_ends_the_connection_and_forgets_the_queue() {
    let hub = hub();
    let grant = create(&hub, "d1").await;
    let connection = connect(&hub, "d1", &grant).await;
    hub.enqueue_c2d(&id("d1"), C2dMessage::new("x")).await.unwrap();
    assert_eq!(hub.device(&id("d1")).unwrap().cloud_to_device_message_count, 1);
    hub.delete_device(&id("d1"), &Precondition::None).await.unwrap();
    assert_eq!(connection.signals().unwrap().close_reason(), Some(CloseReason::DeviceDeleted));
    create(&hub, "d1").await;
    assert!(hub.lease_c2d(&id("d1"), 10).is_empty());
    // The end of the old connection says nothing about the new identity, nor opens it.
    drop(connection);
    let stale = hub.connect(Identity::device(id("d1")), &grant, None).await.unwrap_err();
    assert_eq!(stale.code, ErrorCode::DeviceNotFound);
    let missing = hub.enqueue_c2d(&id("d2"), C2dMessage::new("x")).await.unwrap_err();
    assert_eq!(missing.code, ErrorCode::DeviceNotFound);
}

#[tokio::test]
async fn disabling_ends_the_connection_and_keeps_the_queue() {
    let hub = hub();
    let grant = create(&hub, "d1").await;
    let connection = connect(&hub, "d1", &grant).await;
    hub.enqueue_c2d(&id("d1"), C2dMessage::new("x")).await.unwrap();
    let disabled = DeviceWrite { status: DeviceStatus::Disabled, ..DeviceWrite::new(id("d1")) };
    hub.put_device(disabled, &Precondition::Exists).await.unwrap();
    assert_eq!(connection.signals().unwrap().close_reason(), Some(CloseReason::DeviceDisabled));
    let refused = hub.enqueue_c2d(&id("d1"), C2dMessage::new("y")).await.unwrap_err();
    assert_eq!((refused.code, refused.text.as_str()), (ErrorCode::DeviceNotFound, "d1 is disabled"));
    assert_eq!(hub.pending_c2d(&id("d1")), 1);
}

#[tokio::test]
async fn a_message_wakes_the_connection_also_when_another_gave_it_back() {
    let hub = hub();
    let grant = create(&hub, "d1").await;
    let older = connect(&hub, "d1", &grant).await;
    hub.enqueue_c2d(&id("d1"), C2dMessage::new("x")).await.unwrap();
    older.signals().unwrap().wake.notified().await;
    let leased: Vec<_> = hub.lease_c2d(&id("d1"), 10).iter().map(|leased| leased.lock).collect();
    let newer = connect(&hub, "d1", &grant).await;
    assert!(hub.lease_c2d(&id("d1"), 10).is_empty());
    hub.release_c2d(&id("d1"), &leased);
    let woken = tokio::time::timeout(Duration::from_secs(5), newer.signals().unwrap().wake.notified()).await;
    assert!(woken.is_ok());
    let again: Vec<_> = hub.lease_c2d(&id("d1"), 10).iter().map(|leased| leased.lock).collect();
    hub.complete_c2d(&id("d1"), &again).await;
    assert_eq!(hub.pending_c2d(&id("d1")), 0);
}

#[tokio::test]
async fn telemetry_counts_as_activity_and_wakes_who_waits() {
    let hub = hub();
    let grant = create(&hub, "d1").await;
    let waiting = tokio::spawn({
        let hub = hub.clone();
        async move { hub.wait_until(|| hub.telemetry_accepted() == 2).await }
    });
    let event = || {
        let generation = Arc::clone(&grant.generation_id);
        let message = TelemetryMessage::new("x");
        HubEvent::telemetry(
            message,
            Identity::device(id("d1")),
            generation,
            grant.credential.auth_method().into(),
            hub.clock().now(),
        )
    };
    hub.accept_telemetry(vec![event(), event()]).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    assert!(hub.device(&id("d1")).unwrap().last_activity_time > jiff::Timestamp::UNIX_EPOCH);
    hub.clear().await.unwrap();
    assert!(hub.kept_events().is_empty() && hub.devices(10).is_empty());
}

#[tokio::test]
async fn feedback_is_promised_only_where_it_has_a_place() {
    let hub = hub_with(Clock::real(), Limits { feedback_records: 2, ..Limits::default() });
    create(&hub, "d1").await;
    let asking = || C2dMessage { ack: Some(iothub_models::Acknowledgement::Full), ..C2dMessage::new("x") };
    for _ in 0..2 {
        hub.enqueue_c2d(&id("d1"), asking()).await.unwrap();
    }
    let refused = || async { hub.enqueue_c2d(&id("d1"), asking()).await.unwrap_err().code };
    assert_eq!(refused().await, ErrorCode::ServerBusy);
    // An outcome takes the place of its message; a message that asks for nothing needs none.
    assert_eq!(hub.purge_c2d(&id("d1")).await, Ok(2));
    assert_eq!(refused().await, ErrorCode::ServerBusy);
    hub.enqueue_c2d(&id("d1"), C2dMessage::new("x")).await.unwrap();
    hub.delete_device(&id("d1"), &Precondition::None).await.unwrap();
    create(&hub, "d1").await;
    hub.enqueue_c2d(&id("d1"), asking()).await.unwrap();
}

#[tokio::test]
async fn a_hub_where_nothing_waits_has_no_alarm() {
    let time = iothub_auth::ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
    let hub = hub_with(time.clock(), Limits::default());
    create(&hub, "d1").await;
    let timer = tokio::spawn(hub.clone().keep_time());
    assert_eq!(hub.0.outlets.alarm.get(), None);
    hub.enqueue_c2d(&id("d1"), C2dMessage::new("x")).await.unwrap();
    let hour = Duration::from_secs(3600);
    assert_eq!(hub.0.outlets.alarm.get(), Some(jiff::Timestamp::UNIX_EPOCH + hour));
    time.advance(hour);
    // The timer and nobody else: nobody asks for the messages.
    while hub.peek(|service, _| service.c2d_in_queue(&id("d1"))) > 0 {
        tokio::task::yield_now().await;
    }
    while hub.0.outlets.alarm.get().is_some() {
        tokio::task::yield_now().await;
    }
    hub.shutdown().cancel();
    timer.await.unwrap();
}

#[tokio::test]
async fn what_a_connection_has_is_not_received_elsewhere_until_it_is_given_back() {
    let hub = hub();
    create(&hub, "d1").await;
    hub.enqueue_c2d(&id("d1"), C2dMessage::new("x")).await.unwrap();
    let held: Vec<_> = hub.lease_c2d(&id("d1"), 10).iter().map(|leased| leased.lock).collect();
    assert!(hub.receive_c2d(&id("d1")).is_none());
    hub.release_c2d(&id("d1"), &held);
    let received = hub.receive_c2d(&id("d1")).unwrap();
    assert!(hub.lease_c2d(&id("d1"), 10).is_empty(), "nor the other way round");
    hub.settle_c2d(&id("d1"), received.lock, crate::core::lease::Settlement::Abandon).await.unwrap();
    assert_eq!(hub.lease_c2d(&id("d1"), 10)[0].delivery_count, 1);
}

/// A writer that collects the lines of a log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A listener for which nobody waits.
#[derive(Debug)]
struct Deaf;

impl crate::log::Listener for Deaf {
    fn wake(&self) {}
    fn displaced(&self, _reason: &str) {}
}

#[tokio::test]
async fn the_log_says_at_the_end_how_many_events_were_not_read() {
    let logged = |hub: &Hub| {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .without_time()
            .with_max_level(tracing::Level::INFO)
            .finish();
        tracing::subscriber::with_default(subscriber, || hub.log_unread_events());
        let text = lines.0.lock().unwrap().clone();
        String::from_utf8(text).unwrap()
    };
    let hub = hub();
    create(&hub, "d1").await;
    assert_eq!(logged(&hub), "");
    let event = || {
        let sender = Identity::device(id("d1"));
        HubEvent::telemetry(
            TelemetryMessage::new("x"),
            sender,
            "1".into(),
            "{}".into(),
            jiff::Timestamp::now(),
        )
    };
    hub.accept_telemetry((0..5).map(|_| event()).collect()).await.unwrap();
    let nobody = logged(&hub);
    assert!(nobody.contains("INFO") && nobody.contains("unread=5"), "{nobody}");
    let read = |count| {
        for partition in 0..hub.events().partitions() {
            let start = crate::log::Start::EARLIEST;
            let now = jiff::Timestamp::now();
            let mut reader =
                hub.events().reader(partition, "$default", start, None, now, Box::new(Deaf)).unwrap();
            reader.take(count, usize::MAX, now, &mut Vec::new());
        }
        logged(&hub)
    };
    let some = read(3);
    assert!(some.contains("WARN") && some.contains("unread=2") && some.contains("$default"), "{some}");
    let all = read(5);
    assert!(all.contains("INFO") && all.contains("unread=0"), "{all}");
}
