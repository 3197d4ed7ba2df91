//! [`Splitter`] cuts the bytes of a client into packets, frames or requests, and writes each as one line of JSON. The
//! recorder uses it.

use serde_json::{Value, json};

use crate::message::hex;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Mqtt,
    Amqp,
    Https,
}

/// The bytes of one connection that do not form a whole packet, frame or request yet.
pub(super) struct Splitter {
    protocol: Protocol,
    rest: Vec<u8>,
}

impl Splitter {
    pub(super) const fn new(protocol: Protocol) -> Self {
        Self { protocol, rest: Vec::new() }
    }

    /// Takes more bytes. Returns the lines that they complete.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        self.rest.extend_from_slice(bytes);
        let mut lines = Vec::new();
        let next = match self.protocol {
            Protocol::Mqtt => mqtt,
            Protocol::Amqp => amqp,
            Protocol::Https => https,
        };
        while let Some((length, line)) = next(&self.rest) {
            self.rest.drain(..length);
            lines.push(line.to_string());
        }
        lines
    }
}

/// Reads a control packet: MQTT 3.1.1, 2.2. Returns its length and its line once it is whole.
fn mqtt(bytes: &[u8]) -> Option<(usize, Value)> {
    const NAMES: [&str; 16] = [
        "reserved",
        "CONNECT",
        "CONNACK",
        "PUBLISH",
        "PUBACK",
        "PUBREC",
        "PUBREL",
        "PUBCOMP",
        "SUBSCRIBE",
        "SUBACK",
        "UNSUBSCRIBE",
        "UNSUBACK",
        "PINGREQ",
        "PINGRESP",
        "DISCONNECT",
        "reserved",
    ];
    let first = *bytes.first()?;
    let mut remaining = 0;
    let mut header = 1;
    for shift in [0, 7, 14, 21] {
        let digit = *bytes.get(header)?;
        header += 1;
        remaining |= usize::from(digit & 0x7f) << shift;
        if digit & 0x80 == 0 {
            break;
        }
    }
    let packet = bytes.get(..header + remaining)?;
    Some((packet.len(), json!({"packet": NAMES[usize::from(first >> 4)], "hex": hex(packet)})))
}

/// Reads a protocol header or a frame: AMQP 1.0, part 2, 2.2 and 2.3.
fn amqp(bytes: &[u8]) -> Option<(usize, Value)> {
    let start: &[u8; 8] = bytes.first_chunk()?;
    if start.starts_with(b"AMQP") {
        return Some((8, json!({"frame": "header", "hex": hex(start)})));
    }
    let size = u32::from_be_bytes([start[0], start[1], start[2], start[3]]);
    let frame = bytes.get(..usize::try_from(size).ok()?.max(8))?;
    // The descriptor: 0x00, a small ulong, the performative's code.
    let name = match frame.get(usize::from(start[4]) * 4..) {
        Some([0, 0x53, code, ..]) => performative(*code),
        _ => "empty",
    };
    Some((frame.len(), json!({"frame": name, "hex": hex(frame)})))
}

const fn performative(code: u8) -> &'static str {
    match code {
        0x10 => "open",
        0x11 => "begin",
        0x12 => "attach",
        0x13 => "flow",
        0x14 => "transfer",
        0x15 => "disposition",
        0x16 => "detach",
        0x17 => "end",
        0x18 => "close",
        0x41 => "sasl-init",
        0x43 => "sasl-response",
        _ => "unknown",
    }
}

/// Reads a request whose body has a length or is absent; these clients send no other.
fn https(bytes: &[u8]) -> Option<(usize, Value)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.trim_end().lines();
    let mut request = lines.next()?.split(' ');
    let (method, target) = (request.next()?, request.next()?);
    let headers: Vec<(&str, &str)> =
        lines.filter_map(|line| line.split_once(':').map(|(name, value)| (name, value.trim()))).collect();
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.map_or(Ok(0), |(_, value)| value.parse()).ok()?;
    let body = String::from_utf8_lossy(bytes.get(end..end + length)?);
    Some((end + length, json!({"method": method, "target": target, "headers": headers, "body": body})))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the bytes are cut, the same lines come out.
    fn split(protocol: Protocol, bytes: &[u8]) -> Vec<String> {
        let whole = Splitter::new(protocol).take(bytes);
        let mut splitter = Splitter::new(protocol);
        let one_by_one: Vec<String> = bytes.iter().flat_map(|byte| splitter.take(&[*byte])).collect();
        assert_eq!(whole, one_by_one);
        whole
    }

    #[test]
    fn the_recordings_that_are_there_are_cut_as_they_are() {
        for (protocol, recording) in [
            (Protocol::Mqtt, include_str!("../../../fixtures/wire/mqtt-python-device.jsonl")),
            (Protocol::Amqp, include_str!("../../../fixtures/wire/amqp-python-sender.jsonl")),
            (Protocol::Amqp, include_str!("../../../fixtures/wire/amqp-node-sender.jsonl")),
        ] {
            let recorded: Vec<Value> =
                recording.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let body = |line: &Value| crate::message::body(&json!({"body_hex": line["hex"]}));
            let bytes: Vec<u8> = recorded.iter().flat_map(body).collect();
            let cut: Vec<Value> =
                split(protocol, &bytes).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(cut, recorded);
        }
    }

    #[test]
    fn requests_end_where_their_length_says() {
        let lines = split(
            Protocol::Https,
            b"PUT /devices/d?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        );
        assert_eq!(lines.len(), 2);
        assert_eq!(
            lines[0],
            r#"{"method":"PUT","target":"/devices/d?x=1","headers":[["Host","h"],["Content-Length","2"]],"body":"{}"}"#
        );
    }
}
