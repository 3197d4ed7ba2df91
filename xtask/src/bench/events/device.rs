//! [`Device`] sends telemetry over TLS at the least cost to itself, so that a benchmark measures the hub: it keeps a
//! window of messages without an acknowledgement, and keeps no message.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use iothub_auth::DeviceConnectionString;
use iothub_testkit::mqtt::{ConnAck, Hello, MqttPeer, publish};
use iothub_testkit::tls::Trust;
use jiff::Timestamp;
use tokio::io::BufReader;

/// The number of messages that may be without an acknowledgement.
const WINDOW: usize = 512;
/// The number of messages that are written at a time.
const CHUNK: usize = 64;

pub(super) struct Device {
    peer: MqttPeer,
    topic: String,
    next_id: u16,
    unacknowledged: usize,
}

impl Device {
    pub(super) async fn connect(string: &DeviceConnectionString) -> Result<Self> {
        let address = &string.address;
        let ca_file = address.trusted_ca_file.as_deref().context("the string names no CA file")?;
        let stream = Trust::in_file(ca_file)?.try_connect(address.mqtts_port).await?;
        let now = Timestamp::try_from(SystemTime::now())?;
        let token = string.sas_token(now, Duration::from_secs(3600))?;
        let token = token.context("the device has no key")?;
        let id = string.device_id.as_str();
        let hello = Hello { clean: true, keep_alive: 0, ..Hello::new(id, token.reveal()) };
        let mut peer = MqttPeer::new(BufReader::with_capacity(16 * 1024, stream));
        let answer = peer.try_connect(&hello).await?;
        ensure!(
            answer == ConnAck { session_present: false, code: 0 },
            "the hub refused a device: {answer:?}"
        );
        Ok(Self { peer, topic: format!("devices/{id}/messages/events/"), next_id: 1, unacknowledged: 0 })
    }

    /// Sends `count` messages as fast as they are acknowledged.
    pub(super) async fn push(&mut self, count: usize, body: &[u8]) -> Result<()> {
        let mut left = count;
        let mut chunk = Vec::new();
        while left > 0 {
            while self.unacknowledged + CHUNK > WINDOW {
                self.take_acknowledgement().await?;
            }
            chunk.clear();
            for _ in 0..CHUNK.min(left) {
                chunk.extend(self.message(body));
            }
            left -= CHUNK.min(left);
            self.peer.try_send(&chunk).await?;
        }
        self.acknowledged().await
    }

    /// Sends one message, and takes an acknowledgement if one must have come by now.
    pub(super) async fn publish(&mut self, body: &[u8]) -> Result<()> {
        let message = self.message(body);
        self.peer.try_send(&message).await?;
        if self.unacknowledged > CHUNK {
            self.take_acknowledgement().await?;
        }
        Ok(())
    }

    /// Waits until everything is acknowledged.
    pub(super) async fn acknowledged(&mut self) -> Result<()> {
        while self.unacknowledged > 0 {
            self.take_acknowledgement().await?;
        }
        Ok(())
    }

    /// Returns the next message as a packet, and counts it as unacknowledged.
    fn message(&mut self, body: &[u8]) -> Vec<u8> {
        let packet = publish(&self.topic, self.next_id, body);
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.unacknowledged += 1;
        packet
    }

    async fn take_acknowledgement(&mut self) -> Result<()> {
        match self.peer.try_next().await? {
            Some((0x40, _)) => self.unacknowledged -= 1,
            other => bail!("no acknowledgement: {other:02x?}"),
        }
        Ok(())
    }
}
