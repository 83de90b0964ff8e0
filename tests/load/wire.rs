//! The little of MQTT 3.1.1 that a generator needs: packets encoded beforehand, and a buffer that finds the packets in what came.

use std::io::{self, Error, ErrorKind};
use std::time::Duration;

use mqttd_tests::way::Duplex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::broker::Broker;

pub(crate) const PUBLISH: u8 = 0x30;
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
pub(crate) const PUBREL: u8 = 0x62;
pub(crate) const PUBCOMP: u8 = 0x70;

const CLEAN_SESSION: u8 = 2;

/// One read takes up to so much.
const READ_BYTES: usize = 64 * 1024;

/// From the first byte to CONNACK, with all that the transport asks for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to a broker. What is written may wait for a flush.
pub(crate) type Wire = Box<dyn Duplex>;

/// A client that is connected, without Keep Alive. `durable`: its Session lasts, and is taken up if it is there.
pub(crate) async fn connect(broker: &Broker, client_id: &str, durable: bool) -> io::Result<Wire> {
    let connected = tokio::time::timeout(PATIENCE, enter(broker, client_id, durable)).await;
    connected.unwrap_or_else(|_| Err(Error::new(ErrorKind::TimedOut, format!("{client_id} was not let in within {PATIENCE:?}"))))
}

async fn enter(broker: &Broker, client_id: &str, durable: bool) -> io::Result<Wire> {
    let mut stream = broker.open().await?;
    let flags = if durable { 0 } else { CLEAN_SESSION };
    let mut packet = vec![0x10, 12 + client_id.len() as u8, 0, 4, b'M', b'Q', b'T', b'T', 4, flags, 0, 0];
    text(&mut packet, client_id);
    write(&mut stream, &packet).await?;
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).await?;
    let [.., session_present, _] = connack;
    if connack == [0x20, 2, session_present, 0] && (durable || session_present == 0) {
        Ok(stream)
    } else {
        Err(Error::other(format!("CONNECT was answered with {connack:?}")))
    }
}

/// Subscribes the client, and waits until that holds.
pub(crate) async fn subscribe(stream: &mut Wire, filter: &str, qos: u8) -> io::Result<()> {
    let mut packet = vec![0x82, 5 + filter.len() as u8, 0, 1];
    text(&mut packet, filter);
    packet.push(qos);
    write(stream, &packet).await?;
    let mut suback = [0; 5];
    stream.read_exact(&mut suback).await?;
    if suback == [0x90, 3, 0, 1, qos] { Ok(()) } else { Err(Error::other(format!("SUBSCRIBE was answered with {suback:?}"))) }
}

/// Says goodbye. The Session lasts if it is a durable one.
pub(crate) async fn disconnect(mut stream: Wire) -> io::Result<()> {
    write(&mut stream, &[0xe0, 0]).await?;
    stream.shutdown().await
}

