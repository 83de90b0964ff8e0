//! Where the primary is now.

use std::time::Duration;

use futures_util::future::join_all;
use redis::{Value, cmd, from_redis_value};
use tokio::time::timeout;

use super::address::{Address, Host, Place};
use super::wire::{DialError, Wire, sentinel_login};

/// The hosts that may be the primary, the most likely first. Sentinels that do not answer within `deadline` are not waited for.
pub(super) async fn primaries(address: &Address, deadline: Duration) -> Result<Vec<Host>, DialError> {
    match &address.place {
        Place::Standalone(host) => Ok(vec![host.clone()]),
        Place::Sentinel { sentinels, master } => ask_all(address, sentinels, master, deadline).await,
        Place::Cluster(hosts) => Ok(hosts.clone()),
    }
}

/// They are asked at the same time, so that a dead one costs no more than its share. What more of them say comes first.
async fn ask_all(address: &Address, sentinels: &[Host], master: &str, deadline: Duration) -> Result<Vec<Host>, DialError> {
    let answers = join_all(sentinels.iter().map(|sentinel| timeout(deadline, ask(address, sentinel, master)))).await;
    let mut votes: Vec<(Host, usize)> = Vec::new();
    let mut why = DialError::Unreachable("no Sentinel answers".to_owned());
    for answer in answers.into_iter().flatten() {
        match answer {
            Ok(host) => match votes.iter_mut().find(|(known, _)| *known == host) {
                Some((_, count)) => *count += 1,
                None => votes.push((host, 1)),
            },
            Err(error) => why = error,
        }
    }
    votes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    if votes.is_empty() { Err(why) } else { Ok(votes.into_iter().map(|(host, _)| host).collect()) }
}

async fn ask(address: &Address, sentinel: &Host, master: &str) -> Result<Host, DialError> {
    let mut wire = Wire::open(sentinel, sentinel_login(address), address.tls.as_ref()).await?;
    let reply = wire.query(cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master)).await?;
    if reply == Value::Nil {
        return Err(DialError::NotReady(format!("the Sentinel {sentinel} knows no master `{master}`")));
    }
    let (name, port) = from_redis_value(reply).map_err(|error| DialError::NotReady(error.to_string()))?;
    Ok(Host { name, port })
}
