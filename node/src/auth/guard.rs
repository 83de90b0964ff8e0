//! Keeps the rules of the house: who may come in, and what they may do.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bytestring::ByteString;

use super::bans::Bans;
use super::failures::Failures;
use super::hashing::Hashing;
use super::password::Verifier;
use super::policy::{Mechanism, Policy, Settings};
use super::rules::{Action, Rules};
use super::scram;
use super::scram_exchange::Scram;
use crate::clock::Clock;
use crate::hook::client::{Client, Listener, Peer, Proof};
use crate::hook::{Admitted, Answer, Exchange, Guard, Recipient};
use crate::message::Permit;
use crate::metrics::AuthCounts;
use crate::packet::QoS;
use crate::packet::connect::{ClientId, Connect};
use crate::packet::reason::Reason;
use crate::subscription::Selector;
use crate::topic::filter::TopicFilter;
use crate::topic::name::TopicName;

/// How much of the node may be spent on strangers.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub hashes_at_once: usize,
    /// Wrong passwords of an address in [`WINDOW`](super::failures::WINDOW); zero is no bound.
    pub failures_per_address_max: u32,
}

/// What those were believed by who come in although nobody vouches for them. Of one that has no word at all nothing is asked yet.
pub(super) const ANONYMOUS: &str = "anonymous";

pub struct House {
    pub(super) policy: ArcSwap<Policy>,
    /// Those of the file, then those of Redis.
    pub(super) rules: ArcSwap<Access>,
    pub(super) bans: ArcSwap<Bans>,
    /// Users of Redis whose password is another by now, with the stamp of the old one.
    pub(super) outdated: ArcSwap<HashSet<(ByteString, u64)>>,
    /// How often that was looked for. Who was asked about before the last time, and came in after it, was not among those looked at.
    pub(super) user_changes: AtomicU64,
    pub(super) hashing: Hashing,
    pub(super) failures: Arc<Failures>,
    pub(super) clock: Arc<Clock>,
    /// Everything was read once that says who may not come in.
    pub(super) is_ready: AtomicBool,
    pub counts: Arc<AuthCounts>,
}

/// What may be done, ready to be asked on the path of packets.
#[derive(Debug, Default)]
pub(super) struct Access {
    rules: Rules,
    deny_subscribe: Vec<TopicFilter>,
    deny_subscribe_reason: Option<Reason>,
    deny_publish: Vec<TopicFilter>,
}

impl Access {
    pub(super) fn new(settings: &Settings, rules: Rules) -> Access {
        let (deny_subscribe, deny_publish) = (settings.deny_subscribe.clone(), settings.deny_publish.clone());
        Access { rules, deny_subscribe, deny_subscribe_reason: Some(settings.deny_subscribe_reason), deny_publish }
    }
}

impl House {
    /// Reads the files that the settings name. The error says what is wrong with which.
    pub fn new(settings: Settings, bounds: Bounds) -> Result<House, String> {
        let policy = Policy::read(settings)?;
        Ok(House {
            rules: ArcSwap::from_pointee(Access::new(&policy.settings, policy.rules.clone())),
            policy: ArcSwap::from_pointee(policy),
            bans: ArcSwap::default(),
            outdated: ArcSwap::default(),
            user_changes: AtomicU64::new(0),
            hashing: Hashing::new(bounds.hashes_at_once),
            failures: Arc::new(Failures::new(bounds.failures_per_address_max)),
            clock: Arc::new(Clock::start()),
            is_ready: AtomicBool::new(false),
            counts: Arc::default(),
        })
    }

    /// Whether Clients come in by this listener that nobody vouches for.
    pub fn admits_anonymous(&self, listener: &Listener) -> bool {
        self.policy.load().admits_anonymous(listener)
    }

    /// What there is to be believed by at this listener, in the order in which it is asked.
    pub fn mechanisms(&self, listener: &Listener) -> Vec<&'static str> {
        self.policy.load().mechanisms_at(listener).map(Mechanism::name).collect()
    }

    pub(super) fn is_held(&self, address: IpAddr) -> bool {
        let held = self.failures.is_held(address, self.clock.now());
        if held {
            self.counts.add_held();
        }
        held
    }
}

impl Guard for House {
    fn connect<'a>(&'a self, connect: &'a Connect, client_id: &'a ClientId, peer: &'a Peer) -> Answer<'a, Result<Admitted, Reason>> {
        Box::pin(self.admit(connect, client_id, peer))
    }

