//! Handlers at work on one SUBSCRIBE: each Topic Filter of it, with every handler whose pattern has a Topic Name in common with it.

use std::sync::Arc;
use std::task::{Context as Wakers, Poll};

use crate::hook::client::Client;
use crate::hook::event::{About, Context, Subscribing, Welcome};
use crate::hook::handler::Desk;
use crate::hook::hooks::{Hooks, Refused, Why};
use crate::hook::pattern::Pattern;
use crate::message::Message;
use crate::packet::reason::Reason;
use crate::packet::subscribe::SubscriptionOptions;
use crate::subscription::Selector;
use crate::topic::name::TopicName;

/// Section 3.9.3: what SUBACK can say.
const IN_SUBACK: [Reason; 8] = [
    Reason::UNSPECIFIED_ERROR,
    Reason::IMPLEMENTATION_SPECIFIC_ERROR,
    Reason::NOT_AUTHORIZED,
    Reason::TOPIC_FILTER_INVALID,
    Reason::QUOTA_EXCEEDED,
    Reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
    Reason::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
    Reason::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
];

/// A message for a new subscriber, once its subscription is granted.
#[derive(Debug)]
pub struct Greeting {
    pub selector: Selector,
    pub options: SubscriptionOptions,
    pub message: Message,
}

/// What became of a SUBSCRIBE.
#[derive(Debug, Default)]
pub struct Welcomed {
    /// For each Topic Filter why it is refused, if it is.
    pub refused: Vec<Option<Reason>>,
    pub greetings: Vec<Greeting>,
    pub panics: u64,
    /// Payloads that were for a subscription with wildcards, so that there is no topic for them.
    pub without_topic: u64,
    /// It was given up.
    pub late: bool,
}

pub struct Welcoming {
    /// `None` for a filter that others have refused already, or will.
    filters: Vec<Option<(Selector, SubscriptionOptions)>>,
    filter: usize,
    handler: usize,
    at_work: Option<Desk<Subscribing>>,
    welcomed: Welcomed,
}

impl Welcoming {
    pub fn new(filters: Vec<Option<(Selector, SubscriptionOptions)>>) -> Welcoming {
        let welcomed = Welcomed { refused: vec![None; filters.len()], ..Welcomed::default() };
        Welcoming { filters, filter: 0, handler: 0, at_work: None, welcomed }
    }

    /// Goes on; after it was ready it is not asked again.
    pub fn poll(&mut self, hooks: &Hooks, client: &Arc<Client>, wakers: &mut Wakers<'_>) -> Poll<Welcomed> {
        while let Some(asked) = self.filters.get(self.filter) {
            let handlers = asked.as_ref().map_or(&[][..], |_| &hooks.subscribe);
            let (Some((selector, options)), Some((pattern, handler))) = (asked, handlers.get(self.handler)) else {
                (self.filter, self.handler) = (self.filter + 1, 0);
                continue;
            };
            if self.at_work.is_none() && !pattern.meets(&selector.filter) {
                self.handler += 1;
                continue;
            }
            let about = About::Subscribe { pattern, selector, options: *options };
            let answer = match &mut self.at_work {
                Some(desk) => desk.poll(wakers),
                None => self.at_work.insert(handler.desk()).call(&Context { client, states: &hooks.states, about }, wakers),
            };
            let Poll::Ready(welcome) = answer else { return Poll::Pending };
            self.at_work = None;
            let (selector, options, pattern) = (selector.clone(), *options, pattern.clone());
            match welcome {
                Ok(welcome) => self.take(welcome, &pattern, selector, options),
                Err(panicked) => self.refuse(panicked.into()),
            }
        }
        Poll::Ready(std::mem::take(&mut self.welcomed))
    }

    /// It took too long: what is not decided is refused.
    pub fn give_up(&mut self) -> Welcomed {
        let mut welcomed = std::mem::take(&mut self.welcomed);
        for refused in &mut welcomed.refused[self.filter..] {
            *refused = Some(Refused::DEADLINE.reason);
        }
        welcomed.late = true;
        welcomed
    }

    /// The next handler, or after a refusal the next filter.
    fn take(&mut self, welcome: Welcome, pattern: &Pattern, selector: Selector, options: SubscriptionOptions) {
        self.handler += 1;
        let message = match welcome {
            Welcome::Granted => return,
            Welcome::Refused(reason) => return self.refuse(Refused::answer(reason, &IN_SUBACK)),
            Welcome::WithMessage(message) => message,
            Welcome::WithPayload(payload) => {
                let topic = TopicName::new(selector.filter.as_str().into()).or_else(|| pattern.topic());
                let Some(topic) = topic else {
                    self.welcomed.without_topic += 1;
                    return;
                };
                Message { topic, payload, qos: options.qos, retain: false, properties: None, expires_at: None }
            }
        };
        self.welcomed.greetings.push(Greeting { selector, options, message });
    }

    fn refuse(&mut self, refused: Refused) {
        self.welcomed.refused[self.filter] = Some(refused.reason);
        self.welcomed.panics += u64::from(refused.why == Why::Panic);
        (self.filter, self.handler) = (self.filter + 1, 0);
    }
}
