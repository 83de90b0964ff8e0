//! What a turn does with what has come: packets, mail, and the one commit of both.

use tokio::io::{AsyncRead, AsyncWrite};
use tracing::Instrument;

use super::flow::Next;
use super::{Connection, End};
use crate::broker::Broker;
use crate::broker::commit::Committed;
use crate::broker::mailbox::Mail;
use crate::message::Permit;
use crate::metrics::{Metrics, SPANS};
use crate::packet::reason::Reason;
use crate::packet::{Packet, QoS};
use crate::session::outbound::Delivery;
use crate::session::{Command, Fault, Step};
use crate::time::{Span, Time};
use crate::topic::name::TopicName;

/// Packets handled in one turn, so that a fast publisher leaves room for its own deliveries and for other tasks.
const TURN_PACKETS_MAX: usize = 2048;

/// How long a publisher is held back for a subscriber that does not keep up. Then it reads on: others wait for its messages too.
const HOLD: Span = Span(50);

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn take_packets(&mut self, now: Time) -> Result<(), End> {
        let version = self.session.version();
        let asks_for_subscribe = self.broker.hooks.asks_for_subscribe();
        self.take_decision(now)?;
        let mut packets = 0;
        while packets < TURN_PACKETS_MAX && self.held.is_none() && self.deciding.is_none() && self.session.keeps_up() {
            let next = self.next_of_flow(now);
            if next == Next::Wait {
                Metrics::add(&self.broker.metrics.rate_delays, 1);
                break;
            }
            let before = self.framing.batch_len();
            let Some(packet) = self.framing.packet(version, self.session.topic_of_run()).map_err(Fault::from)? else { break };
            packets += 1;
            if let Some(flow) = &mut self.flow {
                flow.took(before - self.framing.batch_len());
            }
            let is_over_rate = next == Next::Refuse;
            if is_over_rate {
                self.session.end_run(); // what is refused is no part of it
                Metrics::add(&self.broker.metrics.messages_over_rate, 1);
            }
            if asks_for_subscribe && let Packet::Subscribe(subscribe) = packet {
                self.ask_subscribe(*subscribe, now)?;
                continue;
            }
            match self.handle(packet, is_over_rate, now)? {
                Step::Continue => {}
                Step::Offered(offer) => self.ask_publish(offer, now)?,
                Step::Disconnected => return Err(End::Client("DISCONNECT")),
                Step::Authenticate(auth) => self.re_authenticate(&auth)?,
            }
        }
        if packets > 0 && (asks_for_subscribe || self.broker.hooks.asks_for_publish()) {
            self.broker.note_block(&self.client, "on_publish or on_subscribe", now);
        }
        Ok(())
    }

    /// The Session handles a packet. What may be published to a Topic Name, and whether a handler wants to see it, is asked once for a run.
    fn handle(&mut self, packet: Packet, is_over_rate: bool, now: Time) -> Result<Step, Fault> {
        let (Broker { guard, hooks, .. }, client, judging) = (&*self.broker, &self.client, &mut self.judging);
        let admit = |topic: &TopicName| {
            let permit = if is_over_rate { Err(Reason::QUOTA_EXCEEDED) } else { guard.publish(client, topic) }?;
            Ok(Permit { asks: judging.begin(topic, hooks), ..permit })
        };
        self.session.handle(packet, admit, now)
    }

    pub(super) fn take_mail(&mut self, now: Time) -> Result<(), End> {
        let open = self.session.has_room() && self.mail.is_empty();
        let Mail { deliveries, news, reconsider, kicked } = self.member.subscriber.mailbox.take(self.member.lease.epoch, open);
        if let Some(fault) = kicked {
            return Err(fault.into());
        }
        if news {
            self.session.ring();
        }
        self.reconsider |= reconsider;
        if open {
            self.mail = deliveries;
        }
        if self.broker.hooks.asks_for_deliver() {
            return Ok(()); // It is screened when what came is committed.
        }
        while self.session.has_room()
            && let Some(delivery) = self.mail.pop_front()
        {
            self.session.deliver(&delivery, now);
        }
        if self.mail.is_empty() {
            self.mail = Default::default();
        }
        Ok(())
    }

    /// Hands over mail as far as there is room, with what handlers made of it. After one that had to be waited for, the socket comes first.
    pub(super) async fn screen_mail(&mut self, now: Time) {
        while self.session.has_room()
            && let Some(Delivery { run, grant }) = self.mail.pop_front()
        {
            let (screened, rest) = self.broker.screen_some(&self.client, &run).await;
            if let Some(run) = screened.run {
                self.session.deliver(&Delivery { run, grant: grant.clone() }, now);
            }
            if let Some(run) = rest {
                self.mail.push_front(Delivery { run, grant });
            }
            if screened.waited {
                break;
            }
        }
    }

    /// The one wait for the truth; nothing is asked when nothing happened. Says whether it was about one message that is acknowledged.
    pub(super) async fn commit(&mut self, now: Time) -> Result<bool, End> {
        self.tell_fates();
        let commands = self.session.commands();
        let is_lone = match &commands[..] {
            [Command::Publish { run, .. }] => run.messages().len() == 1 && run.highest_qos() > QoS::AtMostOnce,
            _ => false,
        };
        let committed = match commands.is_empty() {
            true => Committed::default(),
            false => {
                let span =
                    tracing::trace_span!(target: SPANS, parent: None, "turn", client_id = %self.client.id, commands = commands.len());
                let commit = Box::pin(self.broker.commit(&mut self.member, commands, now).instrument(span));
                self.broker.metrics.commit_seconds.wait(commit).await?
            }
        };
        if let Some(crowded) = committed.crowded {
            self.held = Some((crowded, now + HOLD));
        }
        self.session.settle(committed.outcomes)?;
        Ok(is_lone)
    }

    fn re_authenticate(&mut self, auth: &crate::packet::auth::Auth) -> Result<(), End> {
        let authentication =
            self.authentication.as_mut().ok_or(Fault::new(Reason::PROTOCOL_ERROR, "AUTH, but CONNECT named no Authentication Method"))?;
        let reply = authentication.again(auth)?;
        self.session.send(&reply);
        Ok(())
    }
}
