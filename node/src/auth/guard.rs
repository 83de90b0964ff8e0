//! Who may come in and what they may do, by the configuration of this node.

use crate::auth::Credentials;
use crate::auth::scram::{self, Denied};
use crate::hook::client::{Client, Peer};
use crate::hook::{Exchange, Guard, Progress};
use crate::packet::connect::{ClientId, Connect};
use crate::packet::reason::Reason;
use crate::subscription::Selector;
use crate::topic::filter::TopicFilter;
use crate::topic::name::TopicName;
use std::sync::Arc;

/// The rules as the configuration gives them.
#[derive(Debug)]
pub struct Rules {
    /// Clients without a User Name come in.
    pub anonymous: bool,
    /// User names and passwords.
    pub users: Vec<(String, String)>,
    pub deny_subscribe: Vec<TopicFilter>,
    /// The Reason Code of a denied subscription.
    pub deny_subscribe_reason: Reason,
    pub deny_publish: Vec<TopicFilter>,
}

/// Keeps the rules of the house.
pub struct House {
    anonymous: bool,
    credentials: Arc<Credentials>,
    deny_subscribe: Vec<TopicFilter>,
    deny_subscribe_reason: Reason,
    deny_publish: Vec<TopicFilter>,
}

impl std::fmt::Debug for House {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("House").field("anonymous", &self.anonymous).finish_non_exhaustive()
    }
}

impl House {
    pub fn new(rules: Rules) -> House {
        let salt = || *uuid::Uuid::new_v4().as_bytes();
        let credentials = Arc::new(Credentials::new(rules.users, salt));
        let Rules { anonymous, deny_subscribe, deny_subscribe_reason, deny_publish, .. } = rules;
        House { anonymous, credentials, deny_subscribe, deny_subscribe_reason, deny_publish }
    }
}

impl Guard for House {
    fn connect(&self, connect: &Connect, peer: &Peer) -> Result<(), Reason> {
        let anonymous = peer.listener.anonymous.unwrap_or(self.anonymous);
        match &connect.user_name {
            None if anonymous => Ok(()),
            None => Err(Reason::NOT_AUTHORIZED),
            // Without any user on record a name is only a name, as in other brokers that let everybody in.
            Some(_) if anonymous && self.credentials.is_empty() => Ok(()),
            Some(name) if self.credentials.check_password(name, connect.password.as_deref().unwrap_or_default()) => Ok(()),
            Some(_) => Err(Reason::BAD_USER_NAME_OR_PASSWORD),
        }
    }

    fn connect_takes_time(&self, connect: &Connect) -> bool {
        connect.user_name.is_some() && !self.credentials.is_empty()
    }

    fn authentication(&self, method: &str) -> Option<Box<dyn Exchange>> {
        let offered = method == scram::METHOD && !self.credentials.is_empty();
        offered.then(|| Box::new(Scram { credentials: self.credentials.clone(), user: None, running: None }) as Box<dyn Exchange>)
    }

    fn publish(&self, _client: &Client, topic: &TopicName) -> Option<Reason> {
        self.deny_publish.iter().any(|filter| filter.matches(topic)).then_some(Reason::NOT_AUTHORIZED)
    }

    fn receive(&self, _client_id: &ClientId, topic: &TopicName) -> bool {
        !self.deny_subscribe.iter().any(|filter| filter.matches(topic))
    }

    fn subscribe(&self, _client_id: &ClientId, selector: &Selector) -> Option<Reason> {
        self.deny_subscribe.iter().any(|denied| denied.covers(&selector.filter)).then_some(self.deny_subscribe_reason)
    }
}

/// SCRAM-SHA-256 as an enhanced authentication.
struct Scram {
    credentials: Arc<Credentials>,
    /// Who was accepted: the Client may authenticate again, but not as somebody else.
    user: Option<String>,
    running: Option<scram::Exchange>,
}

impl Exchange for Scram {
    fn restart(&mut self) {
        self.running = None;
    }

    fn step(&mut self, data: &[u8]) -> Result<Progress, Reason> {
        match self.running.take() {
            None => {
                let nonce = uuid::Uuid::new_v4().simple().to_string();
                let (exchange, challenge) = scram::Exchange::begin(&self.credentials, data, &nonce).map_err(Denied::reason)?;
                self.running = Some(exchange);
                Ok(Progress::Continue(challenge))
            }
            Some(exchange) => {
                let (user, last) = exchange.finish(data).map_err(Denied::reason)?;
                if self.user.as_ref().is_some_and(|known| *known != user) {
                    return Err(Reason::NOT_AUTHORIZED);
                }
                self.user = Some(user);
                Ok(Progress::Done(last))
            }
        }
    }
}
