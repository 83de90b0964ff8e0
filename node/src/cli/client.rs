//! A small client: what `mqttd pub` and `mqttd sub` have in common. One Network Connection, no reconnecting.

use std::time::Duration;

use bytes::BytesMut;
use bytestring::ByteString;
use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::Failure;
use crate::packet::connack::{Connack, ConnackProperties};
use crate::packet::connect::{Connect, ConnectProperties};
use crate::packet::disconnect::Disconnect;

use crate::packet::reason::Reason;
use crate::packet::{Packet, PacketId, QoS, Version, frame};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the end waits for the broker to take our last bytes and to say its last word.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How much is read at a time.
const READ_BYTES: usize = 64 * 1024;

/// Which broker, and who to be there.
#[derive(Args, Clone, Debug)]
pub(super) struct ClientArguments {
    /// The broker's host
    #[arg(short = 'H', long, default_value = "localhost")]
    pub(super) host: String,
    /// The broker's port
    #[arg(short, long, default_value_t = 1883)]
    pub(super) port: u16,
    /// Quality of Service: 0 at most once, 1 at least once, 2 exactly once
    #[arg(short, long, default_value = "0", value_parser = qos)]
    pub(super) qos: QoS,
    /// The Client Identifier [default: one that the broker makes]
    #[arg(short, long, value_name = "ID")]
    pub(super) id: Option<String>,
    /// The MQTT version: 3.1, 3.1.1 or 5
    #[arg(short = 'V', long = "mqtt-version", value_name = "VERSION", default_value = "5", value_parser = version)]
    pub(super) version: Version,
    /// The User Name
    #[arg(short, long, value_name = "NAME")]
    pub(super) username: Option<String>,
    /// The Password
    #[arg(short = 'P', long)]
    pub(super) password: Option<String>,
    /// Seconds after which a silent connection is proved alive; 0 is never
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60)]
    pub(super) keep_alive: u16,
}

fn qos(text: &str) -> Result<QoS, String> {
    text.parse().ok().and_then(QoS::from_bits).ok_or_else(|| "allowed: 0, 1, 2".to_owned())
}

fn version(text: &str) -> Result<Version, String> {
    match text {
        "3.1" | "31" | "mqttv31" => Ok(Version::V3_1),
        "3.1.1" | "311" | "mqttv311" => Ok(Version::V3_1_1),
        "5" | "5.0" | "mqttv5" => Ok(Version::V5),
        _ => Err("allowed: 3.1, 3.1.1, 5".to_owned()),
    }
}

/// A Network Connection after a good CONNACK. Every method can be dropped half-way and called again: what is to be sent lies in a
/// buffer and not in a future.
pub(super) struct Client {
    stream: TcpStream,
    version: Version,
    incoming: BytesMut,
    outgoing: BytesMut,
    keep_alive: Option<Duration>,
    last_sent: Instant,
    awaits_pingresp: bool,
    last_packet_id: u16,
    /// What the broker said that it allows.
    pub(super) allowed: ConnackProperties,
}

/// The session a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// It ends with the Network Connection.
    Nothing,
    /// It stays, with its subscriptions and what arrives meanwhile.
    Session,
}

impl Client {
    pub(super) async fn connect(arguments: &ClientArguments, keep: Keep) -> Result<Client, Failure> {
        let connect = connect_packet(arguments, keep)?;
        let place = format!("{}:{}", arguments.host, arguments.port);
        let open = async {
            let address = (arguments.host.trim_matches(['[', ']']), arguments.port);
            let stream = TcpStream::connect(address).await.map_err(|error| no_connection(&place, &error))?;
            // Small packets one after the other must not wait for each other's acknowledgement.
            stream.set_nodelay(true).map_err(|error| no_connection(&place, &error))?;
            let mut client = Client::over(stream, arguments);
            client.queue(&Packet::Connect(Box::new(connect)));
            loop {
                if let Some(first) = client.received()? {
                    return client.welcome(first);
                }
                client.turn().await?;
            }
        };
        match timeout(CONNECT_TIMEOUT, open).await {
            Ok(client) => client,
            Err(_) => Err(Failure::Runtime(format!("{place} did not answer within {} seconds", CONNECT_TIMEOUT.as_secs()))),
        }
    }

    fn over(stream: TcpStream, arguments: &ClientArguments) -> Client {
        let keep_alive = (arguments.keep_alive > 0).then(|| Duration::from_secs(arguments.keep_alive.into()));
        Client {
            stream,
            version: arguments.version,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            keep_alive,
            last_sent: Instant::now(),
            awaits_pingresp: false,
            last_packet_id: 0,
            allowed: ConnackProperties::default(),
        }
    }

    fn welcome(mut self, first: Packet) -> Result<Client, Failure> {
        let Packet::Connack(connack) = first else { return Err(Failure::Runtime("the broker's first packet was no CONNACK".to_owned())) };
        let Connack { reason, properties, .. } = *connack;
        if reason.is_error() {
            let hint = if reason == Reason::UNSUPPORTED_PROTOCOL_VERSION { "; try -V 3.1.1 or -V 5" } else { "" };
            return Err(Failure::Runtime(format!(
                "the broker refuses the connection: {}{hint}",
                words(reason, properties.reason_string.as_ref())
            )));
        }
        if let Some(seconds) = properties.server_keep_alive_s {
            self.keep_alive = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
        }
        self.allowed = properties;
        Ok(self)
    }

    /// Puts a packet behind those that are to be sent; [`Client::turn`] and [`Client::flush`] send them.
    pub(super) fn queue(&mut self, packet: &Packet) {
        packet.encode(self.version, &mut self.outgoing);
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.outgoing.len()
    }

