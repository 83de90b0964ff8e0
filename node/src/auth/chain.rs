//! The mechanisms, asked in their order until one knows the Client.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::guard::{ANONYMOUS, House};
use super::http::{Question, Verdict};
use super::jwt::Tokens;
use super::lanes::Busy;
use super::password::Verifier;
use super::policy::{Mechanism, Policy};
use crate::hook::Admitted;
use crate::hook::client::{Peer, Proof};
use crate::packet::connect::{ClientId, Connect};
use crate::packet::reason::Reason;
use crate::time::Time;

/// Of those who come in although nobody vouches for them.
const UNPROVEN: Proof = Proof { by: ANONYMOUS, stamp: 0, until: None, changes: 0 };

/// Mechanisms that compare a password with a line as in a password file.
const BY_VERIFIER: [Mechanism; 2] = [Mechanism::PasswordFile, Mechanism::Redis];

/// What one mechanism says.
enum Said {
    Yes {
        user: Option<String>,
        stamp: u64,
        until: Option<Time>,
    },
    No,
    /// It does not know the Client: the next one is asked.
    Nothing,
}

impl Said {
    /// This user, for as long as the stamp is the same.
    fn yes(user: String, stamp: u64) -> Said {
        Said::Yes { user: Some(user), stamp, until: None }
    }
}

impl House {
    /// Who the Client is, or why it is not let in.
    pub(super) async fn admit(&self, connect: &Connect, client_id: &ClientId, peer: &Peer) -> Result<Admitted, Reason> {
        if self.is_held(peer.address.ip()) {
            return Err(Reason::CONNECTION_RATE_EXCEEDED);
        }
        let policy = self.policy.load_full();
        let changes = self.user_changes.load(Ordering::SeqCst);
        for mechanism in policy.mechanisms_at(&peer.listener) {
            match self.ask(mechanism, &policy, connect, client_id, peer).await? {
                Said::Yes { user, stamp, until } => {
                    let proof = Proof { by: mechanism.name(), stamp, until, changes };
                    return Ok(Admitted { user: user.map(Into::into), proof });
                }
                Said::No => {
                    self.even_out(Some(mechanism), &policy, connect, peer).await?;
                    return Err(self.failed(peer));
                }
                Said::Nothing => {}
            }
        }
        let anonymous = policy.admits_anonymous(&peer.listener);
        let Some(user) = &connect.user_name else {
            return if anonymous { Ok(Admitted { user: None, proof: UNPROVEN }) } else { Err(Reason::NOT_AUTHORIZED) };
        };
        if anonymous && policy.takes_any_name() {
            return Ok(Admitted { user: Some(user.clone()), proof: UNPROVEN });
        }
        self.even_out(None, &policy, connect, peer).await?;
        Err(self.failed(peer))
    }

    /// A wrong password takes as long whoever it is said of, and whether there is such a user or not: what would have been hashed for users of
    /// other mechanisms is hashed in vain. `by` has refused; it, or nobody, has hashed already.
    async fn even_out(&self, by: Option<Mechanism>, policy: &Arc<Policy>, connect: &Connect, peer: &Peer) -> Result<(), Reason> {
        let Some(user) = connect.user_name.clone() else { return Ok(()) };
        let has = |wanted: &[Mechanism]| policy.mechanisms_at(&peer.listener).any(|offered| wanted.contains(&offered));
        let (users, decoy) = match by {
            None => (has(&[Mechanism::Users]), has(&BY_VERIFIER)),
            Some(Mechanism::Users) => (false, has(&BY_VERIFIER)),
            Some(by) if BY_VERIFIER.contains(&by) => (has(&[Mechanism::Users]), false),
            Some(_) => (false, false),
        };
        let decoy = policy.decoy(&user).filter(|_| decoy);
        if !users && decoy.is_none() {
            return Ok(());
        }
        let (policy, password) = (policy.clone(), connect.password.clone().unwrap_or_default());
        let in_vain = move || (users && policy.credentials.check_password(&user, &password), decoy.map(|decoy| decoy.accepts(&password)));
        self.hash(peer, in_vain).await.map(drop)
    }

    async fn ask(
        &self,
        mechanism: Mechanism,
        policy: &Arc<Policy>,
        connect: &Connect,
        client_id: &ClientId,
        peer: &Peer,
    ) -> Result<Said, Reason> {
        let user = connect.user_name.as_deref();
        match mechanism {
            Mechanism::Certificate => Ok(of_certificate(user, peer)),
            Mechanism::Jwt => self.of_token(policy, connect, client_id, peer).await,
            Mechanism::Users => self.of_users(policy, connect, peer).await,
            Mechanism::PasswordFile => {
                let known = user.and_then(|user| policy.file_users.get(user)).cloned();
                self.of_verifier(known, connect, peer).await
            }
            Mechanism::Redis => self.of_redis(policy, connect, peer).await,
            Mechanism::Http => self.of_hook(policy, connect, client_id, peer).await,
        }
    }

    async fn of_users(&self, policy: &Arc<Policy>, connect: &Connect, peer: &Peer) -> Result<Said, Reason> {
        let Some(user) = connect.user_name.clone() else { return Ok(Said::Nothing) };
        let Some(stamp) = policy.user_stamp(&user) else { return Ok(Said::Nothing) };
        let (policy, name, password) = (policy.clone(), user.clone(), connect.password.clone().unwrap_or_default());
        let right = self.hash(peer, move || policy.credentials.check_password(&name, &password)).await?;
        Ok(if right { Said::yes(user.to_string(), stamp) } else { Said::No })
    }

