//! A device that is as cheap as can be: MQTT packets made by hand, over TLS.

use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use iothub_auth::DeviceConnectionString;
use jiff::Timestamp;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Messages that may be without an acknowledgement, and how many are written at a time.
const WINDOW: usize = 512;
const CHUNK: usize = 64;

pub(super) struct Device {
    stream: BufReader<TlsStream<TcpStream>>,
    topic: String,
    next_id: u16,
    unacknowledged: usize,
}

impl Device {
    pub(super) async fn connect(string: &DeviceConnectionString) -> Result<Self> {
        let address = &string.address;
        let stream = tls(&address.host_name, address.mqtts_port, address.trusted_ca_file.as_deref()).await?;
        let now = Timestamp::try_from(SystemTime::now())?;
        let token = string.sas_token(now, std::time::Duration::from_secs(3600))?;
        let token = token.context("the device has no key")?;
        let id = string.device_id.as_str();
        let mut connect = b"\x00\x04MQTT\x04\xc2\x00\x00".to_vec();
        let user = format!("{}/{id}/?api-version=2021-04-12", address.host_name);
        for field in [id, &user, token.reveal()] {
            connect.extend(u16::try_from(field.len())?.to_be_bytes());
            connect.extend(field.as_bytes());
        }
        let mut device = Self {
            stream: BufReader::with_capacity(16 * 1024, stream),
            topic: format!("devices/{id}/messages/events/"),
            next_id: 1,
            unacknowledged: 0,
        };
        let packet = packet(0x10, &connect);
        device.stream.write_all(&packet).await?;
        device.stream.flush().await?;
        let mut answer = [0; 4];
        device.stream.read_exact(&mut answer).await?;
        if answer != [0x20, 2, 0, 0] {
            bail!("the hub refused a device: {answer:02x?}");
        }
        Ok(device)
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
                self.add(body, &mut chunk)?;
            }
            left -= CHUNK.min(left);
            self.stream.write_all(&chunk).await?;
            self.stream.flush().await?;
        }
        self.acknowledged().await
    }

    /// Sends one message, and takes an acknowledgement if one must have come by now.
    pub(super) async fn publish(&mut self, body: &[u8]) -> Result<()> {
        let mut packet = Vec::with_capacity(128);
        self.add(body, &mut packet)?;
        self.stream.write_all(&packet).await?;
        self.stream.flush().await?;
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

    fn add(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let mut rest = u16::try_from(self.topic.len())?.to_be_bytes().to_vec();
        rest.extend(self.topic.as_bytes());
        rest.extend(self.next_id.to_be_bytes());
        rest.extend(body);
        out.extend(packet(0x32, &rest));
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.unacknowledged += 1;
        Ok(())
    }

    async fn take_acknowledgement(&mut self) -> Result<()> {
        let mut answer = [0; 4];
        self.stream.read_exact(&mut answer).await?;
        if answer[..2] != [0x40, 2] {
            bail!("no acknowledgement: {answer:02x?}");
        }
        self.unacknowledged -= 1;
        Ok(())
    }
}

fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = rest.len();
    while length > 0x7f {
        packet.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    packet.push(length as u8);
    packet.extend(rest);
    packet
}

/// A TLS connection to the hub.
pub(super) async fn tls(
    host: &str,
    port: u16,
    trusted_ca_file: Option<&std::path::Path>,
) -> Result<TlsStream<TcpStream>> {
    let config = iothub_auth::client_config(trusted_ca_file)?;
    let stream =
        TcpStream::connect((host, port)).await.with_context(|| format!("no connection to {port}"))?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(host.to_owned())?;
    Ok(TlsConnector::from(config).connect(name, stream).await?)
}