    fn authentication(&self, method: &str, peer: &Peer) -> Option<Box<dyn Exchange>> {
        let policy = self.policy.load_full();
        let mechanisms: Vec<_> = policy.mechanisms_at(&peer.listener).collect();
        let place = mechanisms.iter().position(|mechanism| *mechanism == Mechanism::Users)?;
        // Who is asked first decides here as it does with a password: the certificate says who it is, and another name is a lie.
        let name = peer.certificate_name.clone().filter(|_| mechanisms[..place].contains(&Mechanism::Certificate));
        let scram = || Scram::new(policy, name, peer.address.ip(), self.failures.clone(), self.clock.clone(), self.counts.clone());
        (method == scram::METHOD).then(|| Box::new(scram()) as Box<dyn Exchange>)
    }

    fn confirm<'a>(&'a self, client: &'a Client) -> Answer<'a, Option<Reason>> {
        Box::pin(self.look_again(client))
    }

    fn shut_out(&self, client: &Client) -> Option<Reason> {
        if !self.is_ready.load(Ordering::Relaxed) {
            return Some(Reason::SERVER_UNAVAILABLE);
        }
        if self.bans.load().hold(client, self.clock.now()) {
            self.counts.add_banned();
            return Some(Reason::BANNED);
        }
        (!self.still_proven(client)).then_some(Reason::NOT_AUTHORIZED)
    }

    fn publish(&self, client: &Client, topic: &TopicName) -> Result<Permit, Reason> {
        let access = self.rules.load();
        if access.deny_publish.iter().any(|filter| filter.matches(topic)) {
            self.counts.add_publish_denied();
            return Err(Reason::NOT_AUTHORIZED);
        }
        if access.rules.is_empty() {
            return Ok(Permit::ALL);
        }
        let decision = access.rules.topic(Recipient::of(client), Action::Publish, topic);
        if !decision.allowed {
            self.counts.add_publish_denied();
            return Err(Reason::NOT_AUTHORIZED);
        }
        Ok(Permit { qos_max: decision.qos_max, retain: decision.retain, ..Permit::ALL })
    }

    fn receive(&self, recipient: Recipient<'_>, topic: &TopicName) -> bool {
        let access = self.rules.load();
        let denied = access.deny_subscribe.iter().any(|filter| filter.matches(topic));
        !denied && (access.rules.is_empty() || access.rules.topic(recipient, Action::Subscribe, topic).allowed)
    }

    fn subscribe(&self, client: &Client, selector: &Selector) -> Result<QoS, Reason> {
        let access = self.rules.load();
        if access.deny_subscribe.iter().any(|denied| denied.covers(&selector.filter)) {
            self.counts.add_subscription_denied();
            return Err(access.deny_subscribe_reason.unwrap_or(Reason::NOT_AUTHORIZED));
        }
        if access.rules.is_empty() {
            return Ok(QoS::ExactlyOnce);
        }
        let decision = access.rules.filter(Recipient::of(client), &selector.filter);
        if !decision.allowed {
            self.counts.add_subscription_denied();
            return Err(Reason::NOT_AUTHORIZED);
        }
        Ok(decision.qos_max)
    }
}

impl House {
    /// Whether what the Client was believed by is still there, and as it was.
    fn still_proven(&self, client: &Client) -> bool {
        let Proof { by, stamp, .. } = client.proof;
        let (policy, listener) = (self.policy.load(), &client.peer.listener);
        if by == ANONYMOUS {
            return policy.admits_anonymous(listener) && (client.user.is_none() || policy.takes_any_name());
        }
        if let Ok(mechanism) = by.parse::<Mechanism>()
            && !policy.mechanisms_at(listener).any(|offered| offered == mechanism)
        {
            return false;
        }
        let Some(user) = client.user.as_ref() else { return true };
        match by {
            "users" => policy.user_stamp(user) == Some(stamp),
            "password_file" => policy.file_users.get(&user[..]).map(Verifier::stamp) == Some(stamp),
            "redis" => !self.outdated.load().contains(&(user.clone(), stamp)),
            "jwt" => policy.tokens.as_ref().is_some_and(|tokens| tokens.has(stamp)),
            _ => true,
        }
    }

    /// Why a Client that has just come in may not stay. A user of Redis whose password was asked for before the last change is asked for again.
    async fn look_again(&self, client: &Client) -> Option<Reason> {
        let refused = self.shut_out(client);
        let Proof { by, stamp, changes, .. } = client.proof;
        if refused.is_some() || by != Mechanism::Redis.name() || changes == self.user_changes.load(Ordering::SeqCst) {
            return refused;
        }
        let policy = self.policy.load_full();
        let (Some(shared), Some(user)) = (&policy.shared, &client.user) else { return Some(Reason::NOT_AUTHORIZED) };
        let Ok(line) = shared.user(user).await else { return Some(self.unanswered(by)) };
        let now = line.and_then(|line| Verifier::parse(&line).ok()).map(|verifier| verifier.stamp());
        (now != Some(stamp)).then_some(Reason::NOT_AUTHORIZED)
    }
}

impl std::fmt::Debug for House {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("House").field("policy", &self.policy.load()).finish_non_exhaustive()
    }
}
