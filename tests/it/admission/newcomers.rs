//! What changes while a Client comes in holds for it, too; and what it leaves behind when it has to go.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use mqttd::{Client as Who, Node};
use mqttd_tests::auth::Scratch;
use mqttd_tests::redis::Redis;
use mqttd_tests::*;

use super::hook::server;
use super::shared::{changed, hash};

/// It is asked about before the ban, and let in after it: it does not come in, and leaves no will.
#[test]
fn who_is_banned_while_it_comes_in_does_not_come_in() {
    let (asked, was_asked) = mpsc::channel();
    let (answer, answers) = mpsc::channel::<()>();
    let answers = Mutex::new(answers);
    let url = server(move |_| {
        asked.send(()).ok()?;
        answers.lock().unwrap().recv().ok()?;
        Some((200, "{\"result\": \"allow\"}".to_owned()))
    });
    let broker = Broker::with(|config| (config.auth.http_url, config.auth.http_timeout_ms) = (Some(url), 60_000));
    let topic = unique("t");
    let come = |connecting: connecting::Connecting| {
        let client = connecting.send();
        was_asked.recv().expect("the hook is asked");
        client
    };
    let mut watcher = come(broker.client(V5).user("watcher", ""));
    answer.send(()).expect("it waits");
    assert_eq!(watcher.expect_connack().reason, Reason::SUCCESS);
    watcher.subscribe(&topic, 0);
    for version in VERSIONS {
        let id = unique("c");
        let mut newcomer = come(broker.client(version).id(&id).user("ann", "pencil").will(message(&topic, "no")));
        broker.auth().ban(&format!("client:{id}"), None);
        answer.send(()).expect("it waits");
        let reason = if version == V5 { Reason::BANNED } else { Reason::NOT_AUTHORIZED };
        assert_eq!(newcomer.expect_connack().reason, reason);
        newcomer.expect_closed();
    }
    watcher.expect_nothing();
}

/// Its password on Redis is another one by the time at which it is in.
#[test]
fn who_comes_in_with_a_password_that_changes_meanwhile_does_not_come_in() {
    let Some(redis) = Redis::start() else { return };
    let _: i64 = redis.query(&["HSET", "mqttd:{auth}:users", "bob", &hash("stone")]);
    let (came, has_come) = mpsc::channel();
    let go = Arc::new(tokio::sync::Notify::new());
    let wait = {
        let go = go.clone();
        move |_: Who| {
            let (came, go) = (came.clone(), go.clone());
            async move {
                came.send(()).expect("the test waits");
                go.notified().await;
            }
        }
    };
    let builder = Node::builder().set("auth.redis_url", redis.url()).on_connect(wait).deadline(Duration::from_secs(60));
    let (broker, _) = Broker::embed(builder);
    let come = |password: &str| {
        let client = broker.client(V5).user("bob", password).send();
        has_come.recv().expect("it is let in so far");
        client
    };
    let mut before = come("stone");
    go.notify_one();
    assert_eq!(before.expect_connack().reason, Reason::SUCCESS);
    let mut newcomer = come("stone");
    let _: i64 = redis.query(&["HSET", "mqttd:{auth}:users", "bob", &hash("other")]);
    changed(&redis, "users");
    before.expect_disconnect(Reason::NOT_AUTHORIZED); // the node has seen the change
    go.notify_one();
    assert_eq!(newcomer.expect_connack().reason, Reason::NOT_AUTHORIZED);
    newcomer.expect_closed();
    let mut after = come("other");
    go.notify_one();
    assert_eq!(after.expect_connack().reason, Reason::SUCCESS);
    after.expect_nothing();
}

/// A will is a publish: a rule that forbids it later ends the connection, and the will is not published; nor is that of one who is shut out.
#[test]
fn a_will_does_not_escape_a_revoke() {
    let rules = Scratch::new("allow all #\n");
    let broker = Broker::with(|config| config.access.rules_file = Some(rules.path()));
    let ended = |client: &mut Client, version| {
        if version == V5 {
            client.expect_disconnect(Reason::NOT_AUTHORIZED);
        }
        client.expect_closed();
    };
    for version in VERSIONS {
        let (forbidden, allowed, id) = (unique("t"), unique("t"), unique("c"));
        let mut watcher = broker.client(V5).connect();
        watcher.subscribe(&forbidden, 0);
        watcher.subscribe(&allowed, 0);
        let mut one = broker.client(version).will(message(&forbidden, "no")).connect();
        let mut other = broker.client(version).id(&id).will(message(&allowed, "yes")).connect();
        rules.set(format!("deny publish {forbidden}\nallow all #\n"));
        broker.auth().reload().expect("they are right");
        ended(&mut one, version);
        watcher.expect_nothing();
        other.expect_nothing();
        broker.client(version).will(message(&forbidden, "no")).refused(Reason::NOT_AUTHORIZED);
        broker.auth().ban(&format!("client:{id}"), None);
        ended(&mut other, version);
        watcher.expect_nothing();
        // What nobody forbids is published.
        broker.client(version).will(message(&allowed, "lost")).connect().cut();
        watcher.receive(message(&allowed, "lost"));
    }
}
