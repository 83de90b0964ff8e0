use mqttd::session::state::Will;
use mqttd::store::{DUE_LEASE, Due, Lease, Store};

use super::kit::*;

/// A Session without a connection since [`NOW`], for a minute from then.
async fn offline(store: &Store, id: &str, will: Option<Will>) -> Lease {
    let (lease, _) = open(store, id, true, MINUTE, will, NOW).await;
    store.subscribe(&lease, &[subscription("a")]).await.unwrap();
    close(store, &lease, MINUTE, 0, NOW).await;
    lease
}

fn expired(lease: &Lease, will: Option<Will>) -> Due {
    Due::Expired { lease: lease.clone(), will, selectors: vec![selector("a")] }
}

pub(super) async fn a_will_is_leased_until_it_is_done(store: Store) {
    let lease = offline(&store, "c", Some(will(5))).await;
    assert_eq!(store.next_due().await.unwrap(), Some(after(5)));
    assert_eq!(store.due(after(4), ALL).await.unwrap(), []);
    let item = Due::Will { lease: lease.clone(), will: will(5) };
    assert_eq!(store.due(after(5), ALL).await.unwrap(), std::slice::from_ref(&item));
    assert_eq!(store.due(after(6), ALL).await.unwrap(), [], "it is leased");
    let again = after(5) + DUE_LEASE;
    assert_eq!(store.next_due().await.unwrap(), Some(again));
    assert_eq!(store.due(again, ALL).await.unwrap(), [item], "its taker is lost");
    store.will_done(&lease).await.unwrap();
    assert_eq!(store.next_due().await.unwrap(), Some(after(60)));
    assert_eq!(store.due(after(60), ALL).await.unwrap(), [expired(&lease, None)]);
}

pub(super) async fn an_end_is_leased_until_the_purge(store: Store) {
    let lease = offline(&store, "c", None).await;
    assert_eq!(store.due(after(60), ALL).await.unwrap(), [expired(&lease, None)]);
    assert_eq!(store.due(after(61), ALL).await.unwrap(), []);
    let again = after(60) + DUE_LEASE;
    assert_eq!(store.next_due().await.unwrap(), Some(again));
    assert_eq!(store.due(again, ALL).await.unwrap(), [expired(&lease, None)]);
    assert!(store.purge(&lease).await.unwrap());
    assert!(!store.purge(&lease).await.unwrap());
    assert_eq!(store.next_due().await.unwrap(), None);
    let (_, opened) = resume(&store, "c").await;
    assert_eq!((opened.state, opened.ended), (None, vec![]));
}

pub(super) async fn a_will_comes_before_the_end(store: Store) {
    let first = offline(&store, "a", None).await;
    let second = offline(&store, "b", Some(will(60))).await;
    let due = store.due(after(60), ALL).await.unwrap();
    assert_eq!(due.len(), 2, "one item is the will and the end of its Session: {due:?}");
    assert!(due.contains(&expired(&first, None)) && due.contains(&expired(&second, Some(will(60)))));
    store.will_done(&second).await.unwrap();
    assert_eq!(store.due(after(60) + DUE_LEASE, ALL).await.unwrap().into_iter().last(), Some(expired(&second, None)));
}

pub(super) async fn an_end_waits_for_the_will(store: Store) {
    let lease = offline(&store, "c", Some(will(50))).await;
    let item = Due::Will { lease: lease.clone(), will: will(50) };
    // Nobody asked until both were due.
    assert_eq!(store.due(after(70), ALL).await.unwrap(), std::slice::from_ref(&item));
    assert_eq!(store.due(after(80), ALL).await.unwrap(), []);
    assert_eq!(store.due(after(70) + DUE_LEASE, ALL).await.unwrap(), [item], "its taker is lost, and still it comes first");
    store.will_done(&lease).await.unwrap();
    assert_eq!(store.next_due().await.unwrap(), Some(after(60)));
    assert_eq!(store.due(after(101), ALL).await.unwrap(), [expired(&lease, None)]);
}

pub(super) async fn a_session_opened_again_is_not_due(store: Store) {
    let old = offline(&store, "c", Some(will(5))).await;
    let (new, _) = resume(&store, "c").await;
    assert_eq!(store.next_due().await.unwrap(), None);
    assert_eq!(store.due(after(1000), ALL).await.unwrap(), []);

    // Opened again while somebody has the lease on its end.
    close(&store, &new, MINUTE, 0, NOW).await;
    assert_eq!(store.due(after(60), ALL).await.unwrap().len(), 1);
    let (owner, _) = open(&store, "c", false, MINUTE, None, after(61)).await;
    assert!(!store.purge(&new).await.unwrap() && !store.purge(&old).await.unwrap());
    fill(&store, &owner, &["1"]).await;
}

pub(super) async fn an_older_lease_ends_nothing(store: Store) {
    let old = offline(&store, "c", Some(will(5))).await;
    let new = offline(&store, "c", Some(will(6))).await;
    store.will_done(&old).await.unwrap();
    assert!(!store.purge(&old).await.unwrap());
    assert_eq!(store.next_due().await.unwrap(), Some(after(6)));
    assert_eq!(store.due(after(6), ALL).await.unwrap(), [Due::Will { lease: new, will: will(6) }]);
}

pub(super) async fn a_page_of_due_items_has_a_limit(store: Store) {
    for number in 0..10 {
        offline(&store, &format!("c{number}"), None).await;
    }
    let mut found = 0;
    for expected in [4, 4, 2, 0] {
        let due = store.due(after(60), 4).await.unwrap();
        assert_eq!(due.len(), expected);
        found += due.len();
    }
    assert_eq!(found, 10);
}
