//! The node that hears dies, or stands still; Redis is restarted: Pub/Sub loses, and nothing comes twice.

use mqttd_tests::client::Came;
use mqttd_tests::cluster::{PATIENCE, until};
use mqttd_tests::redis::Redis;
use mqttd_tests::*;

use super::kit::{Listener, bridged, channel, counter, keeper, keeping_node, receives, say, until_heard};

#[track_caller]
fn number(payload: &[u8]) -> usize {
    std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok()).expect("a number")
}

/// What one subscriber got of the numbers that were published.
#[track_caller]
fn numbers(client: &mut Client, last: usize) -> Vec<usize> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        match client.came_within(PATIENCE) {
            Came::Packet(Packet::Publish(publish)) => {
                numbers.push(number(&publish.payload));
            }
            other => client.fail("a number", &other),
        }
    }
    numbers
}

/// Numbers, published in Redis one after the other.
#[derive(Default)]
struct Numbers {
    next: usize,
}

impl Numbers {
    fn say(&mut self, redis: &Redis, topic: &str, count: usize) {
        for _ in 0..count {
            say(redis, topic, &self.next.to_string());
            self.next += 1;
        }
    }

    /// Goes on until it is so.
    #[track_caller]
    fn until(&mut self, what: &str, redis: &Redis, topic: &str, mut is_so: impl FnMut() -> bool) {
        until(what, || {
            self.say(redis, topic, 5);
            is_so()
        });
    }

    /// One more, which everybody must get.
    fn last(&mut self, redis: &Redis, topic: &str) -> usize {
        self.say(redis, topic, 20);
        self.next - 1
    }
}

/// Nothing twice, and everything in its order.
#[track_caller]
fn check(numbers: &[usize], last: usize) {
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "twice, or out of order");
    println!("{} of {} came", numbers.len(), last + 1);
}

/// `kill -9` of the node that hears: another one follows, and no subscriber of the others gets anything twice.
#[test]
fn a_killed_keeper_is_followed() {
    let Some(mut cluster) = bridged(3, &[]) else { return };
    let topic = unique("t");
    for _ in 0..2 {
        let doomed = keeping_node(&cluster.redis);
        let mut subscribers: Vec<_> = (0..3).filter(|node| *node != doomed).map(|node| cluster.client(node, V5).connect()).collect();
        subscribers.iter_mut().for_each(|subscriber| subscriber.subscribe(&topic, 0));
        let (mut said, before) = (Numbers::default(), keeper(&cluster.redis));
        said.say(&cluster.redis, &topic, 200);
        cluster.node(doomed).kill();
        let follows = || keeper(&cluster.redis).is_some_and(|ear| Some(ear) != before);
        said.until("another node hears", &cluster.redis, &topic, follows);
        let last = said.last(&cluster.redis, &topic);
        for subscriber in &mut subscribers {
            check(&numbers(subscriber, last), last);
            subscriber.expect_nothing();
        }
        cluster.until_buried(2);
        cluster.node(doomed).revive();
        cluster.until_buried(3);
    }
}

/// A node that stands still has heard what it cannot pass on any more when it goes on: another one hears by then.
#[test]
fn a_paused_keeper_passes_nothing_on_when_it_goes_on() {
    let Some(mut cluster) = bridged(2, &[]) else { return };
    let topic = unique("t");
    let paused = keeping_node(&cluster.redis);
    let other = 1 - paused;
    let mut subscriber = cluster.client(other, V5).connect();
    subscriber.subscribe(&topic, 0);
    let (mut said, before) = (Numbers::default(), keeper(&cluster.redis));
    said.say(&cluster.redis, &topic, 100);
    cluster.node(paused).pause();
    // Its connection is open: only its word is missing.
    let follows = || keeper(&cluster.redis).is_some_and(|ear| Some(ear) != before);
    said.until("another node hears", &cluster.redis, &topic, follows);
    said.say(&cluster.redis, &topic, 100);
    cluster.node(paused).resume();
    until("it is back", || cluster.node(paused).has_said("is a member of the cluster"));
    let last = said.last(&cluster.redis, &topic);
    check(&numbers(&mut subscriber, last), last);
    subscriber.expect_nothing();
    assert_eq!(keeping_node(&cluster.redis), other);
}

