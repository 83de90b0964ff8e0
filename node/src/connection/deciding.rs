//! A PUBLISH or SUBSCRIBE on which user code decides. It is asked in the order of the packets; what it can say at once costs no more than the
//! call. While it has to be waited for, no further packet of this Client is read, and everything else of the connection goes on.

use std::task::{Context, Poll, Waker};

use bytestring::ByteString;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection::{Connection, End};
use crate::hook::event::Publishing;
use crate::hook::hooks::{Judging, Passed, Refused, Why};
use crate::hook::welcoming::{Greeting, Welcomed, Welcoming};
use crate::packet::publish::Publish;
use crate::packet::subscribe::{Subscribe, SubscriptionOptions};
use crate::packet::{Packet, Version};
use crate::session::inbound::{Offer, Offered};
use crate::session::{Fault, Step};
use crate::subscription::Selector;
use crate::time::{Span, Time};

/// A packet that waits for user code.
pub(super) struct Deciding {
    about: About,
    /// Then it is given up.
    until: Time,
}

enum About {
    Publish { offered: Offered, judging: Judging<Publishing>, outcome: Option<Result<Passed, Refused>> },
    Subscribe { subscribe: Box<Subscribe>, welcoming: Welcoming, outcome: Option<Welcomed> },
}

impl About {
    fn event(&self) -> &'static str {
        match self {
            About::Publish { .. } => "on_publish",
            About::Subscribe { .. } => "on_subscribe",
        }
    }

    fn is_decided(&self) -> bool {
        match self {
            About::Publish { outcome, .. } => outcome.is_some(),
            About::Subscribe { outcome, .. } => outcome.is_some(),
        }
    }
}

