use mqttd::packet::PacketId;
use mqttd::session::state::State;
use mqttd::store::{Closed, Opened, Store, Write, Written};
use mqttd::subscription::Subscription;
use mqttd::time::Span;

use super::kit::*;

const ENDED: Closed = Closed { was_owner: true, due_will: None, ended: true };
const KEPT: Closed = Closed { was_owner: true, due_will: None, ended: false };

pub(super) async fn a_new_session_has_no_state(store: Store) {
    let (_, opened) = resume(&store, "c").await;
    assert!(matches!(opened, Opened { state: None, was_owned: false, due_will: None, .. }));
    assert!(opened.ended.is_empty());
}

pub(super) async fn an_epoch_is_never_used_twice(store: Store) {
    let mut epochs = Vec::new();
    for (clean_start, expiry) in [(false, MINUTE), (false, MINUTE), (true, MINUTE), (false, ZERO), (false, ZERO), (true, MINUTE)] {
        let (lease, opened) = open(&store, "c", clean_start, expiry, None, NOW).await;
        epochs.push(opened.epoch);
        if epochs.len() % 2 == 0 {
            close(&store, &lease, expiry, 0, NOW).await;
        }
    }
    assert!(store.purge(&lease("c", *epochs.last().unwrap())).await.unwrap());
    epochs.push(resume(&store, "c").await.1.epoch);
    assert!(epochs.windows(2).all(|pair| pair[0] < pair[1]), "{epochs:?}");
}

pub(super) async fn a_session_is_resumed_with_its_state(store: Store) {
    let (lease, _) = resume(&store, "c").await;
    store.subscribe(&lease, &[subscription("b"), subscription("a/#"), subscription("$share/g/a")]).await.unwrap();
    store.unsubscribe(&lease, &[selector("b"), selector("never")]).await.unwrap();
    let queue = fill(&store, &lease, &["1", "2", "3"]).await;
    write(&store, release(&lease, queue[1])).await;
    write(&store, Write::Receive { of: lease.clone(), packet_id: PacketId::MAX, pending: None }).await;
    assert_eq!(close(&store, &lease, MINUTE, queue[1], NOW).await, KEPT);

    let (lease, opened) = open(&store, "c", false, MINUTE, None, after(59)).await;
    let mut state = opened.state.expect("the Session is there");
    state.subscriptions.sort_by_key(|subscription| subscription.selector.clone());
    let mut subscriptions = vec![subscription("a/#"), subscription("$share/g/a")];
    subscriptions.sort_by_key(|subscription| subscription.selector.clone());
    assert_eq!(state, State { subscriptions, received: vec![PacketId::MAX], released: vec![queue[1]], sent: queue[1] });
    assert_eq!((opened.was_owned, opened.ended), (false, vec![]));
    assert_eq!(payloads(&read(&store, &lease, 0).await), ["1", "3"]);
}

pub(super) async fn a_clean_start_ends_the_session(store: Store) {
    let (lease, _) = resume(&store, "c").await;
    store.subscribe(&lease, &[subscription("a")]).await.unwrap();
    fill(&store, &lease, &["1"]).await;
    let (lease, opened) = open(&store, "c", true, MINUTE, None, NOW).await;
    assert_eq!((opened.state, opened.was_owned, opened.ended), (None, true, vec![selector("a")]));
    assert!(read(&store, &lease, 0).await.is_empty());

    close(&store, &lease, MINUTE, 0, NOW).await;
    let state = resume(&store, "c").await.1.state.expect("the new one is there");
    assert_eq!((state.subscriptions, state.received, state.released), (vec![], vec![], vec![]));
}

pub(super) async fn a_session_of_expiry_zero_has_no_queue(store: Store) {
    let (lease, _) = open(&store, "c", false, ZERO, None, NOW).await;
    assert_eq!(write(&store, append(&lease, &run(&["1"]))).await, Written::NoSession);
    assert!(read(&store, &lease, 0).await.is_empty());
    assert_eq!(close(&store, &lease, ZERO, 0, NOW).await, ENDED);
    assert_eq!(close(&store, &lease, ZERO, 0, NOW).await, Closed::default(), "only once");
    assert_eq!(open(&store, "c", false, ZERO, None, NOW).await.1.state, None);
}

pub(super) async fn a_session_of_expiry_zero_ends_when_it_is_taken_over(store: Store) {
    open(&store, "c", false, ZERO, None, NOW).await;
    let (lease, opened) = resume(&store, "c").await;
    assert!(opened.was_owned && opened.state.is_none());
    assert_eq!(write(&store, append(&lease, &run(&["1"]))).await, Written::Done, "the new one has a queue");
}

