//! Who is shut out. Written seldom and looked at once a second by every node: a version says whether there is anything to read.

use redis::{Value, cmd};

use super::Redis;
use super::reply::{Reply, number};
use crate::store::StoreError;
use crate::store::bans::{BANS_MAX, Ban, Banned};
use crate::time::Time;

impl Redis {
    /// The ban first, then the version: whoever sees the version finds the ban.
    pub(in crate::store) async fn ban(&self, ban: Ban) -> Result<(), StoreError> {
        let who = ban.who.to_string();
        let count = number(&self.command(cmd("HLEN").arg(self.keys.bans()).take()).await?)?;
        let known = number(&self.command(cmd("HEXISTS").arg(self.keys.bans()).arg(&who).take()).await?)? != 0;
        if count >= BANS_MAX as u64 && !known {
            return Err(StoreError::Full);
        }
        self.command(cmd("HSET").arg(self.keys.bans()).arg(&who).arg(encode(&ban)).take()).await?;
        self.count_ban().await
    }

    pub(in crate::store) async fn unban(&self, who: &Banned) -> Result<bool, StoreError> {
        let found = number(&self.command(cmd("HDEL").arg(self.keys.bans()).arg(who.to_string()).take()).await?)? != 0;
        self.count_ban().await?;
        Ok(found)
    }

    pub(in crate::store) async fn bans(&self) -> Result<(u64, Vec<Ban>), StoreError> {
        let version = self.bans_version().await?;
        let mut reply = Reply::new(match self.command(cmd("HGETALL").arg(self.keys.bans()).take()).await? {
            Value::Map(pairs) => Value::Array(pairs.into_iter().flat_map(|(field, value)| [field, value]).collect()),
            other => other,
        })?;
        let mut bans = Vec::with_capacity(reply.len() / 2);
        while reply.len() > 0 {
            let (who, rest) = (reply.bytes()?, reply.bytes()?);
            match decode(&who, &rest) {
                Some(ban) => bans.push(ban),
                None => tracing::warn!(who = %String::from_utf8_lossy(&who), "a ban on Redis cannot be read"),
            }
        }
        Ok((version, bans))
    }

    pub(in crate::store) async fn bans_version(&self) -> Result<u64, StoreError> {
        match self.command(cmd("GET").arg(self.keys.bans_version()).take()).await? {
            Value::Nil => Ok(0),
            version => number(&version),
        }
    }

    async fn count_ban(&self) -> Result<(), StoreError> {
        self.command(cmd("INCR").arg(self.keys.bans_version()).take()).await.map(drop)
    }
}

/// `UNTIL WHY`, in ms, or `-` for ever.
fn encode(ban: &Ban) -> String {
    let until = ban.until.map_or_else(|| "-".to_owned(), |until| until.0.to_string());
    format!("{until} {}", ban.why)
}

fn decode(who: &[u8], rest: &[u8]) -> Option<Ban> {
    let who = std::str::from_utf8(who).ok()?.parse().ok()?;
    let (until, why) = std::str::from_utf8(rest).ok()?.split_once(' ')?;
    let until = if until == "-" { None } else { Some(Time(until.parse().ok()?)) };
    Some(Ban { who, until, why: why.to_owned() })
}
