//! A reader of events that is as cheap as can be: AMQP frames made by hand and counted, over TLS.

use anyhow::{Context, Result, bail};
use iothub_auth::EventHubsConnectionString;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::device::tls;

const AMQP: &[u8; 8] = b"AMQP\x00\x01\x00\x00";
const SASL: &[u8; 8] = b"AMQP\x03\x01\x00\x00";
const TRANSFER: u8 = 0x14;
/// More than is ever read.
const CREDIT: u32 = 0x7fff_ffff;

pub(super) struct RawReader {
    stream: BufReader<TlsStream<TcpStream>>,
    event_hub: String,
    body: Vec<u8>,
}

/// A field, encoded.
enum Field<'a> {
    Null,
    Bool(bool),
    Uint(u32),
    Text(&'a str),
    Symbol(&'a str),
    Binary(&'a [u8]),
    List(u8, Vec<Self>),
}

impl RawReader {
    /// Open, with a session; the policy's key is the proof.
    pub(super) async fn connect(string: &EventHubsConnectionString) -> Result<Self> {
        let ca_file = string.trusted_ca_file.as_deref();
        let stream = tls(&string.host_name, string.port, ca_file).await?;
        let event_hub = string.entity_path.clone().context("the string names no event hub")?;
        let stream = BufReader::with_capacity(256 * 1024, stream);
        let mut reader = Self { stream, event_hub, body: Vec::new() };
        let proof = format!("\0{}\0{}", string.policy, string.key.reveal());
        let init = [Field::Symbol("PLAIN"), Field::Binary(proof.as_bytes())];
        reader.write(&[&SASL[..], &frame(1, 0x41, &init)].concat()).await?;
        reader.header(SASL).await?;
        reader.frame().await?;
        reader.frame().await?;
        let open = [Field::Text("bench"), Field::Text(&string.host_name), Field::Uint(64 * 1024)];
        let begin = [Field::Null, Field::Uint(0), Field::Uint(u32::MAX), Field::Uint(1000)];
        reader.write(&[&AMQP[..], &frame(0, 0x10, &open), &frame(0, 0x11, &begin)].concat()).await?;
        reader.header(AMQP).await?;
        Ok(reader)
    }

    /// Attaches links to all partitions, from the beginning, and takes whatever comes.
    pub(super) async fn read_all(&mut self, partitions: u32) -> Result<()> {
        let mut frames = Vec::new();
        for id in 0..partitions {
            let (name, event_hub) = (format!("reader-{id}"), &self.event_hub);
            let address = format!("{event_hub}/ConsumerGroups/$Default/Partitions/{id}");
            let attach = [
                Field::Text(&name),
                Field::Uint(id),
                Field::Bool(true),
                Field::Null,
                Field::Null,
                Field::List(0x28, vec![Field::Text(&address)]),
                Field::List(0x29, vec![Field::Text("bench")]),
            ];
            let flow = [
                Field::Uint(0),
                Field::Uint(u32::MAX),
                Field::Uint(0),
                Field::Uint(1000),
                Field::Uint(id),
                Field::Uint(0),
                Field::Uint(CREDIT),
            ];
            frames.extend(frame(0, 0x12, &attach));
            frames.extend(frame(0, 0x13, &flow));
        }
        self.write(&frames).await
    }

    /// The last eight bytes of the next event's body.
    pub(super) async fn event(&mut self) -> Result<[u8; 8]> {
        loop {
            match self.frame().await? {
                Some(TRANSFER) => {
                    let end = self.body.last_chunk().context("a transfer without a body")?;
                    return Ok(*end);
                }
                // Detach, end and close say why.
                Some(0x16..=0x18) => bail!("the hub ended it: {}", String::from_utf8_lossy(&self.body)),
                _ => {}
            }
        }
    }

    /// The code of the next frame, whose body is kept; `None` for a heartbeat.
    async fn frame(&mut self) -> Result<Option<u8>> {
        let size = usize::try_from(self.stream.read_u32().await?)?;
        self.body.resize(size.checked_sub(4).context("a frame of no size")?, 0);
        self.stream.read_exact(&mut self.body).await?;
        Ok(self.body.get(6).copied())
    }

    async fn header(&mut self, expected: &[u8; 8]) -> Result<()> {
        let mut header = [0; 8];
        self.stream.read_exact(&mut header).await?;
        if header != *expected {
            bail!("another header: {header:02x?}");
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }
}

fn frame(kind: u8, code: u8, fields: &[Field<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    list(code, fields, &mut body);
    let size = u32::try_from(body.len() + 8).unwrap_or(u32::MAX);
    [&size.to_be_bytes()[..], &[2, kind, 0, 0], &body].concat()
}

fn list(code: u8, fields: &[Field<'_>], out: &mut Vec<u8>) {
    let mut content = Vec::new();
    for field in fields {
        match field {
            Field::Null => content.push(0x40),
            Field::Bool(truth) => content.push(if *truth { 0x41 } else { 0x42 }),
            Field::Uint(number) => {
                content.push(0x70);
                content.extend(number.to_be_bytes());
            }
            Field::Text(text) => short(0xa1, text.as_bytes(), &mut content),
            Field::Symbol(text) => short(0xa3, text.as_bytes(), &mut content),
            Field::Binary(bytes) => short(0xa0, bytes, &mut content),
            Field::List(code, fields) => list(*code, fields, &mut content),
        }
    }
    out.extend([0x00, 0x53, code, 0xd0]);
    out.extend(u32::try_from(content.len() + 4).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(u32::try_from(fields.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(content);
}

fn short(code: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.extend([code, u8::try_from(bytes.len()).unwrap_or(u8::MAX)]);
    out.extend(bytes);
}