    async fn of_verifier(&self, known: Option<Verifier>, connect: &Connect, peer: &Peer) -> Result<Said, Reason> {
        let (Some(verifier), Some(user)) = (known, &connect.user_name) else { return Ok(Said::Nothing) };
        let stamp = verifier.stamp();
        let right = self.compare(verifier, connect, peer).await?;
        Ok(if right { Said::yes(user.to_string(), stamp) } else { Said::No })
    }

    async fn of_redis(&self, policy: &Policy, connect: &Connect, peer: &Peer) -> Result<Said, Reason> {
        let (Some(shared), Some(user)) = (&policy.shared, &connect.user_name) else { return Ok(Said::Nothing) };
        let line = shared.user(user).await.map_err(|_| self.unanswered("redis"))?;
        let known = line.map(|line| Verifier::parse(&line)).transpose();
        let known = known.map_err(|why| {
            tracing::warn!(%user, why, "this user of Redis cannot come in");
            Reason::NOT_AUTHORIZED
        })?;
        self.of_verifier(known, connect, peer).await
    }

    async fn of_token(&self, policy: &Policy, connect: &Connect, client_id: &ClientId, peer: &Peer) -> Result<Said, Reason> {
        let (Some(tokens), Some(token)) = (policy.tokens.clone(), connect.password.clone()) else { return Ok(Said::Nothing) };
        if !Tokens::looks_like_one(&token) {
            return Ok(Said::Nothing);
        }
        let (client_id, user) = (client_id.clone(), connect.user_name.clone());
        let checked = self.hash(peer, move || tokens.check(&token, client_id.as_str(), user.as_deref())).await?;
        Ok(checked.map_or(Said::No, |token| Said::Yes { user: Some(token.user), stamp: token.key, until: Some(token.until) }))
    }

    async fn of_hook(&self, policy: &Policy, connect: &Connect, client_id: &ClientId, peer: &Peer) -> Result<Said, Reason> {
        let Some(hook) = &policy.hook else { return Ok(Said::Nothing) };
        let password = connect.password.as_deref().map(std::str::from_utf8).transpose();
        let Ok(password) = password else { return Ok(Said::No) }; // JSON has no word for other bytes
        let question = Question {
            client_id: client_id.as_str(),
            user: connect.user_name.as_deref(),
            password,
            address: peer.address.ip().to_string(),
            transport: peer.transport.scheme(),
            certificate_name: peer.certificate_name.as_deref(),
        };
        let _place = hook.lanes.enter(peer.address.ip()).await.map_err(|Busy| self.busy())?;
        // Whoever waited while others of its address failed too often is held like them.
        if self.is_held(peer.address.ip()) {
            return Err(Reason::CONNECTION_RATE_EXCEEDED);
        }
        match hook.ask(&question).await {
            Ok(Verdict::Allow(user)) => {
                let user = user.or_else(|| connect.user_name.as_ref().map(ToString::to_string));
                Ok(Said::Yes { user, stamp: 0, until: None })
            }
            Ok(Verdict::Deny) => Ok(Said::No),
            Ok(Verdict::Ignore) => Ok(Said::Nothing),
            Err(why) => {
                tracing::warn!(why, "the HTTP hook did not answer");
                Err(self.unanswered("http"))
            }
        }
    }

    async fn compare(&self, verifier: Verifier, connect: &Connect, peer: &Peer) -> Result<bool, Reason> {
        let password = connect.password.clone().unwrap_or_default();
        self.hash(peer, move || verifier.accepts(&password)).await
    }

    /// Whoever waited while others of its address failed too often is held like them.
    async fn hash<T: Send + 'static>(&self, peer: &Peer, hash: impl FnOnce() -> T + Send + 'static) -> Result<T, Reason> {
        let (failures, clock, address) = (self.failures.clone(), self.clock.clone(), peer.address.ip());
        let unless_held = move || (!failures.is_held(address, clock.now())).then(hash);
        match self.hashing.run(address, unless_held).await {
            Ok(Some(done)) => Ok(done),
            Ok(None) => {
                self.counts.add_held();
                Err(Reason::CONNECTION_RATE_EXCEEDED)
            }
            Err(Busy) => Err(self.busy()),
        }
    }

    fn busy(&self) -> Reason {
        self.counts.add_busy();
        Reason::SERVER_BUSY
    }

    fn failed(&self, peer: &Peer) -> Reason {
        self.counts.add_failed();
        self.failures.add(peer.address.ip(), self.clock.now());
        Reason::BAD_USER_NAME_OR_PASSWORD
    }

    /// Nobody is let in because somebody who should say so does not answer.
    pub(super) fn unanswered(&self, by: &'static str) -> Reason {
        tracing::debug!(by, "nobody is let in without an answer");
        self.counts.add_unanswered();
        Reason::SERVER_UNAVAILABLE
    }
}

/// The name in a certificate is the user; another User Name beside it is a lie.
fn of_certificate(user: Option<&str>, peer: &Peer) -> Said {
    match (&peer.certificate_name, user) {
        (None, _) => Said::Nothing,
        (Some(name), Some(user)) if **name != *user => Said::No,
        (Some(name), _) => Said::Yes { user: Some(name.to_string()), stamp: 0, until: peer.certificate_until },
    }
}
