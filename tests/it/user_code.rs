//! What code of an embedding program may do to its node: block, hang, panic, flood. Each has a bound, is counted, and is no other client's trouble.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use mqttd::{Client as Who, Message as Said, Node};
use mqttd_tests::cluster::until;
use mqttd_tests::*;

const DEADLINE: Duration = Duration::from_millis(200);

/// Work that blocks, where it belongs: its own client waits for it, and nobody else; then the deadline ends the wait.
#[test]
fn work_that_blocks_can_be_put_aside() {
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let wait = move || {
        let held = held.clone();
        async move {
            let work = tokio::task::spawn_blocking(move || held.lock().unwrap().recv());
            work.await.map(|_| ()).map_err(|_| Reason::UNSPECIFIED_ERROR)
        }
    };
    let (broker, handle) = Broker::embed(Node::builder().deadline(Duration::from_secs(60)).on_publish("work", wait));
    let release = release; // the broker waits at its end for what blocks: this ends before it, also where something is missing
    let (mut worker, mut other) = broker.pair(V5);
    other.subscribe("fine", 1);
    worker.send(message("work", "x").qos(1).id(1));
    for number in 0..100 {
        other.publish(message("fine", number.to_string()).qos(1));
        other.receive(message("fine", number.to_string()).qos(1));
    }
    release.send(()).unwrap();
    worker.expect_ack(Kind::Puback, 1, Reason::NO_MATCHING_SUBSCRIBERS);
    assert_eq!(handle.metrics().hook_blocks.load(Relaxed), 0);
}

/// A handler that blocks its thread cannot be interrupted: it is told and counted afterwards, and the node goes on.
#[test]
fn a_handler_that_blocks_its_thread_is_counted() {
    let block = || async {
        let begun = Instant::now();
        while begun.elapsed() < 2 * DEADLINE {
            std::hint::spin_loop();
        }
    };
    let builder = Node::builder().deadline(DEADLINE).on_publish("block", block).on_deliver("late", block).on_connect(|who: Who| {
        let begun = Instant::now();
        while who.id() == "slow" && begun.elapsed() < 2 * DEADLINE {
            std::hint::spin_loop();
        }
        async {}
    });
    let (broker, handle) = Broker::embed(builder);
    let (mut publisher, mut other) = broker.pair(V5);
    other.subscribe("#", 1);
    let blocks = || handle.metrics().hook_blocks.load(Relaxed);
    assert_eq!(blocks(), 0);
    publisher.publish(message("block", "x").qos(1));
    other.receive(message("block", "x").qos(1));
    until("it is counted", || blocks() == 1);
    publisher.publish(message("late", "x").qos(1));
    other.receive(message("late", "x").qos(1));
    until("that too", || blocks() == 2);
    broker.client(V5).id("slow").connect().disconnect();
    until("and that", || blocks() == 3);
    publisher.publish(message("fine", "x").qos(1));
    other.receive(message("fine", "x").qos(1));
}

/// Before CONNACK there is a deadline too, and a panic is a refusal; each is counted exactly.
#[test]
fn on_connect_may_hang_and_panic() {
    async fn admit(who: Who) {
        match who.id() {
            "hang" => std::future::pending().await,
            "fall" => panic!("a test of what a panic does"),
            _ => {}
        }
    }
    let (broker, handle) = Broker::embed(Node::builder().deadline(DEADLINE).on_connect(admit));
    for version in VERSIONS {
        let refused = if version == V5 { Reason::IMPLEMENTATION_SPECIFIC_ERROR } else { Reason::SERVER_UNAVAILABLE };
        for id in ["hang", "fall"] {
            broker.client(version).id(id).refused(refused);
        }
        broker.client(version).id("fine").connect().disconnect();
    }
    let counted = [&handle.metrics().hook_timeouts, &handle.metrics().hook_panics].map(|counter| counter.load(Relaxed) as usize);
    assert_eq!(counted, [VERSIONS.len(); 2]);
    until("no place is left taken", || handle.metrics().places_taken.load(Relaxed) == 0);
}

