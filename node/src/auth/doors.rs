//! Changes of who may come in and what they may do, while the broker runs: they take effect on those who are connected.
//!
//! Files are read again when [`Doors::reload`] is called. Bans, and users and rules on Redis, are looked at once a second, so that they hold at
//! every node within two.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::bans::Bans;
use super::guard::{Access, House};
use super::password::Verifier;
use super::policy::{Policy, Settings};
use super::rules::Rules;
use super::shared::{Shared, Unreachable, Versions};
use crate::broker::Broker;
use crate::store::StoreError;
use crate::store::bans::{Ban, Banned};

/// How often what others may have changed is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Users of Redis that are asked for at a time.
const USERS_PAGE: usize = 500;

/// Who may come in and what they may do, and the broker that has to know of changes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Doors {
    house: Arc<House>,
    broker: Arc<Broker>,
    /// One change at a time.
    seen: Arc<tokio::sync::Mutex<Seen>>,
}

/// What was seen last of what others may change.
#[derive(Debug, Default)]
struct Seen {
    shared: Versions,
    bans: Option<u64>,
    /// Of Redis, so that they stay while the file is read again.
    shared_rules: Rules,
    complained: bool,
}

impl Doors {
    /// Reads what the Store and the Redis of users have. As long as they cannot be had, nobody is let in (0x88): to begin without them would
    /// let in too many.
    pub async fn open(house: Arc<House>, broker: Arc<Broker>) -> Doors {
        let doors = Doors { house, broker, seen: Arc::default() };
        doors.look().await;
        doors
    }

    /// Reads all files again, and asks every connection whether it may stay as it is. An error changes nothing.
    pub async fn reload(&self, settings: Settings) -> Result<(), String> {
        let mut seen = self.seen.lock().await;
        // Hashes are read from files, some of them long: not on a thread that moves packets.
        let read = tokio::task::spawn_blocking(move || Policy::read(settings));
        let policy = read.await.map_err(|error| error.to_string())??;
        if policy.settings.redis != self.house.policy.load().settings.redis {
            // What the former Redis said is not valid any more, and without rules more would be allowed.
            (seen.shared, seen.shared_rules) = match &policy.shared {
                Some(shared) => (shared.versions().await.map_err(unreachable)?, rules_of(shared).await?),
                None => Default::default(),
            };
            if let Some(shared) = &policy.shared {
                self.find_outdated(shared).await.map_err(unreachable)?;
            }
        }
        self.house.rules.store(Arc::new(Access::new(&policy.settings, policy.rules.clone().then(&seen.shared_rules))));
        self.house.policy.store(Arc::new(policy));
        self.broker.reconsider();
        Ok(())
    }

    /// The same with the settings as they are.
    pub async fn reload_files(&self) -> Result<(), String> {
        let settings = self.house.policy.load().settings.clone();
        self.reload(settings).await
    }

    /// Shuts somebody out, at every node; who is connected is disconnected.
    pub async fn ban(&self, ban: Ban) -> Result<(), StoreError> {
        // Bans whose time is over make room.
        let now = self.broker.clock.now();
        let (_, known) = self.broker.store().bans().await?;
        for over in known.iter().filter(|known| !known.holds(now)) {
            self.broker.store().unban(&over.who).await?;
        }
        self.broker.store().ban(ban).await?;
        self.look_at_bans(&mut *self.seen.lock().await).await
    }

    /// False: there was no such ban.
    pub async fn unban(&self, who: &Banned) -> Result<bool, StoreError> {
        let found = self.broker.store().unban(who).await?;
        self.look_at_bans(&mut *self.seen.lock().await).await?;
        Ok(found)
    }

    /// Those that hold.
    pub async fn bans(&self) -> Result<Vec<Ban>, StoreError> {
        let (_, mut bans) = self.broker.store().bans().await?;
        bans.retain(|ban| ban.holds(self.broker.clock.now()));
        Ok(bans)
    }

    /// What there is to be believed by, in its order; and whether others come in too.
    pub fn house(&self) -> &House {
        &self.house
    }

    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// Looks for changes as long as the node runs.
    pub async fn watch(self) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look().await;
        }
    }

    async fn look(&self) {
        let mut seen = self.seen.lock().await;
        let bans = self.look_at_bans(&mut seen).await.map_err(|error| format!("the Store does not tell its bans: {error:?}"));
        let looked = match self.look_at_shared(&mut seen).await {
            Ok(()) => bans,
            error => error,
        };
        match looked {
            Ok(()) => {
                seen.complained = false;
                self.house.is_ready.store(true, Ordering::Relaxed);
            }
            Err(why) if !seen.complained => {
                tracing::warn!(why, "bans, users or rules cannot be looked at; what was known of them holds");
                seen.complained = true;
            }
            Err(_) => {}
        }
    }

    async fn look_at_bans(&self, seen: &mut Seen) -> Result<(), StoreError> {
        let store = self.broker.store();
        if seen.bans == Some(store.bans_version().await?) {
            return Ok(());
        }
        let (version, bans) = store.bans().await?;
        self.house.bans.store(Arc::new(Bans::new(bans)));
        seen.bans = Some(version);
        self.broker.reconsider();
        Ok(())
    }

    async fn look_at_shared(&self, seen: &mut Seen) -> Result<(), String> {
        let policy = self.house.policy.load_full();
        let Some(shared) = &policy.shared else { return Ok(()) };
        let versions = shared.versions().await.map_err(unreachable)?;
        let first = seen.shared == Versions::default();
        if versions == seen.shared && !(first && seen.shared_rules.is_empty()) {
            return Ok(());
        }
        if versions.rules != seen.shared.rules || first {
            let rules = rules_of(shared).await?;
            if rules != seen.shared_rules {
                self.house.rules.store(Arc::new(Access::new(&policy.settings, policy.rules.clone().then(&rules))));
                seen.shared_rules = rules;
                self.broker.reconsider();
            }
        }
        if versions.users != seen.shared.users {
            self.find_outdated(shared).await.map_err(unreachable)?;
        }
        seen.shared = versions;
        Ok(())
    }

    /// Which of those who are connected would not come in again with the password that they had.
    async fn find_outdated(&self, shared: &Shared) -> Result<(), Unreachable> {
        // Before the list is made: who is not on it will see that it was made.
        self.house.user_changes.fetch_add(1, Ordering::SeqCst);
        let clients: HashSet<_> = self
            .broker
            .clients()
            .iter()
            .filter(|client| client.proof.by == "redis")
            .filter_map(|client| client.user.clone().map(|user| (user, client.proof.stamp)))
            .collect();
        let clients: Vec<_> = clients.into_iter().collect();
        let mut outdated = HashSet::new();
        for page in clients.chunks(USERS_PAGE) {
            let names: Vec<&str> = page.iter().map(|(user, _)| &user[..]).collect();
            for (client, line) in page.iter().zip(shared.users(&names).await?) {
                let stamp = line.and_then(|line| Verifier::parse(&line).ok()).map(|verifier| verifier.stamp());
                if stamp != Some(client.1) {
                    outdated.insert(client.clone());
                }
            }
        }
        self.house.outdated.store(Arc::new(outdated));
        self.broker.reconsider();
        Ok(())
    }
}

fn unreachable(_: Unreachable) -> String {
    "the Redis of users and rules does not answer".to_owned()
}

async fn rules_of(shared: &Shared) -> Result<Rules, String> {
    let text = shared.rules().await.map_err(unreachable)?.unwrap_or_default();
    text.parse().map_err(|fault| format!("the rules on Redis: {fault}"))
}
