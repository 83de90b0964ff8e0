//! What nodes tell each other by way of a real Redis: routes, posts, bells, deaths.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mqttd::message::{Message, Run};
use mqttd::packet::QoS;
use mqttd::packet::connect::ClientId;
use mqttd::packet::subscribe::SubscriptionOptions;
use mqttd::store::StoreError;
use mqttd::store::cluster::{News, NodeId, Post, RouteChange, RouteVersion, Who};
use mqttd::store::redis::cluster::Cluster;
use mqttd::store::redis::cluster::settings::Settings;
use mqttd::store::redis::link::Link;
use mqttd::store::redis::link::address::Address;
use mqttd::subscription::{Grant, Selector, Subscription};
use mqttd::topic::name::TopicName;
use mqttd_tests::redis::Redis;
use redis::cmd;
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};

/// What must happen has happened by then, on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// Within this time nothing more comes of what must not happen.
const WATCH: Duration = Duration::from_millis(600);

struct Node {
    cluster: Cluster,
    link: Link,
    news: mpsc::Receiver<News>,
}

fn settings() -> Settings {
    Settings { beat: Duration::from_millis(50), ..Settings::default() }
}

/// Deaths are seen within a few seconds.
fn mortal() -> Settings {
    let brief = Duration::from_millis(300);
    Settings { lease: Duration::from_secs(2), looks_apart: brief, steady: brief, burial: Duration::from_secs(1), ..settings() }
}

impl Node {
    async fn join(redis: &Redis, name: &str, settings: Settings) -> Node {
        let link = Link::open(Address::parse(&redis.url()).unwrap(), Default::default()).await.unwrap();
        let (cluster, news) = Cluster::join(link.clone(), name, settings).await.unwrap();
        Node { cluster, link, news }
    }

    async fn next(&mut self) -> News {
        timeout(PATIENCE, self.news.recv()).await.expect("news come in time").expect("the node lives")
    }

    /// The first news of which `take` makes something; others are passed over.
    async fn until<T>(&mut self, mut take: impl FnMut(News) -> Option<T>) -> T {
        loop {
            if let Some(taken) = take(self.next().await) {
                return taken;
            }
        }
    }

    /// All changes up to this version.
    async fn routes(&mut self, up_to: RouteVersion) -> Vec<RouteChange> {
        let mut all = Vec::new();
        self.until(|news| match news {
            News::Routes { version, changes } => {
                all.extend(changes.into_iter().map(|(_, change)| change));
                (version >= up_to).then_some(())
            }
            _ => None,
        })
        .await;
        all
    }

    /// So many payloads.
    async fn payloads(&mut self, count: usize) -> Vec<String> {
        let mut all = Vec::new();
        while all.len() < count {
            let posts = self.until(|news| if let News::Posts(posts) = news { Some(posts) } else { None }).await;
            let messages = posts.iter().flat_map(|post| post.run.messages());
            all.extend(messages.map(|message| String::from_utf8(message.payload.to_vec()).unwrap()));
        }
        all
    }
}

fn client(name: &str) -> ClientId {
    ClientId::new(name)
}

fn session(name: &str) -> Who {
    Who::Session { client_id: client(name), node: None }
}

fn subscription(filter: &str) -> Subscription {
    Subscription { selector: Selector::parse(filter).unwrap(), options: SubscriptionOptions::default(), id: Some(7) }
}

fn set(who: Who, filters: &[&str]) -> RouteChange {
    RouteChange::Set { who, subscriptions: filters.iter().map(|filter| subscription(filter)).collect() }
}

fn unset(who: Who, filter: &str) -> RouteChange {
    RouteChange::Unset { who, selectors: vec![Selector::parse(filter).unwrap()] }
}

fn post(payload: &str) -> Post {
    let message = Message {
        topic: TopicName::new("a".into()).unwrap(),
        payload: Bytes::from(payload.to_owned()),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: None,
        expires_at: None,
    };
    Post { run: Arc::new(Run::from(message)), to: Some((client("c"), Grant::default())), publisher: Some(client("p")) }
}

fn numbers(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|number| number.to_string()).collect()
}