impl Deciding {
    /// For the timer of the connection.
    pub(super) fn until(&self) -> Time {
        self.until
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Whether user code is still to be waited for.
    pub(super) fn poll_decided(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(deciding) = &mut self.deciding else { return Poll::Ready(()) };
        let begun = self.broker.clock.now();
        let (hooks, client) = (&self.broker.hooks, &self.client);
        match &mut deciding.about {
            About::Publish { judging, outcome, .. } => {
                if outcome.is_none()
                    && let Poll::Ready(passed) = judging.poll(hooks, client, context)
                {
                    *outcome = Some(passed);
                }
            }
            About::Subscribe { welcoming, outcome, .. } => {
                if outcome.is_none()
                    && let Poll::Ready(welcomed) = welcoming.poll(hooks, client, context)
                {
                    *outcome = Some(welcomed);
                }
            }
        }
        self.broker.note_block(client, deciding.about.event(), begun);
        if deciding.about.is_decided() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Does what was decided, or what is to be done when nobody decided in time.
    pub(super) fn take_decision(&mut self, now: Time) -> Result<(), End> {
        let Some(mut deciding) = self.deciding.take() else { return Ok(()) };
        let late = now >= deciding.until;
        match &mut deciding.about {
            About::Publish { offered, outcome, .. } => match outcome.take().or(late.then_some(Err(Refused::DEADLINE))) {
                Some(outcome) => return self.publish_decided(*offered, outcome),
                None => self.deciding = Some(deciding),
            },
            About::Subscribe { subscribe, welcoming, outcome } => match outcome.take().or_else(|| late.then(|| welcoming.give_up())) {
                Some(welcomed) => {
                    let subscribe = std::mem::replace(&mut **subscribe, nothing());
                    return self.subscribe_decided(subscribe, welcomed, now);
                }
                None => self.deciding = Some(deciding),
            },
        }
        // It may say PINGREQ, and is not heard.
        self.session.excuse(now);
        Ok(())
    }

    /// A packet, where handlers want to see some.
    #[inline(never)]
    pub(super) fn ask(&mut self, packet: Packet, now: Time) -> Result<Step, End> {
        match packet {
            Packet::Publish(publish) if self.broker.hooks.asks_for_publish() => self.ask_publish(publish, now)?,
            Packet::Subscribe(subscribe) if self.broker.hooks.asks_for_subscribe() => self.ask_subscribe(*subscribe, now)?,
            packet => return Ok(self.handle(packet, false, now)?),
        }
        Ok(Step::Continue)
    }

    /// A PUBLISH, where handlers want to see some.
    fn ask_publish(&mut self, publish: Publish, now: Time) -> Result<(), End> {
        let (guard, client) = (&self.broker.guard, &self.client);
        let Some(Offer { message, offered }) = self.session.offer(publish, |topic| guard.publish(client, topic), now)? else {
            return Ok(());
        };
        let mut judging = Judging::new(message);
        match judging.poll(&self.broker.hooks, &self.client, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => self.publish_decided(offered, outcome),
            Poll::Pending => {
                self.wait_for(About::Publish { offered, judging, outcome: None }, now);
                Ok(())
            }
        }
    }

    /// A SUBSCRIBE, where handlers want to see some. They are not asked for what is refused anyhow.
    fn ask_subscribe(&mut self, subscribe: Subscribe, now: Time) -> Result<(), End> {
        let asked = |(text, options): &(ByteString, SubscriptionOptions)| {
            let selector = Selector::parse(text)?;
            self.broker.guard.subscribe(&self.client, &selector).is_ok().then_some((selector, *options))
        };
        let mut welcoming = Welcoming::new(subscribe.filters.iter().map(asked).collect());
        match welcoming.poll(&self.broker.hooks, &self.client, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(welcomed) => self.subscribe_decided(subscribe, welcomed, now),
            Poll::Pending => {
                self.wait_for(About::Subscribe { subscribe: Box::new(subscribe), welcoming, outcome: None }, now);
                Ok(())
            }
        }
    }

    fn wait_for(&mut self, about: About, now: Time) {
        let until = now + Span(self.broker.hooks.deadline.as_millis() as u64);
        self.deciding = Some(Box::new(Deciding { about, until }));
    }

    fn publish_decided(&mut self, offered: Offered, outcome: Result<Passed, Refused>) -> Result<(), End> {
        let decision = match outcome {
            Ok(Passed { message, rewritten }) => Ok((message, rewritten)),
            Err(Refused { reason, why }) => {
                self.broker.count_failure(&self.client, "on_publish", why);
                if why != Why::Answer && offered.is_acknowledged() && self.session.version() < Version::V5 {
                    // Its protocol has no word for it, and an acknowledgement would be a promise.
                    return Err(Fault::new(reason, "a handler of this Server failed").into());
                }
                Err(reason)
            }
        };
        Ok(self.session.decided(offered, decision)?)
    }

    fn subscribe_decided(&mut self, subscribe: Subscribe, welcomed: Welcomed, now: Time) -> Result<(), End> {
        let Welcomed { refused, greetings, panics, without_topic, late } = welcomed;
        (0..panics).for_each(|_| self.broker.count_failure(&self.client, "on_subscribe", Why::Panic));
        if late {
            self.broker.count_failure(&self.client, "on_subscribe", Why::Deadline);
        }
        if without_topic > 0 {
            self.broker.count_without_topic(&self.client, without_topic);
        }
        self.session.subscribe_except(subscribe, &refused, now)?;
        self.greetings.extend(greetings);
        Ok(())
    }

    /// What `on_subscribe` returned, for the subscriptions that were granted.
    pub(super) async fn greet(&mut self, now: Time) -> Result<(), End> {
        for Greeting { selector, options, message } in std::mem::take(&mut self.greetings) {
            let granted = self.broker.is_subscribed(&self.member, &selector);
            if granted {
                let qos = options.qos.min(self.broker.settings.maximum_qos);
                self.broker.give(&self.member.subscriber, message, qos, now).await?;
            }
        }
        Ok(())
    }
}

/// In place of a SUBSCRIBE that was taken.
fn nothing() -> Subscribe {
    Subscribe { packet_id: crate::packet::PacketId::MIN, subscription_id: None, user_properties: Vec::new(), filters: Vec::new() }
}
