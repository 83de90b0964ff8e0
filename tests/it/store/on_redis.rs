//! What only the store on Redis has to take care of: names in keys, bounds without a count, two nodes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mqttd::message::{Message, Run};
use mqttd::packet::{PacketId, QoS};
use mqttd::store::redis::{Limits, Settings};
use mqttd::store::{Due, Open, Store, StoreError, Write, Written};
use mqttd::time::Span;
use mqttd_tests::deployment::{Deployment, Kind};
use mqttd_tests::redis::Redis;
use mqttd_tests::unique;

use super::kit::*;

const LIMITS: Limits = Limits { queue_messages_max: 5, retained_max: 2 };

async fn connect(prefix: &str) -> Option<Store> {
    let url = Redis::shared()?.url();
    Some(connected(Settings { prefix: prefix.to_owned(), limits: LIMITS, ..settings(url) }).await)
}

#[tokio::test]
async fn any_client_id_names_a_session_of_its_own() {
    let Some(store) = redis().await else { return };
    let long = "é".repeat(32_767);
    let ids = ["", "%", "%25", "}", "{a", "{a}", "}{", ":s", "a:queue", "__proto__", " ", "\r\n", "*", &long];
    for id in ids {
        let (lease, opened) = open(&store, id, false, MINUTE, Some(will(60)), NOW).await;
        assert!(opened.state.is_none() && !opened.was_owned, "{id:?}");
        store.subscribe(&lease, &[subscription("a"), subscription("$share/{x}/%/#")]).await.unwrap();
        let queue = fill(&store, &lease, &["1", "2"]).await;
        write(&store, release(&lease, queue[0])).await;
        write(&store, Write::Receive { of: lease.clone(), packet_id: PacketId::MAX, pending: None }).await;
        close(&store, &lease, MINUTE, queue[1], NOW).await;
    }
    let due = store.due(after(60), ALL).await.unwrap();
    assert_eq!(due.len(), ids.len());
    assert!(due.iter().all(|item| matches!(item, Due::Expired { will: Some(_), selectors, .. } if selectors.len() == 2)), "{due:?}");
    for id in ids {
        let (lease, opened) = resume(&store, id).await;
        let state = opened.state.expect(id);
        assert_eq!((state.subscriptions.len(), state.received.len(), state.released.len()), (2, 1, 1), "{id:?}");
        assert_eq!(payloads(&read(&store, &lease, 0).await), ["2"], "{id:?}");
    }
    assert_eq!(store.next_due().await.unwrap(), None);
}

#[tokio::test]
async fn a_full_queue_keeps_what_fits() {
    let Some(store) = redis_with(LIMITS).await else { return };
    let (lease, _) = resume(&store, "c").await;
    assert_eq!(write(&store, append(&lease, &run(&["1", "2", "3"]))).await, Written::Done);
    assert_eq!(write(&store, append(&lease, &run(&["4", "5", "6"]))).await, Written::QueueFull);
    let stored = read(&store, &lease, 0).await;
    assert_eq!(payloads(&stored), ["1", "2", "3", "4", "5"]);
    assert_eq!(store.stats().await.unwrap().dropped_full, 1);
    let both = vec![acknowledge(&lease, stored[0].sequence), append(&lease, &run(&["7"]))];
    assert_eq!(store.write(both, NOW).await.unwrap(), [Written::Done, Written::Done], "what is acknowledged makes room");
}

