use mqttd::store::{Close, Due, Opened, Store};
use mqttd::time::Span;

use super::kit::*;

pub(super) async fn at_a_close(store: Store) {
    enum When {
        Now,
        After(u32),
        /// With the end of the Session, after so many seconds.
        AtEnd(u32),
        Never,
    }
    // Will kept, its delay in seconds, Session Expiry Interval.
    let rows = [
        (true, 0, MINUTE, When::Now),
        (true, 0, ZERO, When::Now),
        (true, 5, ZERO, When::Now),
        (true, 5, MINUTE, When::After(5)),
        (true, 5, None, When::After(5)),
        (true, 60, MINUTE, When::AtEnd(60)),
        (true, 90, MINUTE, When::AtEnd(60)),
        (false, 0, MINUTE, When::Never),
        (false, 5, MINUTE, When::Never),
        (false, 0, ZERO, When::Never),
    ];
    for (row, (keep_will, delay_s, expiry, when)) in rows.into_iter().enumerate() {
        let id = format!("c{row}");
        let (lease, _) = open(&store, &id, true, expiry, Some(will(delay_s)), NOW).await;
        let closed = store.close(&lease, Close { keep_will, will_waits: Span(0), expiry, sent: 0 }, NOW).await.unwrap();
        assert_eq!(closed.due_will, matches!(when, When::Now).then(|| will(delay_s)), "row {row}");
        if closed.due_will.is_some() {
            store.will_done(&lease).await.unwrap();
        }
        let due = store.due(after(1000), ALL).await.unwrap();
        let is_will = |item: &Due| matches!(item, Due::Will { will: found, .. } if *found == will(delay_s));
        let is_end_with_will = |item: &Due| matches!(item, Due::Expired { will: Some(found), .. } if *found == will(delay_s));
        match when {
            When::After(_) => assert!(is_will(&due[0]), "row {row}: {due:?}"),
            When::AtEnd(_) => assert!(is_end_with_will(&due[0]), "row {row}: {due:?}"),
            When::Now | When::Never => assert!(!due.iter().any(|item| is_will(item) || is_end_with_will(item)), "row {row}: {due:?}"),
        }
        if let When::After(seconds) | When::AtEnd(seconds) = when {
            let (lease, opened) = open(&store, &id, true, expiry, Some(will(delay_s)), NOW).await;
            done(&store, &id, &opened).await;
            store.close(&lease, Close { keep_will, will_waits: Span(0), expiry, sent: 0 }, NOW).await.unwrap();
            assert_eq!(store.next_due().await.unwrap(), Some(after(seconds)), "row {row}");
        }
        let (_, opened) = open(&store, &id, true, ZERO, None, NOW).await; // away with it
        done(&store, &id, &opened).await;
    }
}

pub(super) async fn at_a_take_over(store: Store) {
    // Delay, expiry of the old connection, Clean Start of the new one, due.
    let rows = [
        (0, MINUTE, false, true),
        (0, MINUTE, true, true),
        (0, ZERO, false, true),
        (5, MINUTE, false, false), // the new connection comes before the delay has passed
        (5, MINUTE, true, true),   // the Session ends
        (5, ZERO, false, true),    // the Session ends
        (5, None, false, false),
    ];
    for (row, (delay_s, expiry, clean_start, is_due)) in rows.into_iter().enumerate() {
        let id = format!("c{row}");
        open(&store, &id, true, expiry, Some(will(delay_s)), NOW).await;
        let (lease, opened) = open(&store, &id, clean_start, MINUTE, None, after(100)).await;
        assert!(opened.was_owned);
        assert_eq!(opened.due_will, is_due.then(|| will(delay_s)), "row {row}");
        assert_eq!(close(&store, &lease, MINUTE, 0, NOW).await.due_will, None, "row {row}: the will of the old connection is gone");
    }
}

pub(super) async fn of_a_session_that_is_opened_again(store: Store) {
    // Delay, when it is opened again, Clean Start, due.
    let rows = [
        (5, Span::seconds(1), false, false),
        (5, Span(4_999), false, false),
        (5, Span::seconds(5), false, true), // the delay has passed, and nobody has published it yet
        (5, Span::seconds(1), true, true),
        (90, Span::seconds(59), false, false),
        (90, Span::seconds(60), false, true), // the Session has ended
    ];
    for (row, (delay_s, later, clean_start, is_due)) in rows.into_iter().enumerate() {
        let id = format!("c{row}");
        let (lease, _) = open(&store, &id, true, MINUTE, Some(will(delay_s)), NOW).await;
        close(&store, &lease, MINUTE, 0, NOW).await;
        let (_, opened) = open(&store, &id, clean_start, MINUTE, None, NOW + later).await;
        assert_eq!((opened.was_owned, opened.due_will.clone()), (false, is_due.then(|| will(delay_s))), "row {row}");
        done(&store, &id, &opened).await;
        assert_eq!(store.due(after(1000), ALL).await.unwrap(), [], "row {row}");
    }
}

/// The will that an `open` gave is published.
async fn done(store: &Store, id: &str, opened: &Opened) {
    if let (Some(_), Some(before)) = (&opened.due_will, opened.before) {
        store.will_done(&lease(id, before)).await.unwrap();
    }
}
