//! These tests read the hub's activity and log, where the user of a bridge or of an id with a wildcard learns what
//! to change.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::test_peer::{Bench, connect_packet, publish_packet};
use crate::activity::ActivityKind;
use crate::core::refusal::Precondition;
use crate::core::registry::{DeviceWrite, ModuleWrite};

/// The log of one test.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Collects the log of this thread, on which the whole test runs, until the guard is dropped.
    fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the packet with other bytes for one part of it, as long as the part.
fn changed(packet: &[u8], part: &[u8], other: &[u8]) -> Vec<u8> {
    assert_eq!(part.len(), other.len());
    let at = packet.windows(part.len()).position(|window| window == part).unwrap();
    [&packet[..at], other, &packet[at + part.len()..]].concat()
}

#[tokio::test]
async fn a_bridge_is_told_its_two_settings() {
    let bench = Bench::new().await;
    let connect = connect_packet(true, &bench.token(Duration::from_secs(60)));
    let private = changed(&connect, b"MQTT\x04", b"MQTT\x84");
    let notifications = changed(&connect, b"devices/d1/messages/events/", b"$SYS/broker/connection/b/s/");
    let mut activity = bench.hub.listen();
    let mut reason = |kind| {
        let records = std::iter::from_fn(|| activity.try_next());
        records.filter(|record| record.kind == kind).last().and_then(|record| record.reason.clone()).unwrap()
    };
    for (packet, answer) in [(private, &[0x20, 2, 0, 1][..]), (notifications, &[])] {
        let mut peer = bench.open(1024 * 1024);
        peer.send(&packet).await;
        peer.expect(answer).await;
        peer.expect_end().await;
        let said = reason(ActivityKind::Refused);
        assert!(said.contains("`try_private false`") && said.contains("`notifications false`"), "{said}");
        assert!(!said.contains("sig="), "{said}");
    }
    let mut peer = bench.connect(true, false).await;
    peer.send(&publish_packet("$SYS/broker/connection/b/state", 1, b"1")).await;
    peer.expect_end().await;
    let said = reason(ActivityKind::Disconnected);
    assert!(said.contains("`notifications false`"), "{said}");
}

#[tokio::test]
async fn an_id_that_no_topic_may_hold_is_named_once_when_it_is_registered() {
    let bench = Bench::new().await;
    let (log, _guard) = Log::start();
    for (id, warned) in [("a#b", true), ("a+", true), ("a*b%23", false)] {
        let before = log.text().len();
        let write = || DeviceWrite::new(id.parse().unwrap());
        bench.hub.put_device(write(), &Precondition::None).await.unwrap();
        bench.hub.put_device(write(), &Precondition::Exists).await.unwrap();
        let said = log.text().split_off(before);
        assert_eq!(said.matches("cannot use MQTT").count(), usize::from(warned), "{said}");
        assert_eq!(said.contains(&format!("id={id}\n")), warned, "{said}");
    }
    let before = log.text().len();
    let write = ModuleWrite::new(super::test_peer::device(), "m+".parse().unwrap());
    bench.hub.put_module(write, &Precondition::None).await.unwrap();
    let said = log.text().split_off(before);
    assert!(said.contains("id=d1/m+\n"), "{said}");
}
