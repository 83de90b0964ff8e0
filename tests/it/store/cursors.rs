use mqttd::store::Store;
use mqttd::topic::filter::ShareName;

use super::kit::*;

pub(super) async fn a_cursor_is_leased_in_blocks(store: Store) {
    let (one, two) = (ShareName::new("one").unwrap(), ShareName::new("two").unwrap());
    let first = store.cursor(&one, &filter("a/#"), 64).await.unwrap();
    assert_eq!(store.cursor(&one, &filter("a/#"), 1).await.unwrap(), first + 64);
    assert_eq!(store.cursor(&one, &filter("a/#"), 1).await.unwrap(), first + 65);
    assert_eq!(store.cursor(&two, &filter("a/#"), 1).await.unwrap(), first, "each group has its own");
    assert_eq!(store.cursor(&one, &filter("a/+"), 1).await.unwrap(), first);
}