/// More at once than the keeper can hold: some of it is lost and counted, nothing comes twice, and it goes on by itself.
#[test]
fn a_flood_is_lost_in_part_and_goes_on() {
    const FLOOD: usize = 20_000;
    let Some(mut cluster) = bridged(1, &[]) else { return };
    let topic = unique("t");
    let mut subscriber = cluster.client(0, V5).connect();
    subscriber.subscribe(&topic, 0);
    let mut flood = ::redis::pipe();
    for number in 0..FLOOD {
        flood.cmd("PUBLISH").arg(channel(&topic)).arg(number).ignore();
    }
    let client = ::redis::Client::open(cluster.redis.url()).expect("its address");
    let mut connection = client.get_connection().expect("Redis accepts connections");
    // Echoes between them: an ear that heard with gaps would take some for messages.
    let mut publisher = cluster.client(0, V5).connect();
    std::thread::scope(|scope| {
        scope.spawn(|| flood.exec(&mut connection).expect("published"));
        for number in 0..200 {
            publisher.publish(message("echo", format!("{number}")).qos(1));
        }
    });
    let mut echoes = cluster.client(0, V5).connect();
    echoes.subscribe("echo", 0);
    let mut said = Numbers { next: FLOOD };
    let mut came = Vec::new();
    said.until("what comes after it crosses", &cluster.redis, &topic, || {
        subscriber.fence();
        let taken = std::iter::from_fn(|| subscriber.take_early_publish());
        came.extend(taken.map(|publish| number(&publish.payload)));
        came.last().is_some_and(|last| *last >= FLOOD)
    });
    check(&came, said.next - 1);
    let lost = counter(&mut cluster, 0, "mqttd_bridge_lost_total");
    println!("{lost} are counted as lost");
    assert!(lost > 0 || came.iter().take(FLOOD).copied().eq(0..FLOOD));
    echoes.expect_nothing();
}

/// What is published while Redis is away is lost, and everything after it crosses again by itself. FLUSHALL is the same.
#[test]
fn redis_comes_back_and_so_does_the_bridge() {
    let Some(mut cluster) = bridged(2, &[]) else { return };
    for flushed in [false, true] {
        let before = keeper(&cluster.redis);
        if flushed {
            cluster.redis.query::<()>(&["FLUSHALL"]);
        } else {
            cluster.redis.kill();
            cluster.redis.revive();
        }
        until("the bridge begins anew", || keeper(&cluster.redis).is_some_and(|ear| Some(ear) != before));
        let topic = unique("t");
        let listener = Listener::new(&cluster.redis, &topic);
        let id = unique("c");
        // Whoever connects too early is sent away once more: the nodes notice at different times that all is gone.
        until("both ways are open", || {
            let Some(mut client) = cluster.client(1, V5).id(&id).durable().try_connect(PATIENCE) else { return false };
            client.send(Packet::Subscribe(Box::new(subscribe(1, &[(&topic, 0)]))));
            if !matches!(client.came_within(PATIENCE), Came::Packet(Packet::Suback(_))) {
                return false;
            }
            say(&cluster.redis, &topic, "of Redis");
            client.send(message(&topic, "of MQTT"));
            let mut came = [0; 2].map(|_| match client.came_within(PATIENCE) {
                Came::Packet(Packet::Publish(publish)) => publish.payload,
                _ => Default::default(),
            });
            came.sort();
            came == ["of MQTT", "of Redis"] && listener.heard() > 0
        });
        until_heard(&cluster.redis);
        assert!(cluster.node(0).runs() && cluster.node(1).runs());
    }
    let mut client = cluster.client(0, V5).connect();
    client.subscribe("last", 0);
    say(&cluster.redis, "last", "x");
    receives(&mut client, "last", "x");
    client.expect_nothing();
}