pub(super) async fn a_session_resumed_with_expiry_zero_keeps_its_queue_to_the_end(store: Store) {
    let (lease, _) = resume(&store, "c").await;
    store.subscribe(&lease, &[subscription("a")]).await.unwrap();
    fill(&store, &lease, &["1"]).await;
    let (lease, opened) = open(&store, "c", false, ZERO, None, NOW).await;
    assert!(opened.state.is_some());
    fill(&store, &lease, &["2"]).await;
    assert_eq!(payloads(&read(&store, &lease, 0).await), ["1", "2"]);
    let (lease, opened) = resume(&store, "c").await;
    assert_eq!((opened.state, opened.ended), (None, vec![selector("a")]), "it ended with the connection that was taken over");
    assert!(read(&store, &lease, 0).await.is_empty());
}

pub(super) async fn an_expired_session_is_as_good_as_purged(store: Store) {
    let (lease, _) = resume(&store, "c").await;
    store.subscribe(&lease, &[subscription("a")]).await.unwrap();
    close(&store, &lease, MINUTE, 0, NOW).await;
    let just_before = store.write(vec![append(&lease, &run(&["1"]))], after(60) - Span(1)).await.unwrap();
    assert_eq!(just_before, [Written::Done]);
    // Whether it still finds the Session or not, nobody will ever read it.
    store.write(vec![append(&lease, &run(&["2"]))], after(60)).await.unwrap();

    let (lease, opened) = open(&store, "c", false, MINUTE, None, after(60)).await;
    assert_eq!((opened.state, opened.was_owned, opened.ended), (None, false, vec![selector("a")]));
    assert!(read(&store, &lease, 0).await.is_empty());
}

pub(super) async fn a_session_without_expiry_never_ends(store: Store) {
    let (lease, _) = open(&store, "c", false, None, None, NOW).await;
    close(&store, &lease, None, 0, NOW).await;
    assert_eq!(store.next_due().await.unwrap(), None);
    assert!(open(&store, "c", false, None, None, after(u32::MAX)).await.1.state.is_some());
}

pub(super) async fn a_close_may_change_the_expiry_but_not_from_zero(store: Store) {
    // Opened with, closed with, ended, due.
    let rows = [
        (MINUTE, ZERO, ENDED, None),
        (None, ZERO, ENDED, None),
        (MINUTE, None, KEPT, None),
        (None, MINUTE, KEPT, Some(after(60))),
        (MINUTE, Some(Span::seconds(5)), KEPT, Some(after(5))),
        (ZERO, MINUTE, ENDED, None), // a Protocol Error that the session refuses (section 3.14.2.2.2)
    ];
    for (opened_with, closed_with, expected, due) in rows {
        let (lease, _) = open(&store, "c", true, opened_with, None, NOW).await;
        assert_eq!(close(&store, &lease, closed_with, 0, NOW).await, expected, "{opened_with:?} {closed_with:?}");
        assert_eq!(store.next_due().await.unwrap(), due, "{opened_with:?} {closed_with:?}");
    }
}

pub(super) async fn an_older_owner_changes_nothing(store: Store) {
    let (old, _) = resume(&store, "c").await;
    let (new, opened) = open(&store, "c", false, MINUTE, Some(will(0)), NOW).await;
    assert!(opened.was_owned);
    store.subscribe(&new, &[subscription("kept")]).await.unwrap();
    write(&store, Write::Receive { of: new.clone(), packet_id: PacketId::MIN, pending: None }).await;
    fill(&store, &new, &["1"]).await;

    assert_eq!(close(&store, &old, ZERO, 0, NOW).await, Closed::default());
    store.subscribe(&old, &[subscription("late")]).await.unwrap();
    store.unsubscribe(&old, &[selector("kept")]).await.unwrap();
    assert_eq!(write(&store, Write::Receive { of: old.clone(), packet_id: PacketId::MAX, pending: None }).await, Written::NoSession);
    write(&store, Write::Forget { of: old.clone(), packet_id: PacketId::MIN }).await;
    store.will_done(&old).await.unwrap();
    assert!(!store.purge(&old).await.unwrap());
    assert!(!store.purge(&new).await.unwrap(), "it has a connection");
    assert!(read(&store, &old, 0).await.is_empty());

    let closed = close(&store, &new, MINUTE, 0, NOW).await;
    assert_eq!((closed.was_owner, closed.due_will.is_some()), (true, true));
    let (lease, opened) = resume(&store, "c").await;
    let state = opened.state.unwrap();
    assert_eq!((state.subscriptions, state.received), (vec![subscription("kept")], vec![PacketId::MIN]));
    assert_eq!(payloads(&read(&store, &lease, 0).await), ["1"]);
}

pub(super) async fn a_subscription_replaces_the_one_with_its_selector(store: Store) {
    let (lease, _) = resume(&store, "c").await;
    store.subscribe(&lease, &[subscription("a"), subscription("$share/g/a")]).await.unwrap();
    let second = Subscription { id: Some(7), ..subscription("a") };
    store.subscribe(&lease, std::slice::from_ref(&second)).await.unwrap();
    let mut found = resume(&store, "c").await.1.state.unwrap().subscriptions;
    found.sort_by_key(|subscription| subscription.id);
    assert_eq!(found, [subscription("$share/g/a"), second]);
}
