//! Who is shut out, for a store of one process.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::lock;
use crate::store::StoreError;
use crate::store::bans::{BANS_MAX, Ban, Banned};

#[derive(Debug, Default)]
pub(super) struct Bans(Mutex<(u64, BTreeMap<Banned, Ban>)>);

impl Bans {
    pub(super) fn ban(&self, ban: Ban) -> Result<(), StoreError> {
        let (version, bans) = &mut *lock(&self.0);
        if bans.len() >= BANS_MAX && !bans.contains_key(&ban.who) {
            return Err(StoreError::Full);
        }
        bans.insert(ban.who.clone(), ban);
        *version += 1;
        Ok(())
    }

    pub(super) fn unban(&self, who: &Banned) -> bool {
        let (version, bans) = &mut *lock(&self.0);
        let found = bans.remove(who).is_some();
        *version += u64::from(found);
        found
    }

    pub(super) fn all(&self) -> (u64, Vec<Ban>) {
        let (version, bans) = &*lock(&self.0);
        (*version, bans.values().cloned().collect())
    }

    pub(super) fn version(&self) -> u64 {
        lock(&self.0).0
    }
}
