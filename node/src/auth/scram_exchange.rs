//! SCRAM-SHA-256 as an enhanced authentication of MQTT (section 4.12).

use std::net::IpAddr;
use std::sync::Arc;

use super::failures::Failures;
use super::policy::Policy;
use super::scram;
use crate::clock::Clock;
use crate::hook::client::Proof;
use crate::hook::{Admitted, Exchange, Progress};
use crate::metrics::AuthCounts;
use crate::packet::reason::Reason;

pub(super) struct Scram {
    policy: Arc<Policy>,
    /// Who the Client is by what was asked before; another name is a lie.
    name: Option<Arc<str>>,
    address: IpAddr,
    failures: Arc<Failures>,
    clock: Arc<Clock>,
    counts: Arc<AuthCounts>,
    /// Who was accepted: the Client may authenticate again, but not as somebody else.
    user: Option<String>,
    running: Option<scram::Exchange>,
}

impl Scram {
    pub(super) fn new(
        policy: Arc<Policy>,
        name: Option<Arc<str>>,
        address: IpAddr,
        failures: Arc<Failures>,
        clock: Arc<Clock>,
        counts: Arc<AuthCounts>,
    ) -> Scram {
        Scram { policy, name, address, failures, clock, counts, user: None, running: None }
    }

    fn denied(&self, reason: Reason) -> Reason {
        self.counts.add_failed();
        self.failures.add(self.address, self.clock.now());
        reason
    }
}

impl Exchange for Scram {
    fn restart(&mut self) {
        self.running = None;
    }

    fn step(&mut self, data: &[u8]) -> Result<Progress, Reason> {
        if self.failures.is_held(self.address, self.clock.now()) {
            self.counts.add_held();
            return Err(Reason::CONNECTION_RATE_EXCEEDED);
        }
        match self.running.take() {
            None => {
                let nonce = uuid::Uuid::new_v4().simple().to_string();
                let begun = scram::Exchange::begin(&self.policy.credentials, data, &nonce);
                let (exchange, challenge) = begun.map_err(|denied| self.denied(denied.reason()))?;
                self.running = Some(exchange);
                Ok(Progress::Continue(challenge))
            }
            Some(exchange) => {
                let (user, last) = exchange.finish(data).map_err(|denied| self.denied(denied.reason()))?;
                if self.name.as_ref().is_some_and(|name| **name != *user) {
                    return Err(self.denied(Reason::BAD_USER_NAME_OR_PASSWORD));
                }
                if self.user.as_ref().is_some_and(|known| *known != user) {
                    return Err(Reason::NOT_AUTHORIZED);
                }
                self.user = Some(user.clone());
                let proof = Proof { by: "users", stamp: self.policy.user_stamp(&user).unwrap_or_default(), ..Proof::default() };
                Ok(Progress::Done(last, Admitted { user: Some(user.into()), proof }))
            }
        }
    }
}
