//! A scripted client: one Network Connection, driven from the test's own thread. It answers nothing by itself, except where a
//! test says so ([`crate::flow`]).

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use mqttd::packet::connack::Connack;
use mqttd::packet::publish::Publish;
use mqttd::packet::{Packet, Version};

use crate::bridge::Wire;
use crate::hex;

/// How long an expectation waits for what it names.
pub const DEADLINE: Duration = Duration::from_secs(5);

pub struct Client {
    pub version: Version,
    /// The Client Identifier, the assigned one if it was assigned.
    pub id: String,
    /// The answer to CONNECT; `None` for a bare socket.
    pub connack: Option<Connack>,
    stream: Wire,
    input: BytesMut,
    /// Packets that came while [`crate::flow`] waited for another one, in order.
    pub(crate) early: VecDeque<Packet>,
    next_packet_id: u16,
    transcript: Vec<String>,
}

/// What the broker did next.
#[derive(Debug)]
pub enum Came {
    Packet(Packet),
    Closed,
    Nothing,
}

enum Frame {
    Whole(Bytes),
    Closed,
    Nothing,
}

impl Client {
    /// A socket on which nothing has been sent.
    pub fn open(address: SocketAddr, version: Version) -> Client {
        Client::try_open(address, version).expect("the broker accepts connections")
    }

    /// As [`Client::open`], where there may be no broker.
    pub fn try_open(address: SocketAddr, version: Version) -> std::io::Result<Client> {
        Ok(Client::on(Wire::connect(address)?, version))
    }

    /// On a stream that is open already.
    pub fn on(stream: Wire, version: Version) -> Client {
        stream.set_write_timeout(DEADLINE).expect("a write timeout can be set");
        Client {
            version,
            id: String::new(),
            connack: None,
            stream,
            input: BytesMut::new(),
            early: VecDeque::new(),
            next_packet_id: 1,
            transcript: Vec::new(),
        }
    }

    pub fn session_present(&self) -> bool {
        self.connack.as_ref().expect("a CONNACK came").session_present
    }

    #[track_caller]
    pub fn send(&mut self, packet: impl Into<Packet>) {
        let packet: Packet = packet.into();
        let mut bytes = BytesMut::new();
        packet.encode(self.version, &mut bytes);
        self.log(">", &told(&packet));
        self.write(&bytes);
    }

    /// Sends bytes as they are, written as in [`hex::bytes`].
    #[track_caller]
    pub fn send_hex(&mut self, text: &str) {
        self.send_bytes(&hex::bytes(text));
    }

