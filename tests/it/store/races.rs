use std::sync::Arc;

use mqttd::store::{Close, Store, Written};
use mqttd::time::Span;
use tokio::task::JoinSet;

use super::kit::*;

const TASKS: usize = 8;

pub(super) async fn of_two_that_open_one_is_the_owner(store: Store) {
    let store = Arc::new(store);
    for round in 0..50 {
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            let store = store.clone();
            tasks.spawn(async move { open(&store, "c", round % 2 == 0, MINUTE, None, NOW).await });
        }
        let opened = tasks.join_all().await;
        let last = opened.iter().max_by_key(|(lease, _)| lease.epoch).unwrap().0.clone();
        let mut epochs: Vec<_> = opened.iter().map(|(lease, _)| lease.epoch).collect();
        epochs.sort();
        epochs.dedup();
        assert_eq!(epochs.len(), TASKS, "each has an epoch of its own");
        let unowned = opened.iter().filter(|(_, opened)| !opened.was_owned).count();
        assert_eq!(unowned, 1, "all but the first take it from another");
        for (lease, _) in &opened {
            let closed = close(&store, lease, MINUTE, 0, NOW).await;
            assert_eq!(closed.was_owner, *lease == last);
        }
    }
}

pub(super) async fn appends_go_on_while_a_session_is_taken_over(store: Store) {
    const MESSAGES: usize = 500;
    let store = Arc::new(store);
    resume(&store, "c").await;
    let mut tasks = JoinSet::new();
    for publisher in 0..4 {
        let store = store.clone();
        tasks.spawn(async move {
            for number in 0..MESSAGES {
                let payload = format!("{publisher}:{number}");
                assert_eq!(write(&store, append(&lease("c", 0), &run(&[&payload]))).await, Written::Done);
            }
        });
    }
    let takers = store.clone();
    tasks.spawn(async move {
        for _ in 0..100 {
            let (lease, opened) = resume(&takers, "c").await;
            assert!(opened.state.is_some());
            takers.read(&lease, 0, 10, NOW).await.unwrap();
            takers.close(&lease, Close { keep_will: true, will_waits: Span(0), expiry: MINUTE, sent: 0 }, NOW).await.unwrap();
        }
    });
    tasks.join_all().await;

    let (lease, _) = resume(&store, "c").await;
    let stored = read(&store, &lease, 0).await;
    assert!(sequences(&stored).windows(2).all(|pair| pair[0] + 1 == pair[1]), "no gap");
    for publisher in 0..4 {
        let prefix = format!("{publisher}:");
        let found: Vec<_> = payloads(&stored).into_iter().filter_map(|payload| payload.strip_prefix(&prefix).map(str::to_owned)).collect();
        let expected: Vec<_> = (0..MESSAGES).map(|number| number.to_string()).collect();
        assert_eq!(found, expected, "the order of each publisher");
    }
}

pub(super) async fn a_due_item_has_one_taker(store: Store) {
    const SESSIONS: usize = 200;
    let store = Arc::new(store);
    for number in 0..SESSIONS {
        let (lease, _) = open(&store, &format!("c{number}"), true, MINUTE, Some(will(60)), NOW).await;
        close(&store, &lease, MINUTE, 0, NOW).await;
    }
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            let mut found = 0;
            for _ in 0..SESSIONS {
                found += store.due(after(60), 3).await.unwrap().len();
            }
            found
        });
    }
    assert_eq!(tasks.join_all().await.into_iter().sum::<usize>(), SESSIONS);
}

pub(super) async fn a_purge_and_an_open_agree(store: Store) {
    let store = Arc::new(store);
    for round in 0..100 {
        let id = format!("c{round}");
        let (old, _) = resume(&store, &id).await;
        close(&store, &old, MINUTE, 0, NOW).await;
        let (one, two) = (store.clone(), store.clone());
        let purge = tokio::spawn(async move { one.purge(&old).await.unwrap() });
        let open = tokio::spawn(async move { resume(&two, &id).await });
        let (purged, (lease, opened)) = (purge.await.unwrap(), open.await.unwrap());
        assert_eq!(purged, opened.state.is_none(), "the Session was ended or resumed, not both");
        assert_eq!(write(&store, append(&lease, &run(&["1"]))).await, Written::Done);
    }
}