/// All of it, as far as the system takes it.
pub(crate) async fn write(stream: &mut Wire, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

fn text(packet: &mut Vec<u8>, text: &str) {
    packet.extend((text.len() as u16).to_be_bytes());
    packet.extend(text.as_bytes());
}

pub(crate) fn acknowledge(out: &mut Vec<u8>, kind: u8, packet_id: [u8; 2]) {
    out.extend([kind, 2, packet_id[0], packet_id[1]]);
}

/// What a message says of itself, at the beginning of its payload.
pub(crate) struct Stamp {
    pub(crate) publisher: u32,
    pub(crate) sequence: u64,
    /// When it was published, in nanoseconds since the measurement began.
    pub(crate) at_ns: u64,
}

const STAMP_BYTES: usize = 20;

impl Stamp {
    fn read(payload: &[u8]) -> Option<Stamp> {
        let (publisher, rest) = payload.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let at_ns = rest.first_chunk()?;
        let big_endian = (u32::from_be_bytes(*publisher), u64::from_be_bytes(*sequence), u64::from_be_bytes(*at_ns));
        Some(Stamp { publisher: big_endian.0, sequence: big_endian.1, at_ns: big_endian.2 })
    }
}

/// A PUBLISH with all but its Packet Identifier and its stamp.
pub(crate) struct Template {
    packet: Vec<u8>,
    packet_id_at: Option<usize>,
    payload_at: usize,
}

impl Template {
    pub(crate) fn new(topic: &str, qos: u8, payload_bytes: usize) -> Template {
        assert!(payload_bytes >= STAMP_BYTES, "a payload holds its stamp");
        let mut packet = vec![PUBLISH | qos << 1];
        let mut remaining = 2 + topic.len() + if qos > 0 { 2 } else { 0 } + payload_bytes;
        while remaining > 127 {
            packet.push(remaining as u8 | 0x80);
            remaining >>= 7;
        }
        packet.push(remaining as u8);
        text(&mut packet, topic);
        let packet_id_at = (qos > 0).then_some(packet.len());
        packet.extend(packet_id_at.map(|_| [0, 0]).into_iter().flatten());
        let payload_at = packet.len();
        packet.resize(payload_at + payload_bytes, b'.');
        Template { packet, packet_id_at, payload_at }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>, packet_id: u16, stamp: &Stamp) {
        let start = out.len();
        out.extend_from_slice(&self.packet);
        let packet = &mut out[start..];
        if let Some(at) = self.packet_id_at {
            packet[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
        let payload = &mut packet[self.payload_at..];
        payload[..4].copy_from_slice(&stamp.publisher.to_be_bytes());
        payload[4..12].copy_from_slice(&stamp.sequence.to_be_bytes());
        payload[12..20].copy_from_slice(&stamp.at_ns.to_be_bytes());
    }
}

/// A packet that came.
pub(crate) enum Came {
    Publish { packet_id: Option<[u8; 2]>, stamp: Stamp },
    Acknowledgement { kind: u8, packet_id: [u8; 2] },
}

/// Bytes that came and are not yet taken.
pub(crate) struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    pub(crate) fn new() -> Input {
        Input { bytes: vec![0; READ_BYTES], start: 0, end: 0 }
    }

    /// Where the next read puts its bytes.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        &mut self.bytes[self.end..]
    }

    pub(crate) fn filled(&mut self, bytes: usize) {
        self.end += bytes;
    }

    /// The next whole packet.
    pub(crate) fn next(&mut self) -> io::Result<Option<Came>> {
        let bytes = &self.bytes[self.start..self.end];
        let Some((header, remaining)) = remaining_length(bytes) else { return Ok(None) };
        let Some(body) = bytes.get(header..header + remaining) else { return Ok(None) };
        let came =
            read(bytes[0], body).ok_or_else(|| Error::other(format!("a packet that nothing asks for: {:02x?}", &bytes[..header])))?;
        self.start += header + remaining;
        Ok(Some(came))
    }
}

/// The bytes of the fixed header, and of what follows it.
fn remaining_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut remaining = 0;
    for (index, byte) in bytes.iter().skip(1).take(4).enumerate() {
        remaining |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((2 + index, remaining));
        }
    }
    None
}

fn read(first: u8, body: &[u8]) -> Option<Came> {
    match first & 0xf0 {
        PUBLISH => {
            let (topic_bytes, rest) = body.split_first_chunk()?;
            let rest = rest.get(usize::from(u16::from_be_bytes(*topic_bytes))..)?;
            let has_id = first & 0b110 != 0;
            let (packet_id, payload) = if has_id { rest.split_first_chunk().map(|(id, rest)| (Some(*id), rest))? } else { (None, rest) };
            Some(Came::Publish { packet_id, stamp: Stamp::read(payload)? })
        }
        0x40..=0x70 => Some(Came::Acknowledgement { kind: first, packet_id: *body.first_chunk()? }),
        _ => None,
    }
}