/// The routing table that changes make.
#[derive(Debug, Default, PartialEq, Eq)]
struct Table(BTreeMap<Who, BTreeMap<Selector, u8>>);

impl Table {
    fn of(changes: impl IntoIterator<Item = RouteChange>) -> Table {
        let mut table = Table::default();
        changes.into_iter().for_each(|change| table.apply(change));
        table
    }

    fn apply(&mut self, change: RouteChange) {
        match change {
            RouteChange::Set { who, subscriptions } => {
                let new = subscriptions.into_iter().map(|subscription| (subscription.selector, subscription.options.bits()));
                self.0.entry(who).or_default().extend(new);
            }
            RouteChange::Unset { who, selectors } => {
                if let Some(held) = self.0.get_mut(&who) {
                    held.retain(|selector, _| !selectors.contains(selector));
                    if held.is_empty() {
                        self.0.remove(&who);
                    }
                }
            }
            RouteChange::End { who } => drop(self.0.remove(&who)),
        }
    }
}

/// The whole table as the changes that would make it.
async fn load(cluster: &Cluster) -> Result<(RouteVersion, Vec<(u64, RouteChange)>), StoreError> {
    let mut all = Vec::new();
    let version = cluster.load_routes(|epoch, who, subscriptions| all.push((epoch, RouteChange::Set { who, subscriptions }))).await?;
    Ok((version, all))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn routes_reach_all_in_one_order_and_are_there_for_who_comes_later() {
    let Some(redis) = Redis::start() else { return };
    let (mut a, mut b) = (Node::join(&redis, "a", settings()).await, Node::join(&redis, "b", settings()).await);
    let change_many = |cluster: Cluster, who: Who| async move {
        for number in 0..50 {
            let filter = format!("{}/{number}", cluster.node().as_str());
            cluster.route(set(session("both"), &[&filter, "x/#"]), 5).await.unwrap();
            cluster.route(set(who.clone(), &[&filter, "$share/s/x"]), 0).await.unwrap();
            cluster.route(unset(session("both"), "x/#"), 5).await.unwrap();
        }
    };
    let (node_a, node_b) = (a.cluster.node().clone(), b.cluster.node().clone());
    let live = Who::Session { client_id: client("}"), node: Some(node_a.clone()) };
    tokio::join!(change_many(a.cluster.clone(), Who::Node(node_a)), change_many(b.cluster.clone(), live));
    a.cluster.route(set(session(""), &["gone"]), 3).await.unwrap();
    a.cluster.route(RouteChange::End { who: session("") }, 4).await.unwrap();
    let last = b.cluster.route(set(Who::Node(node_b.clone()), &["#"]), 0).await.unwrap();
    // Whoever had the Session before has nothing to say any more.
    assert_eq!(a.cluster.route(set(session(""), &["late"]), 3).await, Ok(last));
    assert_eq!(a.cluster.route(unset(session("both"), "x/#"), 4).await, Ok(last));

    let (seen_a, seen_b) = (a.routes(last).await, b.routes(last).await);
    assert_eq!(seen_a, seen_b);
    assert_eq!(seen_a.len(), 2 * 150 + 3);
    let fresh = Node::join(&redis, "c", settings()).await;
    let (version, loaded) = load(&fresh.cluster).await.unwrap();
    assert_eq!((version, Table::of(loaded.into_iter().map(|(_, change)| change))), (last, Table::of(seen_a)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_change_is_visible_when_every_node_has_applied_it() {
    let Some(redis) = Redis::start() else { return };
    let brief = Settings { visibility: Duration::from_millis(200), ..mortal() };
    let patient = Settings { visibility: PATIENCE, ..mortal() };
    let (hasty, a) = (Node::join(&redis, "hasty", brief).await, Node::join(&redis, "a", patient).await);
    let mut b = Node::join(&redis, "b", mortal()).await;
    let version = a.cluster.route(set(session("c"), &["x"]), 1).await.unwrap();
    a.cluster.applied(version);
    hasty.cluster.applied(version);
    // `hasty` may not know of `b` before its next beat.
    let mut tries = interval(Duration::from_millis(20));
    while hasty.cluster.live().len() < 3 || a.cluster.live().len() < 3 {
        tries.tick().await;
    }
    assert!(!hasty.cluster.visible(version).await);
    let visible = tokio::spawn({
        let cluster = a.cluster.clone();
        async move { cluster.visible(version).await }
    });
    b.routes(version).await;
    assert!(!visible.is_finished());
    b.cluster.applied(version);
    assert!(visible.await.unwrap() && a.cluster.visible(version - 1).await);

    // Who is dead or has left is not waited for.
    let version = a.cluster.route(set(session("c"), &["y"]), 1).await.unwrap();
    a.cluster.applied(version);
    hasty.cluster.leave().await.unwrap();
    assert!(!hasty.cluster.may_promise());
    drop(b);
    assert!(a.cluster.visible(version).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn posts_arrive_in_their_order_in_both_lanes() {
    let Some(redis) = Redis::start() else { return };
    let (a, mut b) = (Node::join(&redis, "a", settings()).await, Node::join(&redis, "b", settings()).await);
    let to = b.cluster.node().clone();
    let large = post(&"x".repeat(100_000));
    for number in 0..200 {
        a.cluster.post(&to, vec![post(&(number * 2).to_string()), post(&(number * 2 + 1).to_string())], true).await.unwrap();
    }
    a.cluster.post(&to, vec![large.clone()], true).await.unwrap();
    let seen = b.payloads(401).await;
    assert_eq!((&seen[..400], seen[400].len()), (&numbers(0, 400)[..], 100_000));

    for number in 0..200 {
        a.cluster.post(&to, vec![post(&number.to_string())], false).await.unwrap();
    }
    a.cluster.post(&to, vec![large], false).await.unwrap();
    let seen = b.payloads(201).await;
    assert_eq!((&seen[..200], seen[200].len(), a.cluster.dropped()), (&numbers(0, 200)[..], 100_000, 0));

    a.cluster.post(&NodeId::new("nobody"), vec![post("lost")], true).await.unwrap();
    assert_eq!(a.link.call(cmd("EXISTS").arg("mqttd:{n:nobody}:in").take()).await, Ok(redis::Value::Int(0)));
    // What was handed over is not kept.
    let mut tries = interval(Duration::from_millis(10));
    let length = cmd("XLEN").arg(format!("mqttd:{{n:{}}}:in", to.as_str())).take();
    while a.link.call(length.clone()).await != Ok(redis::Value::Int(0)) {
        tries.tick().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bells_and_kicks_reach_who_listens() {
    let Some(redis) = Redis::start() else { return };
    let (a, mut b) = (Node::join(&redis, "a", settings()).await, Node::join(&redis, "b", settings()).await);
    let [here, twice, elsewhere] = ["", "}{%", "elsewhere"].map(client);
    for client in [&here, &twice, &twice] {
        b.cluster.listen(client).await.unwrap();
    }
    b.cluster.unlisten(&twice).await;
    a.cluster.bell(vec![elsewhere.clone(), here.clone(), here.clone()]).await.unwrap();
    assert!(matches!(b.next().await, News::Bell(rung) if rung == here));
    a.cluster.kick(&twice, 9).await.unwrap();
    assert!(matches!(b.next().await, News::Kick { client_id, epoch: 9 } if client_id == twice));
    b.cluster.unlisten(&here).await;
    b.cluster.listen(&elsewhere).await.unwrap();
    a.cluster.bell(vec![here]).await.unwrap();
    a.cluster.bell(vec![elsewhere.clone()]).await.unwrap();
    assert!(matches!(b.next().await, News::Bell(rung) if rung == elsewhere));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_inbox_that_overruns_says_what_is_lost() {
    let Some(redis) = Redis::start() else { return };
    let slow = Settings { news_max: 1, ..settings() };
    let (a, mut b) = (Node::join(&redis, "a", Settings { inbox_length_max: 100, ..settings() }).await, Node::join(&redis, "b", slow).await);
    let to = b.cluster.node().clone();
    for number in 0..2000 {
        a.cluster.post(&to, vec![post(&number.to_string())], true).await.unwrap();
    }
    let (mut seen, mut lost, mut losses) = (0, false, 0);
    while seen < 1999 {
        match b.next().await {
            News::PostsLost => (lost, losses) = (true, losses + 1),
            News::Posts(posts) => {
                for post in &posts {
                    let number: usize = std::str::from_utf8(&post.run.messages()[0].payload).unwrap().parse().unwrap();
                    assert!(number == 0 || number == seen + 1 || std::mem::take(&mut lost), "{number} after {seen}");
                    seen = number;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(losses > 0);
}

/// A node that does not read holds those up who write to it, each for a while; nothing is lost, and when it reads nobody waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowded_inbox_holds_its_writers() {
    let Some(redis) = Redis::start() else { return };
    let slow = Settings { news_max: 1, ..settings() };
    let hold = Duration::from_millis(300);
    let writer = Settings { inbox_crowded: 50, inbox_hold: hold, ..settings() };
    let (a, mut b) = (Node::join(&redis, "a", writer).await, Node::join(&redis, "b", slow).await);
    let to = b.cluster.node().clone();
    let held = async |number: usize| {
        let begun = tokio::time::Instant::now();
        a.cluster.post(&to, vec![post(&number.to_string())], true).await.unwrap();
        begun.elapsed() >= hold
    };
    let mut sent = 0;
    while !held(sent).await {
        sent += 1;
        assert!(sent < 1000, "nobody is held");
    }
    assert!(held(sent + 1).await && held(sent + 2).await, "one is held, and the next is not");
    sent += 3;
    assert_eq!(b.payloads(sent).await, numbers(0, sent));
    assert!(!held(sent).await, "held for nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn news_without_room_are_lost_aloud() {
    let Some(redis) = Redis::start() else { return };
    let slow = Settings { news_max: 1, ..settings() };
    let (a, mut b) = (Node::join(&redis, "a", settings()).await, Node::join(&redis, "b", slow).await);
    b.cluster.listen(&client("c")).await.unwrap();
    for _ in 0..3 {
        a.cluster.bell(vec![client("c")]).await.unwrap();
    }
    a.cluster.kick(&client("c"), 2).await.unwrap();
    let mut tries = interval(Duration::from_millis(10));
    while b.cluster.dropped() == 0 {
        a.cluster.post(b.cluster.node(), vec![post("0")], false).await.unwrap();
        tries.tick().await;
    }
    assert!(matches!(b.next().await, News::Bell(_)));
    assert!(matches!(b.next().await, News::BellsLost));
    assert!(matches!(b.until(|news| (!matches!(news, News::Posts(_))).then_some(news)).await, News::Kick { epoch: 2, .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dead_node_is_cleaned_up_after_by_one() {
    let Some(redis) = Redis::start() else { return };
    let (mut a, mut b) = (Node::join(&redis, "a", mortal()).await, Node::join(&redis, "b", mortal()).await);
    let c = Node::join(&redis, "c", mortal()).await;
    let dead = c.cluster.node().clone();
    for name in ["", "x", "y"] {
        c.cluster.add_session(&client(name)).await.unwrap();
    }
    c.cluster.remove_session(&client("y")).await.unwrap();
    c.cluster.route(set(Who::Node(dead.clone()), &["#"]), 0).await.unwrap();
    drop(c);

    // The first claim runs out, for nobody does anything.
    for _ in 0..2 {
        let told = |news| if let News::NodeDead(node) = news { Some(node) } else { None };
        let found = tokio::select! { found = a.until(told) => found, found = b.until(told) => found };
        assert_eq!(found, dead);
    }
    let mut left = a.cluster.sessions_of(&dead, 10).await.unwrap();
    left.sort();
    assert_eq!(left, ["", "x"].map(client));
    a.cluster.forget_sessions(&dead, &left).await.unwrap();
    assert_eq!(a.cluster.sessions_of(&dead, 10).await, Ok(Vec::new()));
    a.cluster.bury(&dead).await.unwrap();
    // A late word of the dead changes nothing.
    let version = a.cluster.route(set(Who::Node(dead.clone()), &["late"]), 0).await.unwrap();
    let (_, routes) = load(&b.cluster).await.unwrap();
    assert_eq!(routes, []);
    let ended = RouteChange::End { who: Who::Node(dead) };
    assert!(b.cluster.route(set(session("z"), &["z"]), 1).await.unwrap() == version + 1);
    assert!(a.routes(version + 1).await.contains(&ended) && b.routes(version + 1).await.contains(&ended));
    for node in [&mut a, &mut b] {
        assert!(timeout(2 * WATCH, node.news.recv()).await.is_err(), "the dead are not told of again");
        assert!(node.cluster.may_promise());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_outage_of_redis_is_no_death_of_nodes() {
    let Some(redis) = Redis::start() else { return };
    // When the promise is over, so is the lease.
    let hasty = Settings { promise: Duration::from_millis(2500), ..mortal() };
    let mut nodes = [Node::join(&redis, "a", hasty.clone()).await, Node::join(&redis, "b", hasty).await];
    let mut tries = interval(Duration::from_millis(20));
    redis.pause();
    while nodes.iter().any(|node| node.cluster.may_promise()) {
        tries.tick().await;
    }
    redis.resume();
    while !nodes.iter().all(|node| node.cluster.may_promise()) {
        tries.tick().await;
    }
    for node in &mut nodes {
        while let Ok(news) = timeout(WATCH, node.news.recv()).await {
            assert!(matches!(news, Some(News::BellsLost)), "{news:?}");
        }
        assert_eq!(node.cluster.live().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_was_taken_for_dead_is_told() {
    let Some(redis) = Redis::start() else { return };
    let mut a = Node::join(&redis, "a", settings()).await;
    assert!(a.cluster.may_promise());
    a.link.call(cmd("ZREM").arg("mqttd:{nodes}:hb").arg(a.cluster.node().as_str()).take()).await.unwrap();
    assert!(matches!(a.next().await, News::Expelled(_)));
    assert!(!a.cluster.may_promise());
    assert_eq!(a.link.call(cmd("ZCARD").arg("mqttd:{nodes}:hb").take()).await, Ok(redis::Value::Int(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_goes_on_with_a_redis_that_comes_back() {
    let Some(mut redis) = Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let (mut a, mut b) = (Node::join(&redis, "a", settings()).await, Node::join(&redis, "b", settings()).await);
    a.cluster.listen(&client("c")).await.unwrap();
    let version = a.cluster.route(set(session("c"), &["x"]), 1).await.unwrap();
    b.cluster.post(a.cluster.node(), vec![post("before")], true).await.unwrap();
    a.routes(version).await;
    b.routes(version).await;
    redis.kill();
    redis.revive();
    for node in [&mut a, &mut b] {
        let (mut routes, mut bells) = (false, false);
        node.until(|news| {
            assert!(!matches!(news, News::Expelled(_) | News::PostsLost | News::NodeDead(_)), "{news:?}");
            routes |= matches!(news, News::RoutesLost);
            bells |= matches!(news, News::BellsLost);
            (routes && bells).then_some(())
        })
        .await;
    }
    let mut tries = interval(Duration::from_millis(50));
    while !a.link.state().is_healthy() || !b.link.state().is_healthy() {
        tries.tick().await;
    }
    assert_eq!(load(&a.cluster).await, Ok((version, vec![(1, set(session("c"), &["x"]))])));
    let version = b.cluster.route(set(session("d"), &["y"]), 1).await.unwrap();
    assert_eq!(a.routes(version).await, [set(session("d"), &["y"])]);
    b.cluster.post(a.cluster.node(), vec![post("after")], true).await.unwrap();
    assert_eq!(a.payloads(1).await, ["after"]);
    b.cluster.bell(vec![client("c")]).await.unwrap();
    a.until(|news| matches!(news, News::Bell(_)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn versions_are_not_used_twice_by_a_redis_that_has_forgotten_them() {
    let Some(mut redis) = Redis::start() else { return };
    let mut a = Node::join(&redis, "a", settings()).await;
    let before = a.cluster.route(set(session("c"), &["x"]), 1).await.unwrap();
    a.routes(before).await;
    redis.kill();
    redis.revive();
    a.until(|news| matches!(news, News::Expelled(_)).then_some(())).await;
    let again = Node::join(&redis, "a", settings()).await;
    let after = again.cluster.route(set(session("c"), &["x"]), 1).await.unwrap();
    assert!(after > before);
    assert_eq!(load(&again.cluster).await, Ok((after, vec![(1, set(session("c"), &["x"]))])));
}
