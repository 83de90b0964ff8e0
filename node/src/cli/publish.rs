//! `mqttd pub`: messages from the command line, a file or standard input to a broker.

use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use tokio::sync::mpsc;

use super::Failure;
use super::client::{Client, ClientArguments, Keep, block_on, words};
use super::signals::Signals;
use crate::packet::acknowledge::{Acknowledge, Kind};
use crate::packet::publish::Publish;
use crate::packet::reason::Reason;
use crate::packet::{Packet, PacketId, QoS, REMAINING_LENGTH_MAX, Version};

/// Messages that wait for an acknowledgement, where the broker allows as many.
const IN_FLIGHT_MAX: u16 = 1000;
/// The same before 5.0, where a broker cannot say how many it takes: mosquitto drops QoS 2 messages above its own limit.
const V3_IN_FLIGHT_MAX: u16 = 20;
/// Bytes that wait to be sent; then no more lines are read.
const QUEUED_BYTES_MAX: usize = 1024 * 1024;

pub(super) const EXAMPLES: &str = "\
Examples:
  mqttd pub -t hello/world -m hi
  mqttd pub -t lamp/state -m on -q 1 -r       kept by the broker for later subscribers
  mqttd pub -t lamp/state -n -r               and taken away again
  mqttd pub -t picture -f cat.jpg             a file; -f - is standard input
  tail -f /var/log/syslog | mqttd pub -t log -l    each line a message";

#[derive(Args, Debug)]
#[group(id = "what", required = true, multiple = false, args = ["message", "file", "lines", "null"])]
pub(super) struct PublishArguments {
    /// The Topic Name to publish to
    #[arg(short, long)]
    topic: String,
    /// The message
    #[arg(short, long, allow_hyphen_values = true)]
    message: Option<String>,
    /// Send this file as one message; - is standard input
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// Send each line of standard input as a message
    #[arg(short, long)]
    lines: bool,
    /// Send an empty message
    #[arg(short, long)]
    null: bool,
    /// Ask the broker to keep the message for later subscribers
    #[arg(short, long)]
    retain: bool,
    #[command(flatten)]
    client: ClientArguments,
}

type Payloads = mpsc::Receiver<std::io::Result<Bytes>>;

pub(super) fn run(arguments: &PublishArguments) -> Result<(), Failure> {
    if arguments.topic.is_empty() || arguments.topic.len() > 65_535 || arguments.topic.contains(['+', '#']) {
        return Err(Failure::Usage(format!("-t {:?} is no topic to publish to: 1 to 65,535 bytes, without + and #", arguments.topic)));
    }
    block_on(async {
        let mut signals = Signals::catch()?;
        let payloads = payloads(arguments)?;
        let client = Client::connect(&arguments.client, Keep::Nothing).await?;
        let mut publisher = Publisher { client, arguments, unacknowledged: HashMap::new(), refused: None };
        let done = match publisher.check_allowed() {
            Ok(()) => tokio::select! {
                done = publisher.publish_all(payloads) => done,
                name = signals.next() => publisher.interrupted(name),
            },
            Err(failure) => Err(failure),
        };
        let closed = publisher.client.close().await;
        done.and(closed).and(publisher.refused.map_or(Ok(()), Err))
    })
}

