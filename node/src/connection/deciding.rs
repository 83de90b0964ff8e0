//! A PUBLISH or SUBSCRIBE on which user code decides. It is asked in the order of the packets; what it can say at once costs no more than the
//! call. While it has to be waited for, no further packet of this Client is read, and everything else of the connection goes on.

use std::task::{Context, Poll, Waker};

use bytestring::ByteString;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection::{Connection, End};
use crate::hook::hooks::{Refused, Why};
use crate::hook::welcoming::{Greeting, Welcomed, Welcoming};
use crate::message::Message;
use crate::packet::Version;
use crate::packet::subscribe::{Subscribe, SubscriptionOptions};
use crate::session::Fault;
use crate::session::inbound::Offer;
use crate::subscription::Selector;
use crate::time::{Span, Time};

/// A packet that waits for user code.
pub(super) struct Deciding {
    about: About,
    /// Then it is given up.
    until: Time,
}

enum About {
    Publish { offer: Offer, message: Message, outcome: Option<Result<(), Refused>> },
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
            About::Publish { message, outcome, .. } => {
                if outcome.is_none()
                    && let Poll::Ready(judged) = self.judging.poll(message, hooks, client, context)
                {
                    *outcome = Some(judged);
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
            About::Publish { offer, message, outcome: Some(outcome) } => return self.publish_awaited(offer, message, outcome),
            About::Publish { offer, message, outcome: None } if late => {
                return self.publish_awaited(offer, message, Err(Refused::DEADLINE));
            }
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

    /// A PUBLISH that concerns a handler.
    pub(super) fn ask_publish(&mut self, offer: Offer, now: Time) -> Result<(), End> {
        let Some(message) = self.session.offered() else { return Ok(()) };
        match self.judging.poll(message, &self.broker.hooks, &self.client, &mut Context::from_waker(Waker::noop())) {
            // For most there is no more to it.
            Poll::Ready(Ok(())) if !self.judging.has_rewritten() => self.session.accept(offer),
            Poll::Ready(outcome) => return self.publish_decided(offer, outcome),
            Poll::Pending => {
                if let Some(message) = self.session.withdraw() {
                    self.wait_for(About::Publish { offer, message, outcome: None }, now);
                }
            }
        }
        Ok(())
    }

    /// A SUBSCRIBE, where handlers want to see some. They are not asked for what is refused anyhow.
    pub(super) fn ask_subscribe(&mut self, subscribe: Subscribe, now: Time) -> Result<(), End> {
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

    fn publish_awaited(&mut self, offer: Offer, message: Message, outcome: Result<(), Refused>) -> Result<(), End> {
        self.session.put_back(message);
        self.publish_decided(offer, outcome)
    }

    fn publish_decided(&mut self, offer: Offer, outcome: Result<(), Refused>) -> Result<(), End> {
        match outcome {
            Ok(()) => match self.judging.rewritten() {
                None => self.session.accept(offer),
                Some(other) => self.session.replace(offer, *other),
            },
            Err(refused) => self.publish_refused(offer, refused)?,
        }
        Ok(())
    }

    fn publish_refused(&mut self, offer: Offer, Refused { reason, why }: Refused) -> Result<(), End> {
        let is_acknowledged = offer.is_acknowledged();
        if why != Why::Answer {
            self.judging.give_up();
            self.broker.count_failure(&self.client, "on_publish", why);
            if is_acknowledged && self.session.version() < Version::V5 {
                self.session.withdraw();
                // Its protocol has no word for it, and an acknowledgement would be a promise.
                return Err(Fault::new(reason, "a handler of this Server failed").into());
            }
        }
        self.session.refuse(offer, reason);
        Ok(())
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