#[tokio::test]
async fn a_queue_of_usual_size_is_bounded_too() {
    let limits = Limits { queue_messages_max: 80, ..LIMITS };
    let Some(store) = redis_with(limits).await else { return };
    let (lease, _) = resume(&store, "c").await;
    let ten = run(&["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    for _ in 0..8 {
        assert_eq!(write(&store, append(&lease, &ten)).await, Written::Done);
    }
    assert_eq!(write(&store, append(&lease, &ten)).await, Written::QueueFull);
    assert_eq!(read(&store, &lease, 0).await.len(), 80);
}

#[tokio::test]
async fn what_has_expired_makes_room() {
    let Some(store) = redis_with(LIMITS).await else { return };
    let (lease, _) = resume(&store, "c").await;
    let expiring = (0..5).map(|n| message(&format!("{n}"), QoS::AtLeastOnce, (n < 2).then(|| after(1)))).collect();
    write(&store, append(&lease, &Arc::new(Run::new(expiring)))).await;
    let later = store.write(vec![append(&lease, &run(&["5", "6", "7"]))], after(1)).await.unwrap();
    assert_eq!(later, [Written::QueueFull]);
    assert_eq!(payloads(&store.read(&lease, 0, ALL, after(1)).await.unwrap()), ["2", "3", "4", "5", "6"]);
}

#[tokio::test]
async fn retained_messages_are_bounded() {
    let Some(store) = redis_with(LIMITS).await else { return };
    let retain = async |name: &str, at| {
        let message = Message { topic: topic(name), ..message("x", QoS::AtMostOnce, at) };
        store.retain(&topic(name), Some(Arc::new(Run::from(message))), NOW).await
    };
    assert_eq!((retain("a", None).await, retain("b", Some(after(0))).await), (Ok(()), Ok(())));
    assert_eq!(retain("c", None).await, Ok(()), "what has expired made room");
    assert_eq!(retain("d", None).await, Err(StoreError::Full));
    assert_eq!(retain("a", None).await, Ok(()), "a known one can be replaced");
    store.retain(&topic("a"), None, NOW).await.unwrap();
    assert_eq!(retain("d", None).await, Ok(()));
}

#[tokio::test]
async fn two_nodes_share_a_prefix_and_no_others() {
    let prefix = unique("test");
    let (Some(one), Some(two)) = (connect(&prefix).await, connect(&prefix).await) else { return };
    let (lease, _) = open(&one, "c", false, MINUTE, Some(will(5)), NOW).await;
    assert_eq!(write(&two, append(&lease, &run(&["1"]))).await, Written::Done);
    assert_eq!(payloads(&read(&one, &lease, 0).await), ["1"]);
    close(&one, &lease, MINUTE, 0, NOW).await;
    assert_eq!(two.due(after(5), ALL).await.unwrap().len(), 1);
    assert_eq!(one.due(after(5), ALL).await.unwrap(), [], "the other has it");
    assert!(two.open(&lease.client_id, Open { clean_start: false, expiry: MINUTE, will: None }, NOW + Span(1)).await.is_ok());
    assert_eq!(one.next_due().await.unwrap(), None);

    let other = connect(&unique("test")).await.expect("it was there a moment ago");
    assert!(resume(&other, "c").await.1.state.is_none());
}

#[tokio::test]
async fn without_memory_nothing_is_added_and_everything_can_end() {
    let Some(server) = Redis::start() else { return };
    let limits = Limits { queue_messages_max: 100_000, retained_max: 100_000 };
    let store = connected(Settings { limits, ..settings(server.url()) }).await;
    let (lease, _) = open(&store, "c", false, MINUTE, Some(will(5)), NOW).await;
    let large = "x".repeat(100_000);
    let big = run(&[&large]);
    for _ in 0..40 {
        assert_eq!(write(&store, append(&lease, &big)).await, Written::Done);
    }
    // Less than is held: nothing is added from here on.
    let admin = redis::Client::open(server.url()).unwrap();
    let limit = async |bytes: &str| {
        let mut connection = admin.get_multiplexed_async_connection().await.unwrap();
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).exec_async(&mut connection).await.unwrap();
    };
    limit("2mb").await;
    assert_eq!(write(&store, append(&lease, &big)).await, Written::StoreFull);
    let refused = Open { clean_start: false, expiry: MINUTE, will: None };
    assert_eq!(store.open(&client("new"), refused, NOW).await.unwrap_err(), StoreError::Full);
    assert_eq!(write(&store, Write::Receive { of: lease.clone(), packet_id: PacketId::MAX, pending: None }).await, Written::StoreFull);

    close(&store, &lease, MINUTE, 0, NOW).await;
    assert_eq!(store.due(after(5), ALL).await.unwrap().len(), 1);
    store.will_done(&lease).await.unwrap();
    let queue = sequences(&store.read(&lease, 0, 4, NOW).await.unwrap());
    let writes = vec![release(&lease, queue[0]), acknowledge(&lease, queue[1]), acknowledge(&lease, queue[2]), complete(&lease, queue[0])];
    assert_eq!(store.write(writes, NOW).await.unwrap(), [Written::Done; 4]);
    limit("100mb").await;
    assert_eq!(write(&store, append(&lease, &run(&["1"]))).await, Written::Done, "there is room again");
    assert!(store.purge(&lease).await.unwrap());
    assert_eq!(store.next_due().await.unwrap(), None);
}

#[tokio::test]
async fn every_primary_has_the_functions_and_gets_them_again() {
    let Some(redis) = Deployment::start(Kind::Cluster) else { return };
    let store = connected(settings(redis.url())).await;
    let libraries = |server: &Redis| server.query::<Vec<redis::Value>>(&["FUNCTION", "LIST"]).len();
    assert!(redis.servers.iter().all(|server| libraries(server) == 2));
    redis.servers.iter().for_each(|server| server.query::<()>(&["FUNCTION", "FLUSH"]));
    let ids: Vec<String> = (0..12).map(|number| format!("client{number}")).collect();
    for id in &ids {
        // The call that finds them missing is not done; the next one is.
        let id = client(id);
        let open = || store.open(&id, Open { clean_start: false, expiry: MINUTE, will: None }, NOW);
        if open().await.is_err() {
            open().await.unwrap();
        }
    }
    assert!(redis.servers.iter().all(|server| libraries(server) >= 1));
}

#[tokio::test]
async fn a_library_of_another_text_is_replaced_and_one_of_another_version_stays() {
    let Some(redis) = Redis::start() else { return };
    let load = |name: &str| {
        let code = format!("#!lua name={name}\nredis.register_function('{name}_open', function() return 'not ours' end)");
        redis.query::<String>(&["FUNCTION", "LOAD", "REPLACE", &code])
    };
    // Names, and whether the text is ours.
    let libraries = || {
        let listed = redis.query::<Vec<HashMap<String, redis::Value>>>(&["FUNCTION", "LIST", "WITHCODE"]);
        let text = |library: &HashMap<String, redis::Value>, field| redis::from_redis_value::<String>(library[field].clone()).unwrap();
        let is_ours = |library| !text(library, "library_code").contains("not ours");
        listed.iter().map(|library| (text(library, "library_name"), is_ours(library))).collect::<BTreeMap<_, _>>()
    };
    let before = load("mqttd_of_before");
    drop(connected(settings(redis.url())).await);
    let loaded = libraries();
    assert_eq!(loaded.values().filter(|is_ours| **is_ours).count(), 2);
    loaded.keys().for_each(|name| drop(load(name)));
    assert!(libraries().values().all(|is_ours| !is_ours));
    let store = connected(settings(redis.url())).await;
    store.open(&client("c"), Open { clean_start: false, expiry: MINUTE, will: None }, NOW).await.unwrap();
    assert_eq!(libraries(), loaded);
    assert!(!loaded[&before]);
}
