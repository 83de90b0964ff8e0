//! A PUBLISH or SUBSCRIBE on which user code decides. It is asked in the order of the packets; what it can say at once costs no more than the
//! call. While it has to be waited for, no further packet of this Client is read, and everything else of the connection goes on.

use std::task::{Context, Poll, Waker};

use bytestring::ByteString;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection::{Connection, End};
use crate::hook::event::Publishing;
use crate::hook::hooks::{Judging, Refused, Why};
use crate::hook::welcoming::{Greeting, Welcomed, Welcoming};
use crate::message::Message;
use crate::packet::publish::Publish;
use crate::packet::subscribe::{Subscribe, SubscriptionOptions};
use crate::packet::{Packet, Version};
use crate::session::inbound::Offer;
use crate::session::{Fault, Step};
use crate::subscription::Selector;
use crate::time::{Span, Time};

/// A packet that waits for user code.
pub(super) struct Deciding {
    about: About,
    /// Then it is given up.
    until: Time,
}

/// What goes on in place of a message, if it is not the same, or why nothing does.
type Decision = Result<Option<Message>, Refused>;

enum About {
    Publish { offer: Offer, judging: Judging<Publishing>, outcome: Option<Decision> },
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
            About::Publish { offer, judging, outcome } => {
                if outcome.is_none()
                    && let Poll::Ready(decision) = judging.poll(&offer.message, hooks, client, context)
                {
                    *outcome = Some(decision);
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
        let Some(Deciding { about, until }) = self.deciding.take().map(|deciding| *deciding) else { return Ok(()) };
        let late = now >= until;
        let about = match about {
            About::Publish { offer, judging, outcome: Some(decision) } => {
                self.judging = judging;
                return self.publish_decided(offer, decision);
            }
            About::Publish { offer, outcome: None, .. } if late => return self.publish_decided(offer, Err(Refused::DEADLINE)),
            About::Subscribe { subscribe, outcome: Some(welcomed), .. } => return self.subscribe_decided(*subscribe, welcomed, now),
            About::Subscribe { subscribe, mut welcoming, outcome: None } if late => {
                return self.subscribe_decided(*subscribe, welcoming.give_up(), now);
            }
            about => about,
        };
        self.deciding = Some(Box::new(Deciding { about, until }));
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
        let Some(offer) = self.session.offer(publish, |topic| guard.publish(client, topic), now)? else { return Ok(()) };
        match self.judging.poll(&offer.message, &self.broker.hooks, client, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(decision) => self.publish_decided(offer, decision),
            Poll::Pending => {
                let judging = std::mem::take(&mut self.judging);
                self.wait_for(About::Publish { offer, judging, outcome: None }, now);
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

    fn publish_decided(&mut self, offer: Offer, decision: Decision) -> Result<(), End> {
        let decision = match decision {
            Ok(other) => Ok(other),
            Err(Refused { reason, why }) => {
                if why != Why::Answer {
                    self.judging = Judging::default();
                    self.broker.count_failure(&self.client, "on_publish", why);
                    if offer.is_acknowledged() && self.session.version() < Version::V5 {
                        // Its protocol has no word for it, and an acknowledgement would be a promise.
                        return Err(Fault::new(reason, "a handler of this Server failed").into());
                    }
                }
                Err(reason)
            }
        };
        Ok(self.session.decided(offer, decision)?)
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