/// The Session is given back before `on_disconnect` is asked: a handler that hangs holds up nobody, and the node ends in spite of it.
#[test]
fn on_disconnect_may_hang() {
    let (broker, handle) = Broker::embed(Node::builder().deadline(DEADLINE).on_disconnect(std::future::pending::<()>));
    let mut client = broker.client(V5).id("c").durable().connect();
    client.subscribe("t", 1);
    client.disconnect();
    let mut again = broker.client(V5).id("c").resume().connect();
    assert!(again.session_present());
    again.publish(message("t", "x").qos(1));
    again.receive(message("t", "x").qos(1));
    until("it is given up", || handle.metrics().hook_timeouts.load(Relaxed) == 1);
}

/// Who was let in is told of once when it is gone, also when it was not given its Session after all; who was not let in is not.
#[test]
fn every_client_that_was_let_in_is_told_of_once() {
    let (told, heard) = mpsc::channel();
    let note = move |who: Who, reason: Reason| {
        let told = told.clone();
        async move { told.send((who.id().to_owned(), reason)).unwrap() }
    };
    let admit = |who: Who| async move { if who.id() == "stranger" { Err(Reason::NOT_AUTHORIZED) } else { Ok(()) } };
    let (broker, _) = Broker::embed(Node::builder().on_connect(admit).on_disconnect(note));
    broker.client(V5).id("stranger").refused(Reason::NOT_AUTHORIZED);
    // No CONNACK fits into what it takes: it was let in, and is not in.
    broker.client(V5).id("small").maximum_packet_size(2).send().expect_closed();
    broker.client(V5).id("last").connect().disconnect();
    let mut both = [(); 2].map(|()| heard.recv_timeout(client::DEADLINE).unwrap());
    both.sort();
    assert_eq!(both, [("last".to_owned(), Reason::SUCCESS), ("small".to_owned(), Reason::PACKET_TOO_LARGE)]);
    drop(broker);
    assert_eq!(heard.try_iter().count(), 0);
}

/// A handler that publishes without end, to somebody who does not read: other clients go on, and what waits is bounded.
#[test]
fn a_flood_from_a_handler_is_bounded() {
    const MESSAGES_MAX: usize = 100;
    static HANDLE: std::sync::OnceLock<mqttd::Handle> = std::sync::OnceLock::new();
    async fn flood() {
        let payload = vec![0u8; 16 * 1024];
        for _ in 0..2000 {
            let said = Said::new("flood", payload.clone()).expect("a Topic Name");
            let _ = HANDLE.get().expect("it is set").publish(said).await;
        }
    }
    let builder = Node::builder().deadline(Duration::from_secs(60)).set("limits.mailbox_messages_max", MESSAGES_MAX.to_string());
    let (broker, handle) = Broker::embed_administered(builder.on_publish("begin", flood));
    HANDLE.set(handle.clone()).expect("it is set once");
    let mut slow = broker.client(V5).id("slow").connect();
    slow.subscribe("flood", 0);
    let (mut publisher, mut other) = broker.pair(V5);
    other.subscribe("fine", 1);
    publisher.send(message("begin", "x").qos(1).id(1));
    until("it is well under way", || {
        other.publish(message("fine", "x").qos(1));
        other.receive(message("fine", "x").qos(1));
        let dropped = handle.metrics().messages_dropped_slow.load(Relaxed);
        let waits = broker.admin().get("/api/v1/clients/slow").json(200)["mailbox_messages"].as_u64().unwrap_or_default() as usize;
        assert!(waits <= MESSAGES_MAX, "{waits} wait");
        dropped > 500
    });
    publisher.expect_ack(Kind::Puback, 1, Reason::NO_MATCHING_SUBSCRIBERS);
}

/// Past its deadline a shutdown takes no more time: nothing is spread, and what hangs is left.
#[test]
fn a_shutdown_ends_at_its_deadline() {
    let builder = Node::builder().set("drain.grace_s", "3600").set("drain.time_s", "3600");
    let (broker, handle) = Broker::embed(builder);
    let mut clients: Vec<_> = (0..40).map(|_| broker.client(V5).connect()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let ended = std::thread::spawn(move || runtime.block_on(handle.shutdown(Duration::from_millis(100))));
    clients.iter_mut().for_each(|client| client.expect_disconnect(Reason::SERVER_SHUTTING_DOWN));
    drop(clients);
    assert!(ended.join().expect("it comes back"));
}
