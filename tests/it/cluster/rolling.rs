//! Every node of a cluster is restarted, one after the other, under load.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use mqttd_tests::client::Came;
use mqttd_tests::cluster::{Cluster, PATIENCE, until};
use mqttd_tests::connecting::Connecting;
use mqttd_tests::*;

use super::load::{self, Checker, Publisher};

const TOPICS: usize = 3;
const MESSAGES: usize = 6000;
const SUBSCRIBERS: usize = 6;

/// Stays connected, wherever that is possible, until it has everything; its last connection goes to whoever joins it.
fn stay(connecting: Connecting, mut nodes: Vec<SocketAddr>, topic: String, level: u8) -> JoinHandle<(Checker, Client)> {
    let connect = move |nodes: &mut Vec<SocketAddr>| loop {
        if let Some(client) = connecting.clone().to(nodes[0]).try_connect(PATIENCE) {
            return client;
        }
        nodes.rotate_left(1);
    };
    let mut client = connect(&mut nodes);
    client.subscribe(&format!("{topic}/+"), level);
    std::thread::spawn(move || {
        let mut subscriber = load::Subscriber::default();
        while !subscriber.checker.is_complete(TOPICS, MESSAGES) {
            if !subscriber.take(&mut client) {
                nodes.rotate_left(1);
                client = connect(&mut nodes);
                assert!(client.session_present(), "the Session is gone");
            }
        }
        (subscriber.checker, client)
    })
}

/// FEATURES.md section 8: nothing that was acknowledged is lost, no will of a client that moved is published, and every client is back.
#[test]
fn a_rolling_restart_loses_nothing() {
    let Some(mut cluster) = Cluster::with(3, &[("MQTTD_DRAIN__TIME_S", "1")]) else { return };
    let nodes: Vec<SocketAddr> = (0..3).map(|node| cluster.address(node)).collect();
    let from = |number: usize| (0..3).map(|next| nodes[(number + next) % 3]).collect::<Vec<_>>();
    let (topic, wills) = (unique("t"), unique("wills"));
    let watcher = unique("watcher");
    let mut watching = cluster.durable(0, V5, &watcher);
    watching.subscribe(&wills, 1);
    watching.disconnect();
    let subscribers: Vec<_> = (0..SUBSCRIBERS)
        .map(|number| {
            let connecting = Connecting::new(nodes[number % 3], V5).durable().will(message(&wills, "a will").qos(1));
            stay(connecting, from(number), topic.clone(), 1 + (number % 2) as u8)
        })
        .collect();
    let publishers = (0..TOPICS).map(|number| Publisher::new(V5, &from(number), &format!("{topic}/{number}"), 1, MESSAGES));
    let outcome = load::start(publishers.collect());
    for node in 0..3 {
        let admin = cluster.node(node).admin();
        cluster.node(node).terminate();
        cluster.node(node).ended();
        cluster.node(node).restart();
        until("the node is ready again", || admin.get("/readyz").code == 200);
    }
    let resumptions: Vec<usize> =
        (0..TOPICS).map(|_| outcome.recv_timeout(PATIENCE).expect("a publisher comes to its end").resumptions).collect();
    let ended: Vec<(Checker, Client)> = subscribers.into_iter().map(|thread| thread.join().expect("a subscriber has everything")).collect();
    let connected: u64 = (0..3).map(|node| cluster.node(node).admin().get("/health").json(200)["connections"].as_u64().unwrap()).sum();
    assert_eq!(connected as usize, SUBSCRIBERS, "every client is back");
    let total: usize = ended.iter().map(|(checker, _)| checker.total()).sum();
    assert_eq!(total, TOPICS * MESSAGES * SUBSCRIBERS);
    assert!(resumptions.iter().sum::<usize>() >= 3, "the restarts were under load: {resumptions:?}");
    println!("{total} messages, none lost; publishers resumed {resumptions:?} times");
    ended.into_iter().for_each(|(_, client)| client.disconnect());
    cluster.client(0, V5).connect().publish(message(&wills, "the end").qos(1));
    let mut watching = cluster.durable(0, V5, &watcher);
    match watching.next_event() {
        Came::Packet(Packet::Publish(came)) => assert_eq!(&*came.payload, b"the end"),
        other => watching.fail("the end, and no will", &other),
    }
}
