use std::collections::BTreeSet;
use std::sync::Arc;

use mqttd::message::{Message, Run};
use mqttd::packet::QoS;
use mqttd::store::Store;
use mqttd::time::Time;

use super::kit::*;

async fn set(store: &Store, name: &str, payload: &str, expires_at: Option<Time>) {
    let message = Message { topic: topic(name), retain: true, ..message(payload, QoS::AtLeastOnce, expires_at) };
    store.retain(&topic(name), Some(Arc::new(Run::from(message))), NOW).await.unwrap();
}

/// All pages of this size, as Topic Names and payloads.
async fn pages(store: &Store, text: &str, limit: usize, now: Time) -> Vec<(String, String)> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.retained(&filter(text), after.as_ref(), limit, now).await.unwrap();
        assert!(page.messages.len() <= limit);
        for run in &page.messages {
            assert_eq!(run.messages().len(), 1);
            found.push((run.topic().to_string(), String::from_utf8(run.messages()[0].payload.to_vec()).unwrap()));
        }
        match page.next {
            Some(next) => assert!(after.replace(next.clone()).is_none_or(|before| before < next), "a page goes on"),
            None => return found,
        }
    }
}

async fn names(store: &Store, text: &str, limit: usize) -> Vec<String> {
    pages(store, text, limit, NOW).await.into_iter().map(|(name, _)| name).collect()
}

pub(super) async fn a_retained_message_is_set_replaced_and_removed(store: Store) {
    set(&store, "a/b", "1", None).await;
    set(&store, "a/b", "2", None).await;
    for text in ["a/b", "a/+", "#"] {
        assert_eq!(pages(&store, text, ALL, NOW).await, [("a/b".to_owned(), "2".to_owned())], "{text}");
    }
    store.retain(&topic("a/b"), None, NOW).await.unwrap();
    store.retain(&topic("never"), None, NOW).await.unwrap();
    for text in ["a/b", "#"] {
        assert_eq!(pages(&store, text, ALL, NOW).await, [], "{text}");
    }
}

pub(super) async fn pages_hold_exactly_what_matches_in_order(store: Store) {
    let levels = ["", "a", "a!", "a0", "b", "x", "$a", "é"];
    let mut all = BTreeSet::from(["$SYS/x".to_owned(), "$SYS".to_owned(), "/".to_owned()]);
    for one in levels {
        all.insert(one.to_owned());
        for two in levels {
            all.insert(format!("{one}/{two}"));
            for three in levels {
                all.insert(format!("{one}/{two}/{three}"));
            }
            all.insert(format!("{one}/{two}/x/x"));
        }
    }
    all.remove("");
    for name in &all {
        set(&store, name, "1", None).await;
    }
    let filters = [
        "#", "+", "/", "a", "none", "a/#", "a/+", "+/a", "+/+/x", "+/x/+", "+/x/#", "a/+/x", "a!/#", "$SYS/#", "$SYS/+", "$a/+/x", "/#",
        "/+", "+/", "+/+", "a//x", "a//#", "+/+/#", "z/#", "a/b/#", "+/none", "+/none/#", "é/+", "+/é/x", "+/+/+/x",
    ];
    for text in filters {
        let expected: Vec<_> = all.iter().filter(|name| filter(text).matches(&topic(name))).cloned().collect();
        for limit in [1, 7, ALL] {
            assert_eq!(names(&store, text, limit).await, expected, "{text} by {limit}");
        }
    }
}

pub(super) async fn a_retained_message_expires(store: Store) {
    set(&store, "a/1", "1", Some(after(5))).await;
    set(&store, "a/2", "2", None).await;
    set(&store, "a/3", "3", Some(after(5))).await;
    set(&store, "a/3", "4", None).await;
    let count = |now| pages_of(&store, now);
    assert_eq!(count(after(4)).await, ["1", "2", "4"]);
    assert_eq!(count(after(5)).await, ["2", "4"], "the expiry of what was replaced is gone with it");
    assert_eq!(pages(&store, "a/1", ALL, after(5)).await, []);
}

async fn pages_of(store: &Store, now: Time) -> Vec<String> {
    pages(store, "a/#", ALL, now).await.into_iter().map(|(_, payload)| payload).collect()
}
