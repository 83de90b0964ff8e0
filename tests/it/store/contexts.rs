use bytes::Bytes;
use mqttd::store::Store;
use mqttd::time::Span;
use mqttd::topic::filter::ShareName;

use super::kit::*;

const TTL: Span = Span::seconds(300);

pub(super) async fn a_context_is_taken_once(store: Store) {
    assert!(store.put_context("id", Bytes::from_static(b"one"), TTL, NOW).await.unwrap());
    assert!(!store.put_context("id", Bytes::from_static(b"two"), TTL, NOW).await.unwrap(), "the id is in use");
    assert_eq!(store.take_context("id", NOW).await.unwrap().as_deref(), Some(&b"one"[..]));
    assert_eq!(store.take_context("id", NOW).await.unwrap(), None);
    assert!(store.put_context("id", Bytes::from_static(b"three"), TTL, NOW).await.unwrap(), "the id is free again");
}

pub(super) async fn a_context_ends_with_its_time(store: Store) {
    assert!(store.put_context("id", Bytes::from_static(b"one"), TTL, NOW).await.unwrap());
    assert!(store.put_context("id", Bytes::from_static(b"two"), TTL, after(300)).await.unwrap());
    assert_eq!(store.take_context("id", after(600)).await.unwrap(), None);
}

pub(super) async fn a_cursor_is_leased_in_blocks(store: Store) {
    let (one, two) = (ShareName::new("one").unwrap(), ShareName::new("two").unwrap());
    let first = store.cursor(&one, &filter("a/#"), 64).await.unwrap();
    assert_eq!(store.cursor(&one, &filter("a/#"), 1).await.unwrap(), first + 64);
    assert_eq!(store.cursor(&one, &filter("a/#"), 1).await.unwrap(), first + 65);
    assert_eq!(store.cursor(&two, &filter("a/#"), 1).await.unwrap(), first, "each group has its own");
    assert_eq!(store.cursor(&one, &filter("a/+"), 1).await.unwrap(), first);
}