/// One message, or the lines of standard input; a thread reads them, because reading may block for ever.
fn payloads(arguments: &PublishArguments) -> Result<Payloads, Failure> {
    let (sender, receiver) = mpsc::channel(1000);
    if arguments.lines {
        let send_lines = move || {
            for line in std::io::stdin().lock().split(b'\n') {
                let line = line.map(|mut line| {
                    if line.ends_with(b"\r") {
                        line.pop();
                    }
                    Bytes::from(line)
                });
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        };
        std::thread::spawn(send_lines);
        return Ok(receiver);
    }
    let payload = match (&arguments.file, &arguments.message) {
        (Some(path), _) => read_file(path).map_err(|error| Failure::Runtime(format!("{}: {error}", path.display())))?,
        (None, Some(message)) => Bytes::from(message.clone()),
        (None, None) => Bytes::new(),
    };
    sender.try_send(Ok(payload)).map_err(|error| Failure::Runtime(error.to_string()))?;
    Ok(receiver)
}

fn read_file(path: &std::path::Path) -> std::io::Result<Bytes> {
    if path != "-" {
        return std::fs::read(path).map(Bytes::from);
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

struct Publisher<'a> {
    client: Client,
    arguments: &'a PublishArguments,
    /// What the broker owes us next, for each message in flight.
    unacknowledged: HashMap<PacketId, Kind>,
    refused: Option<Failure>,
}

impl Publisher<'_> {
    /// What the broker's CONNACK rules out is said before anything is sent.
    fn check_allowed(&self) -> Result<(), Failure> {
        let (asked, allowed) = (self.arguments.client.qos, &self.client.allowed);
        match allowed.maximum_qos {
            Some(most) if asked > most => {
                return Err(Failure::Runtime(format!("the broker takes no QoS {}; use -q {}", asked as u8, most as u8)));
            }
            _ => (),
        }
        if self.arguments.retain && allowed.retain_available == Some(false) {
            return Err(Failure::Runtime("the broker keeps no retained messages; leave -r out".to_owned()));
        }
        Ok(())
    }

    /// Until all is sent and, above QoS 0, acknowledged.
    async fn publish_all(&mut self, mut payloads: Payloads) -> Result<(), Failure> {
        let most = if self.arguments.client.version == Version::V5 { IN_FLIGHT_MAX } else { V3_IN_FLIGHT_MAX };
        let in_flight_max = usize::from(self.client.allowed.receive_maximum.unwrap_or(most).min(most));
        let mut more = true;
        loop {
            while let Some(packet) = self.client.received()? {
                self.receive(packet);
            }
            if !more && self.unacknowledged.is_empty() {
                return self.client.flush().await;
            }
            let room = self.unacknowledged.len() < in_flight_max && self.client.queued_bytes() < QUEUED_BYTES_MAX;
            tokio::select! {
                turned = self.client.turn() => turned?,
                payload = payloads.recv(), if more && room => match payload {
                    Some(payload) => self.publish(payload.map_err(|error| Failure::Runtime(format!("standard input: {error}")))?)?,
                    None => more = false,
                },
            }
        }
    }

    fn publish(&mut self, payload: Bytes) -> Result<(), Failure> {
        let qos = self.arguments.client.qos;
        let packet_id = (qos != QoS::AtMostOnce).then(|| self.client.packet_id());
        let topic = self.arguments.topic.as_str().into();
        let publish =
            Packet::Publish(Publish { dup: false, qos, retain: self.arguments.retain, topic, packet_id, properties: None, payload });
        let size = publish.encoded_len(self.arguments.client.version);
        let most = self.client.allowed.maximum_packet_size.unwrap_or(REMAINING_LENGTH_MAX) as usize;
        if size == 0 || size > most {
            return Err(Failure::Runtime(format!("the message is too large: the broker takes packets of {most} bytes")));
        }
        if let Some(id) = packet_id {
            self.unacknowledged.insert(id, if qos == QoS::AtLeastOnce { Kind::Puback } else { Kind::Pubrec });
        }
        self.client.queue(&publish);
        Ok(())
    }

    fn receive(&mut self, packet: Packet) {
        let Packet::Acknowledge(Acknowledge { kind, packet_id, reason, properties }) = packet else { return };
        if self.unacknowledged.get(&packet_id) != Some(&kind) {
            return;
        }
        if kind == Kind::Pubrec && !reason.is_error() {
            // The message is the broker's now `[MQTT-4.3.3-4]`; only the identifier is still in use.
            self.unacknowledged.insert(packet_id, Kind::Pubcomp);
            self.client.queue(&Packet::Acknowledge(Acknowledge {
                kind: Kind::Pubrel,
                packet_id,
                reason: Reason::SUCCESS,
                properties: None,
            }));
            return;
        }
        self.unacknowledged.remove(&packet_id);
        if reason.is_error() {
            let text = properties.and_then(|properties| properties.reason_string);
            let said = format!("the broker refuses a message to {}: {}", self.arguments.topic, words(reason, text.as_ref()));
            self.refused.get_or_insert(Failure::Runtime(said));
        }
    }

    fn interrupted(&self, signal: &str) -> Result<(), Failure> {
        match self.unacknowledged.len() {
            0 => Ok(()),
            count => Err(Failure::Runtime(format!("{signal}: {count} messages are not acknowledged"))),
        }
    }
}