    #[track_caller]
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.log(">", &hex::show(bytes));
        self.write(bytes);
    }

    /// A broker that has just closed the connection is no failure of the sender: what it did is seen by the next expectation.
    #[track_caller]
    fn write(&mut self, bytes: &[u8]) {
        match self.stream.write_all(bytes) {
            Err(error) if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => self.fail("to send", &error),
            _ => {}
        }
    }

    /// Cuts the connection without DISCONNECT.
    pub fn cut(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Ends our side only: the broker reads the end of the stream but may still send.
    pub fn end_of_stream(&self) {
        self.stream.shutdown(Shutdown::Write).expect("the socket is open");
    }

    /// A Packet Identifier this client has not used yet.
    pub fn unused_packet_id(&mut self) -> u16 {
        self.next_packet_id += 1;
        self.next_packet_id - 1
    }

    /// The next packet, or what came in its place.
    #[track_caller]
    pub fn next_event(&mut self) -> Came {
        match self.early.pop_front() {
            Some(packet) => Came::Packet(packet),
            None => self.next_from_socket(DEADLINE),
        }
    }

    /// As [`Client::next_event`], with a patience of the test's own.
    #[track_caller]
    pub fn came_within(&mut self, patience: Duration) -> Came {
        match self.early.pop_front() {
            Some(packet) => Came::Packet(packet),
            None => self.next_from_socket(patience),
        }
    }

    #[track_caller]
    pub(crate) fn next_from_socket(&mut self, patience: Duration) -> Came {
        let bytes = match self.frame(patience) {
            Frame::Whole(bytes) => bytes,
            Frame::Closed => {
                self.log("<", "closed");
                return Came::Closed;
            }
            Frame::Nothing => return Came::Nothing,
        };
        match Packet::decode(self.version, bytes.clone()) {
            Ok(packet) => {
                self.log("<", &told(&packet));
                Came::Packet(packet)
            }
            Err(error) => self.fail("a well-formed packet", &format!("{error:?} in {}", hex::show(&bytes))),
        }
    }

    /// The bytes of the next packet; for tests of how a packet is written, not only of what it says.
    #[track_caller]
    pub fn next_bytes(&mut self) -> Bytes {
        self.next_frame().unwrap_or_else(|| self.fail("a packet", &"the end of the connection"))
    }

    /// As [`Client::next_bytes`]; `None` is the end of the connection.
    #[track_caller]
    pub fn next_frame(&mut self) -> Option<Bytes> {
        match self.frame(DEADLINE) {
            Frame::Whole(bytes) => {
                self.log("<", &hex::show(&bytes));
                Some(bytes)
            }
            Frame::Closed => None,
            Frame::Nothing => self.fail("a packet, or the end of the connection", &"nothing"),
        }
    }

    /// Waits for a whole packet: fixed header, Remaining Length, content.
    fn frame(&mut self, patience: Duration) -> Frame {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(length) = whole_packet(&self.input) {
                return Frame::Whole(self.input.split_to(length).freeze());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Frame::Nothing;
            }
            self.stream.set_read_timeout(left).expect("a read timeout can be set");
            let mut chunk = [0; 65_536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Frame::Closed,
                Ok(count) => self.input.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Frame::Nothing,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Frame::Closed,
            }
        }
    }

    /// What is not there is not told.
    fn log(&mut self, direction: &str, text: &str) {
        let told: Vec<&str> = text.split(", ").filter(|part| !part.ends_with(": None") && !part.ends_with(": []")).collect();
        let mut line = format!("{direction} {}", told.join(", "));
        if line.len() > 400 {
            let end = (0..=400).rev().find(|&at| line.is_char_boundary(at)).unwrap_or(0);
            line.truncate(end);
            line.push('…');
        }
        self.transcript.push(line);
    }

    /// Ends the test with what was expected, what came, and the dialogue so far.
    #[track_caller]
    pub fn fail(&self, expected: &str, came: &dyn std::fmt::Debug) -> ! {
        let skipped = self.transcript.len().saturating_sub(30);
        let dialogue = self.transcript[skipped..].join("\n    ");
        panic!("{:?} client {:?}\n  expected {expected}\n  came     {came:?}\n  dialogue\n    {dialogue}", self.version, self.id);
    }
}

/// A packet for the transcript: of a long payload only its beginning, which is all that a reader would look at.
fn told(packet: &Packet) -> String {
    match packet {
        Packet::Publish(publish) if publish.payload.len() > 100 => {
            let payload = publish.payload.slice(..100);
            format!("{:?} and {} bytes more", Publish { payload, ..publish.clone() }, publish.payload.len() - 100)
        }
        other => format!("{other:?}"),
    }
}

/// The length of the packet at the start of `input`, once all of it is there.
fn whole_packet(input: &[u8]) -> Option<usize> {
    let mut rest = input;
    if !rest.has_remaining() {
        return None;
    }
    rest.advance(1);
    let mut length = 0usize;
    for shift in [0, 7, 14, 21] {
        let byte = *rest.first()?;
        rest.advance(1);
        length |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            let total = input.len() - rest.len() + length;
            return (input.len() >= total).then_some(total);
        }
    }
    panic!("the broker sent a Remaining Length of more than four bytes: {}", hex::show(input));
}
