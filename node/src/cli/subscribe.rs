//! `mqttd sub`: what arrives at a broker, on standard output.

use std::collections::HashSet;
use std::io::{BufWriter, IsTerminal, Stdout, Write};

use clap::Args;

use super::Failure;
use super::client::{Client, ClientArguments, Keep, block_on, words};
use super::signals::Signals;
use crate::packet::acknowledge::{Acknowledge, Kind};
use crate::packet::publish::Publish;
use crate::packet::reason::Reason;
use crate::packet::subscribe::{Suback, Subscribe, SubscriptionOptions};
use crate::packet::{Packet, PacketId, QoS};

pub(super) const EXAMPLES: &str = "\
Examples:
  mqttd sub -t 'hello/#' -v                   every message below hello, each with its topic
  mqttd sub -t temperature -C 1               one message, then the end
  mqttd sub -t 'jobs/+' -q 1 -i worker -c     what arrives while this client is away waits for it
  mqttd sub -t '$SYS/#' -v                    what the broker says about itself
Put Topic Filters in quotes: # and $ mean something to the shell.";

#[derive(Args, Debug)]
pub(super) struct SubscribeArguments {
    /// A Topic Filter; may stand more than once
    #[arg(short, long = "topic", value_name = "FILTER", required = true)]
    topics: Vec<String>,
    /// Print the topic before each message
    #[arg(short, long)]
    verbose: bool,
    /// End after that many messages
    #[arg(short = 'C', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Keep the session when this client leaves; needs --id
    #[arg(short = 'c', long, requires = "id")]
    keep_session: bool,
    #[command(flatten)]
    client: ClientArguments,
}

pub(super) fn run(arguments: &SubscribeArguments) -> Result<(), Failure> {
    let keep = if arguments.keep_session { Keep::Session } else { Keep::Nothing };
    block_on(async {
        let mut signals = Signals::catch()?;
        let client = Client::connect(&arguments.client, keep).await?;
        let out = BufWriter::new(std::io::stdout());
        let mut subscriber = Subscriber { client, arguments, out, unreleased: HashSet::new(), left: arguments.count };
        let done = tokio::select! {
            done = subscriber.receive_all() => done,
            _ = signals.next() => Ok(()),
        };
        let closed = subscriber.client.close().await;
        done.and(closed)
    })
}

struct Subscriber<'a> {
    client: Client,
    arguments: &'a SubscribeArguments,
    out: BufWriter<Stdout>,
    /// QoS 2 messages that are printed and not yet released: their repetitions are not printed again `[MQTT-4.3.3-10]`.
    unreleased: HashSet<PacketId>,
    /// Messages that are still wanted.
    left: Option<u64>,
}

/// Whether there is more to do.
#[derive(PartialEq)]
enum Next {
    GoOn,
    Stop,
}

impl Subscriber<'_> {
    async fn receive_all(&mut self) -> Result<(), Failure> {
        self.subscribe();
        loop {
            while let Some(packet) = self.client.received()? {
                if self.receive(packet)? == Next::Stop {
                    self.flush()?;
                    return Ok(());
                }
            }
            // Many messages are one write; but nothing stays here while we wait for more.
            if self.flush()? == Next::Stop {
                return Ok(());
            }
            self.client.turn().await?;
        }
    }

    fn subscribe(&mut self) {
        let options = SubscriptionOptions { qos: self.arguments.client.qos, ..SubscriptionOptions::default() };
        let filters = self.arguments.topics.iter().map(|filter| (filter.as_str().into(), options)).collect();
        let packet_id = self.client.packet_id();
        let subscribe = Subscribe { packet_id, subscription_id: None, user_properties: Vec::new(), filters };
        self.client.queue(&Packet::Subscribe(Box::new(subscribe)));
    }

    fn receive(&mut self, packet: Packet) -> Result<Next, Failure> {
        match packet {
            Packet::Publish(publish) => return self.message(&publish),
            Packet::Suback(suback) => self.subscribed(&suback)?,
            Packet::Acknowledge(Acknowledge { kind: Kind::Pubrel, packet_id, .. }) => {
                self.unreleased.remove(&packet_id);
                self.acknowledge(Kind::Pubcomp, packet_id);
            }
            _ => (),
        }
        Ok(Next::GoOn)
    }

    /// Prints first and acknowledges then: what is lost on the way to the terminal comes again.
    fn message(&mut self, publish: &Publish) -> Result<Next, Failure> {
        let repeated = publish.qos == QoS::ExactlyOnce && publish.packet_id.is_some_and(|id| !self.unreleased.insert(id));
        if !repeated && self.print(publish)? == Next::Stop {
            return Ok(Next::Stop);
        }
        match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(id)) => self.acknowledge(Kind::Puback, id),
            (QoS::ExactlyOnce, Some(id)) => self.acknowledge(Kind::Pubrec, id),
            _ => (),
        }
        if !repeated {
            self.left = self.left.map(|left| left - 1);
        }
        Ok(if self.left == Some(0) { Next::Stop } else { Next::GoOn })
    }

    fn print(&mut self, publish: &Publish) -> Result<Next, Failure> {
        let topic = if self.arguments.verbose { format!("{} ", publish.topic) } else { String::new() };
        let parts = [topic.as_bytes(), &publish.payload, b"\n"];
        written(parts.iter().try_for_each(|part| self.out.write_all(part)))
    }

    fn flush(&mut self) -> Result<Next, Failure> {
        written(self.out.flush())
    }

    fn acknowledge(&mut self, kind: Kind, packet_id: PacketId) {
        self.client.queue(&Packet::Acknowledge(Acknowledge { kind, packet_id, reason: Reason::SUCCESS, properties: None }));
    }

    /// Says what was refused; that nothing was granted is a failure.
    fn subscribed(&self, suback: &Suback) -> Result<(), Failure> {
        let text = suback.properties.as_ref().and_then(|properties| properties.reason_string.as_ref());
        let asked = self.arguments.client.qos;
        let answers = self.arguments.topics.iter().zip(&suback.reasons);
        let refused = |filter: &str, reason: Reason| format!("the broker refuses the subscription to {filter}: {}", words(reason, text));
        if suback.reasons.iter().all(|reason| reason.is_error()) {
            return Err(Failure::Runtime(answers.map(|(filter, reason)| refused(filter, *reason)).collect::<Vec<_>>().join("\n")));
        }
        for (filter, reason) in answers {
            let note = match reason {
                reason if reason.is_error() => refused(filter, *reason),
                Reason(granted) if *granted < asked as u8 => format!("{filter} is granted with QoS {granted}, not {}", asked as u8),
                _ if std::io::stderr().is_terminal() => format!("subscribed to {filter}; Ctrl-C ends"),
                _ => continue,
            };
            eprintln!("mqttd: {note}");
        }
        Ok(())
    }
}

/// That nobody reads on (`mqttd sub … | head`) is an end and no failure.
fn written(result: std::io::Result<()>) -> Result<Next, Failure> {
    match result {
        Ok(()) => Ok(Next::GoOn),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Next::Stop),
        Err(error) => Err(Failure::Runtime(format!("standard output: {error}"))),
    }
}
