//! What a user of Redis has to be allowed for a node to work as it.

use redis::{Value, cmd};

use super::settings::Settings;
use super::start::StartError;
use super::wire::Wire;

/// Commands as they are used, also inside our functions. `K` stands for a key of ours, `C` for a channel, `B` for the channels of the bridge.
const NEEDED: &[&str] = &[
    "DEL K",
    "EXISTS K",
    "EXPIRE K 1",
    "FCALL f 1 K",
    "GET K",
    "HDEL K f",
    "HEXISTS K f",
    "HGET K f",
    "HGETALL K",
    "HKEYS K",
    "HLEN K",
    "HMGET K f",
    "HSCAN K 0",
    "HSET K f v",
    "INCR K",
    "INCRBY K 1",
    "MEMORY USAGE K",
    "PEXPIRE K 1",
    "PTTL K",
    "SADD K m",
    "SCAN 0",
    "SCARD K",
    "SET K v",
    "SETRANGE K 0 v",
    "SISMEMBER K m",
    "SRANDMEMBER K",
    "SREM K m",
    "UNLINK K",
    "XACK K g 1",
    "XADD K * f v",
    "XAUTOCLAIM K g c 1 0",
    "XDEL K 1",
    "XGROUP CREATE K g 0",
    "XGROUP DELCONSUMER K g c",
    "XINFO CONSUMERS K g",
    "XINFO STREAM K",
    "XLEN K",
    "XRANGE K - +",
    "XREAD STREAMS K 0",
    "XREADGROUP GROUP g c STREAMS K >",
    "XREVRANGE K + -",
    "XSETID K 1",
    "XTRIM K MAXLEN 1",
    "ZADD K 1 m",
    "ZCARD K",
    "ZCOUNT K 0 1",
    "ZRANGE K 0 1",
    "ZRANGEBYSCORE K 0 1",
    "ZREM K m",
    "ZREMRANGEBYRANK K 0 1",
    "ZREMRANGEBYSCORE K 0 1",
    "ZSCORE K m",
    "PUBLISH C m",
    "SUBSCRIBE C",
    "UNSUBSCRIBE C",
    "FUNCTION LIST",
    "FUNCTION LOAD f",
    "INFO",
    "PING",
    "TIME",
];
const NEEDED_OF_CLUSTER: &[&str] = &["ASKING", "CLUSTER INFO", "CLUSTER SLOTS"];
/// Redis takes a pattern only from who has a rule with this very pattern.
const NEEDED_FOR_BRIDGE: &[&str] = &["PSUBSCRIBE B", "PUBLISH B m"];
const NEEDED_FOR_REPLICAS: &[&str] = &["WAIT 1 1"];

/// What a user is given: the line of `ACL SETUSER`, without name and password. `bridged`: the channels of the bridge.
pub fn rules(prefix: &str, bridged: Option<&str>) -> String {
    let for_bridge = bridged.iter().flat_map(|_| &NEEDED_FOR_BRIDGE[..1]); // the other is among the rest
    let all = NEEDED.iter().chain(NEEDED_OF_CLUSTER).chain(NEEDED_FOR_REPLICAS).chain(for_bridge).map(|line| command(line));
    let others = ["acl|whoami", "acl|dryrun", "config|get", "select"].map(str::to_owned);
    let allowed: Vec<_> = all.chain(others).map(|name| format!("+{name}")).collect();
    let channels = bridged.map(|pattern| format!(" &{pattern}")).unwrap_or_default();
    format!("~{prefix}:* &{prefix}:*{channels} {}", allowed.join(" "))
}

/// `xadd`, `function|list`: how rules name the command of a line.
fn command(line: &str) -> String {
    let mut words = line.split(' ');
    let name = words.next().unwrap_or_default().to_lowercase();
    match (&*name, words.next()) {
        ("function" | "cluster" | "memory" | "xgroup" | "xinfo", Some(part)) => format!("{name}|{}", part.to_lowercase()),
        _ => name,
    }
}

/// Asks, without doing any of it, whether the user may do what a node does; the error names everything that it may not.
pub(super) async fn check(wire: &mut Wire, settings: &Settings, is_cluster: bool) -> Result<(), StartError> {
    let Settings { prefix, bridged, durability, .. } = settings;
    // A user that may not even ask is told what it lacks when it is needed.
    let Ok(Value::BulkString(user)) = wire.query(cmd("ACL").arg("WHOAMI")).await else { return Ok(()) };
    let of_cluster = NEEDED_OF_CLUSTER.iter().filter(|_| is_cluster);
    let for_replicas = NEEDED_FOR_REPLICAS.iter().filter(|_| durability.wait().is_some());
    let for_bridge = NEEDED_FOR_BRIDGE.iter().filter(|_| bridged.is_some());
    let mut denied = Vec::new();
    for line in NEEDED.iter().chain(of_cluster).chain(for_replicas).chain(for_bridge) {
        let mut dry = cmd("ACL");
        dry.arg("DRYRUN").arg(&user);
        for word in line.split(' ') {
            match word {
                "K" => dry.arg(format!("{prefix}:key")),
                "C" => dry.arg(format!("{prefix}:channel")),
                "B" => dry.arg(bridged),
                word => dry.arg(word),
            };
        }
        match wire.query(&dry).await {
            Ok(Value::BulkString(_)) => denied.push(command(line)),
            Ok(_) => {}
            Err(_) => return Ok(()),
        }
    }
    if denied.is_empty() {
        return Ok(());
    }
    let user = String::from_utf8_lossy(&user);
    Err(StartError::Acl { user: user.into_owned(), denied: denied.join(", "), rules: rules(prefix, bridged.as_deref()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_a_command_and_its_part() {
        let rules = rules("mqttd", None);
        assert!(rules.starts_with("~mqttd:* &mqttd:* +del "), "{rules}");
        assert!(rules.contains("+function|load") && rules.contains("+xinfo|stream") && rules.contains("+xadd "), "{rules}");
    }

    /// A command that is missing here works for an administrator, and fails for a user with few rights at the worst of moments.
    #[test]
    fn every_command_of_the_store_is_in_the_rules() {
        let rules = rules("mqttd", None);
        let asked_before = ["acl", "config", "sentinel"]; // at the start, of another server, or only where allowed
        let mut sources = String::new();
        read(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/redis"), &mut sources);
        let commands = sources.split("cmd(\"").skip(1).chain(sources.split("redis.call('").skip(1));
        let commands = commands.map(|rest| rest.split(['"', '\'']).next().unwrap().to_lowercase());
        for command in commands.filter(|command| !command.is_empty() && command.chars().all(|c| c.is_ascii_lowercase())) {
            let named = rules.split(' ').any(|rule| rule.trim_start_matches('+').split('|').next() == Some(&*command));
            assert!(named || asked_before.contains(&&*command), "{command} is used, and not in the list");
        }
    }

    fn read(folder: &std::path::Path, sources: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, sources);
            } else if path.file_name() != Some("acl.rs".as_ref()) {
                *sources += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
}
