//! Sessions for which nobody listens: a bell for each batch would be half the work of a publisher to clients that are away.
//!
//! Redis says to how many a bell went. Where it was nobody, the next ones are left out for [`DEAF`], and one is rung at its end in place of all
//! of them. Who opens the Session meanwhile reads its queue at once, and hears of what came after that within [`DEAF`]. No I/O.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::packet::connect::ClientId;

/// How late a bell may be for a Session that has just been opened.
pub(super) const DEAF: Duration = Duration::from_millis(100);

/// Sessions that are remembered; beyond it every bell is rung.
const DEAF_MAX: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Deaf(Mutex<HashMap<ClientId, Spell>>);

#[derive(Debug)]
struct Spell {
    until: Instant,
    /// Bells were left out.
    owed: bool,
}

impl Deaf {
    fn lock(&self) -> MutexGuard<'_, HashMap<ClientId, Spell>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this one is to be rung for now. If not, it is owed a bell.
    pub(super) fn hears(&self, client_id: &ClientId, now: Instant) -> bool {
        match self.lock().get_mut(client_id).filter(|spell| now < spell.until) {
            Some(spell) => {
                spell.owed = true;
                false
            }
            None => true,
        }
    }

    /// Notes how many have heard a bell.
    pub(super) fn note(&self, client_id: &ClientId, heard: u64, now: Instant) {
        let mut spells = self.lock();
        if heard > 0 {
            spells.remove(client_id);
        } else if spells.len() < DEAF_MAX {
            spells.insert(client_id.clone(), Spell { until: now + DEAF, owed: false });
        }
    }

    /// Those whose spell is over and who are owed a bell. The others are forgotten.
    pub(super) fn owed(&self, now: Instant) -> Vec<ClientId> {
        let over = |_: &ClientId, spell: &mut Spell| spell.until <= now;
        let over = self.lock().extract_if(over).collect::<Vec<_>>();
        over.into_iter().filter(|(_, spell)| spell.owed).map(|(client_id, _)| client_id).collect()
    }

    /// The bell that is owed could not be rung: it is owed on.
    pub(super) fn owe(&self, client_id: &ClientId, now: Instant) {
        let mut spells = self.lock();
        if spells.len() < DEAF_MAX {
            spells.insert(client_id.clone(), Spell { until: now + DEAF, owed: true });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bell_that_was_left_out_is_rung_later() {
        let (deaf, now, c) = (Deaf::default(), Instant::now(), ClientId::new("c"));
        assert!(deaf.hears(&c, now));
        deaf.note(&c, 0, now);
        assert_eq!(deaf.owed(now + DEAF / 2), []);
        assert!(!deaf.hears(&c, now + DEAF / 2) && !deaf.is_empty());
        assert_eq!(deaf.owed(now + DEAF), std::slice::from_ref(&c));
        deaf.note(&c, 0, now + DEAF);
        assert_eq!(deaf.owed(now + 2 * DEAF), []);
        assert!(deaf.is_empty());
        deaf.note(&c, 0, now);
        deaf.note(&c, 1, now);
        assert!(deaf.hears(&c, now));
    }
}