    /// The next Packet Identifier. Callers have far fewer in flight than there are identifiers.
    pub(super) fn packet_id(&mut self) -> PacketId {
        self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
        PacketId::new(self.last_packet_id).unwrap_or(PacketId::MIN)
    }

    /// A packet that has come already. A DISCONNECT is an error here.
    pub(super) fn received(&mut self) -> Result<Option<Packet>, Failure> {
        loop {
            match self.take_packet()? {
                Some(Packet::Pingresp) => self.awaits_pingresp = false,
                Some(Packet::Disconnect(disconnect)) => return Err(disconnected(&disconnect)),
                other => return Ok(other),
            }
        }
    }

    /// Waits until bytes came, bytes went, or it is time for a PINGREQ.
    pub(super) async fn turn(&mut self) -> Result<(), Failure> {
        let ping_at = self.last_sent + self.keep_alive.unwrap_or_default();
        self.incoming.reserve(READ_BYTES);
        let (mut reader, mut writer) = self.stream.split();
        tokio::select! {
            read = reader.read_buf(&mut self.incoming) => match read {
                Ok(0) => return Err(Failure::Runtime("the broker closed the connection without a word".to_owned())),
                Ok(_) => (),
                Err(error) => return Err(broken(&error)),
            },
            written = writer.write_buf(&mut self.outgoing), if !self.outgoing.is_empty() => {
                written.map_err(|error| broken(&error))?;
                self.last_sent = Instant::now();
            }
            () = sleep_until(ping_at), if self.keep_alive.is_some() && self.outgoing.is_empty() => {
                if self.awaits_pingresp {
                    return Err(Failure::Runtime("the broker does not answer any more (no PINGRESP)".to_owned()));
                }
                self.awaits_pingresp = true;
                self.queue(&Packet::Pingreq);
            }
        }
        Ok(())
    }

    fn take_packet(&mut self) -> Result<Option<Packet>, Failure> {
        let bad = |text: &str| Failure::Runtime(format!("the broker sent what is no MQTT: {text}"));
        let Some((_, total)) = frame(&self.incoming, u32::MAX).map_err(|error| bad(error.text))? else { return Ok(None) };
        Packet::decode(self.version, self.incoming.split_to(total).freeze()).map(Some).map_err(|error| bad(error.text))
    }

    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        self.stream.write_all_buf(&mut self.outgoing).await.map_err(|error| broken(&error))?;
        self.last_sent = Instant::now();
        Ok(())
    }

    /// DISCONNECT, and a look at what the broker still has to say: an error that our last packets caused.
    pub(super) async fn close(mut self) -> Result<(), Failure> {
        let disconnect = Disconnect {
            reason: Reason::SUCCESS,
            session_expiry_s: None,
            reason_string: None,
            server_reference: None,
            user_properties: Vec::new(),
        };
        self.queue(&Packet::Disconnect(Box::new(disconnect)));
        let last_words = async {
            let _ = self.flush().await;
            let _ = self.stream.shutdown().await;
            loop {
                match self.take_packet() {
                    Ok(Some(Packet::Disconnect(disconnect))) => return Err(disconnected(&disconnect)),
                    Ok(Some(_)) => (),
                    Ok(None) if matches!(self.stream.read_buf(&mut self.incoming).await, Ok(1..)) => (),
                    // The end we asked for, in whatever form it comes.
                    Ok(None) | Err(_) => return Ok(()),
                }
            }
        };
        timeout(CLOSE_TIMEOUT, last_words).await.unwrap_or(Ok(()))
    }
}

fn connect_packet(arguments: &ClientArguments, keep: Keep) -> Result<Connect, Failure> {
    let v5 = arguments.version == Version::V5;
    if arguments.password.is_some() && arguments.username.is_none() && !v5 {
        return Err(Failure::Usage("before MQTT 5.0 a password (-P) needs a user name (-u)".to_owned()));
    }
    // 3.1 knows no empty Client Identifier.
    let made = if arguments.version == Version::V3_1 { format!("mqttd-{}", std::process::id()) } else { String::new() };
    let session_expiry_s = (v5 && keep == Keep::Session).then_some(u32::MAX);
    Ok(Connect {
        version: arguments.version,
        clean_start: keep == Keep::Nothing,
        keep_alive_s: arguments.keep_alive,
        client_id: arguments.id.clone().unwrap_or(made).into(),
        will: None,
        user_name: arguments.username.clone().map(ByteString::from),
        password: arguments.password.clone().map(bytes::Bytes::from),
        properties: ConnectProperties { session_expiry_s, ..ConnectProperties::default() },
    })
}

/// A Reason Code and, where the broker gave one, its Reason String.
pub(super) fn words(reason: Reason, text: Option<&ByteString>) -> String {
    text.map_or_else(|| reason.to_string(), |text| format!("{reason} ({text})"))
}

fn disconnected(disconnect: &Disconnect) -> Failure {
    let elsewhere = disconnect.server_reference.as_ref().map(|server| format!("; another server: {server}")).unwrap_or_default();
    Failure::Runtime(format!("the broker ends the connection: {}{elsewhere}", words(disconnect.reason, disconnect.reason_string.as_ref())))
}

fn no_connection(place: &str, error: &std::io::Error) -> Failure {
    let hint = if error.kind() == std::io::ErrorKind::ConnectionRefused { "; is a broker running there? `mqttd` starts one" } else { "" };
    Failure::Runtime(format!("cannot connect to {place}: {error}{hint}"))
}

fn broken(error: &std::io::Error) -> Failure {
    Failure::Runtime(format!("the connection broke: {error}"))
}

/// Runs a command's work on this thread.
pub(super) fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Runtime(error.to_string()))?.block_on(work)
}
