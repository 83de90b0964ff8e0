use std::sync::Arc;

use mqttd::message::Run;
use mqttd::packet::{PacketId, QoS};
use mqttd::store::{Store, Write, Written};
use mqttd::subscription::{Grant, ShareGroup};
use mqttd::topic::filter::ShareName;

use super::kit::*;

pub(super) async fn sequences_grow_by_one_and_are_never_used_twice(store: Store) {
    let (lease, _) = resume(&store, "c").await;
    let first = fill(&store, &lease, &["1", "2"]).await;
    for sequence in &first {
        write(&store, acknowledge(&lease, *sequence)).await;
    }
    let second = fill(&store, &lease, &["3"]).await;
    assert_eq!([first[0] + 1, first[0] + 2], [first[1], second[0]]);

    let (lease, _) = open(&store, "c", true, MINUTE, None, NOW).await;
    let third = fill(&store, &lease, &["4"]).await[0];
    assert!(third > second[0], "a clean start");
    close(&store, &lease, MINUTE, 0, NOW).await;
    assert!(store.purge(&lease).await.unwrap());
    let (lease, _) = resume(&store, "c").await;
    assert!(fill(&store, &lease, &["5"]).await[0] > third, "a purge");
}

pub(super) async fn a_queue_is_read_in_pages(store: Store) {
    let (lease, _) = resume(&store, "c").await;
    fill(&store, &lease, &["0", "1", "2"]).await;
    fill(&store, &lease, &["3"]).await;
    fill(&store, &lease, &["4", "5", "6", "7"]).await;
    let (mut found, mut after) = (Vec::new(), 0);
    loop {
        let page = store.read(&lease, after, 3, NOW).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.sequence;
        found.extend(payloads(&page));
    }
    assert_eq!(found, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    assert_eq!(payloads(&read(&store, &lease, 0).await).len(), 8, "reading removes nothing");
}

pub(super) async fn only_what_is_granted_more_than_qos_0_is_queued(store: Store) {
    let (lease, _) = resume(&store, "c").await;
    let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::AtMostOnce, QoS::ExactlyOnce];
    let mixed = Arc::new(Run::new((0..).zip(qos).map(|(n, qos)| message(&format!("{n}"), qos, None)).collect()));
    for granted in qos {
        let to = lease.client_id.clone();
        assert_eq!(write(&store, Write::Append { to, run: mixed.clone(), grant: grant(granted) }).await, Written::Done);
    }
    let stored = read(&store, &lease, 0).await;
    assert_eq!(payloads(&stored), ["1", "3", "1", "3"]);
    assert!(sequences(&stored).windows(2).all(|pair| pair[0] + 1 == pair[1]));
    let granted: Vec<_> = stored.iter().map(|stored| stored.grant.qos).collect();
    assert_eq!(granted, [QoS::AtLeastOnce, QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce]);
}

pub(super) async fn a_grant_is_kept(store: Store) {
    let (lease, _) = resume(&store, "c").await;
    let group = ShareGroup { share: ShareName::new("g").unwrap(), filter: filter("a/+") };
    let ids: Arc<[u32]> = vec![1, 268_435_455].into();
    let full = Grant { qos: QoS::AtLeastOnce, retain_as_published: true, ids: Some(ids), group: Some(Arc::new(group)) };
    write(&store, Write::Append { to: lease.client_id.clone(), run: run(&["1"]), grant: full.clone() }).await;
    let stored = read(&store, &lease, 0).await.remove(0);
    assert_eq!(stored.grant, full);
    assert_eq!(*stored.message.message(), message("1", QoS::ExactlyOnce, None));
}

pub(super) async fn acknowledgements_come_in_any_order(store: Store) {
    let (lease, _) = resume(&store, "c").await;
    let queue = fill(&store, &lease, &["0", "1", "2", "3", "4", "5"]).await;
    let mut left = vec!["0", "1", "2", "3", "4", "5"];
    for place in [3, 1, 0, 5, 2, 4] {
        write(&store, acknowledge(&lease, queue[place])).await;
        left.retain(|payload| *payload != place.to_string());
        assert_eq!(payloads(&read(&store, &lease, 0).await), left);
    }
}

pub(super) async fn a_released_message_is_owed_until_it_is_complete(store: Store) {
    let (lease, _) = resume(&store, "c").await;
    let queue = fill(&store, &lease, &["0", "1", "2"]).await;
    for place in [2, 0, 1] {
        write(&store, release(&lease, queue[place])).await;
    }
    assert!(read(&store, &lease, 0).await.is_empty());
    let (lease, opened) = resume(&store, "c").await;
    assert_eq!(opened.state.unwrap().released, [queue[2], queue[0], queue[1]], "in the order of their PUBREC");
    write(&store, complete(&lease, queue[0])).await;
    assert_eq!(resume(&store, "c").await.1.state.unwrap().released, [queue[2], queue[1]]);
}

pub(super) async fn a_received_packet_id_is_held_until_it_is_forgotten(store: Store) {
    let (lease, _) = resume(&store, "c").await;
    let id = |number| PacketId::new(number).unwrap();
    for packet_id in [id(7), id(3), id(7), id(5)] {
        assert_eq!(write(&store, Write::Receive { of: lease.clone(), packet_id, pending: None }).await, Written::Done);
    }
    write(&store, Write::Forget { of: lease.clone(), packet_id: id(3) }).await;
    let mut received = resume(&store, "c").await.1.state.unwrap().received;
    received.sort();
    assert_eq!(received, [id(5), id(7)]);
}

pub(super) async fn nothing_unknown_does_harm(store: Store) {
    let (lease, _) = resume(&store, "c").await;
    let queue = fill(&store, &lease, &["0", "1"]).await;
    let nobody = super::kit::lease("nobody", 1);
    for of in [&lease, &nobody] {
        for sequence in [0, 1, queue[0] - 1, queue[1] + 1, u64::MAX] {
            for unknown in [acknowledge(of, sequence), complete(of, sequence)] {
                assert_eq!(write(&store, unknown).await, Written::Done);
            }
        }
        let unknown = Write::Forget { of: of.clone(), packet_id: PacketId::MAX };
        assert_eq!(write(&store, unknown).await, Written::Done);
    }
    assert_eq!(payloads(&read(&store, &lease, 0).await), ["0", "1"]);
    assert!(read(&store, &nobody, 0).await.is_empty());
}

pub(super) async fn a_batch_has_one_answer_for_each_write(store: Store) {
    let (one, _) = resume(&store, "one").await;
    let (two, _) = resume(&store, "two").await;
    let nobody = super::kit::lease("nobody", 1);
    let (a, b) = (run(&["a1", "a2"]), run(&["b"]));
    let writes = vec![append(&one, &a), append(&nobody, &a), append(&two, &a), append(&one, &b), append(&two, &b), acknowledge(&nobody, 1)];
    let written = store.write(writes, NOW).await.unwrap();
    assert_eq!(written, [Written::Done, Written::NoSession, Written::Done, Written::Done, Written::Done, Written::Done]);
    for lease in [&one, &two] {
        assert_eq!(payloads(&read(&store, lease, 0).await), ["a1", "a2", "b"]);
    }
    assert_eq!(store.write(vec![], NOW).await.unwrap(), []);
}

pub(super) async fn an_expired_message_is_not_read_unless_it_may_have_been_sent(store: Store) {
    let (lease, _) = resume(&store, "c").await;
    let expiry = [Some(after(5)), None, Some(after(9)), Some(after(5))];
    let some = Arc::new(Run::new((0..).zip(expiry).map(|(n, at)| message(&format!("{n}"), QoS::AtLeastOnce, at)).collect()));
    write(&store, append(&lease, &some)).await;
    let all = store.read(&lease, 0, ALL, after(4)).await.unwrap();
    assert_eq!(payloads(&all), ["0", "1", "2", "3"]);
    close(&store, &lease, MINUTE, all[0].sequence, after(4)).await;

    let (lease, _) = open(&store, "c", false, MINUTE, None, after(5)).await;
    let now = store.read(&lease, 0, ALL, after(5)).await.unwrap();
    assert_eq!(payloads(&now), ["0", "1", "2"], "the first may have been sent, the last was not");
    let later = store.read(&lease, 0, 1, after(20)).await.unwrap();
    assert_eq!(payloads(&later), ["0"]);
    let rest = store.read(&lease, later[0].sequence, ALL, after(20)).await.unwrap();
    assert_eq!(payloads(&rest), ["1"]);
    assert_eq!(payloads(&store.read(&lease, 0, ALL, after(4)).await.unwrap()), ["0", "1"], "what has expired is removed");
}

pub(super) async fn a_take_over_takes_all_that_was_read_as_sent(store: Store) {
    let (lease, _) = resume(&store, "c").await;
    let new = resume(&store, "other").await.1.state;
    assert_eq!(new, None);
    let run = Arc::new(Run::new((0..4).map(|n| message(&format!("{n}"), QoS::AtLeastOnce, Some(after(5)))).collect()));
    write(&store, append(&lease, &run)).await;
    let page = store.read(&lease, 0, 2, NOW).await.unwrap();
    let (lease, opened) = resume(&store, "c").await;
    assert_eq!(opened.state.unwrap().sent, page[1].sequence);
    let rest = store.read(&lease, 0, ALL, after(5)).await.unwrap();
    assert_eq!(payloads(&rest), ["0", "1"], "it has expired, but may have been sent");
}

pub(super) async fn a_close_says_what_was_sent(store: Store) {
    let (lease, _) = resume(&store, "c").await;
    let queue = fill(&store, &lease, &["0", "1", "2", "3"]).await; // which reads them all
    close(&store, &lease, MINUTE, queue[1], NOW).await;
    let (lease, opened) = resume(&store, "c").await;
    assert_eq!(opened.state.unwrap().sent, queue[1]);
    close(&store, &lease, MINUTE, 0, NOW).await;
    assert_eq!(resume(&store, "c").await.1.state.unwrap().sent, queue[1], "what may have been sent stays so");
}

pub(super) async fn an_expired_session_can_still_be_read(store: Store) {
    let (lease, _) = resume(&store, "c").await;
    fill(&store, &lease, &["0"]).await;
    close(&store, &lease, MINUTE, 0, NOW).await;
    assert_eq!(store.due(after(60), ALL).await.unwrap().len(), 1);
    let owed = store.read(&lease, 0, ALL, after(60)).await.unwrap();
    assert_eq!(payloads(&owed), ["0"], "a share group may want it");
    assert!(store.purge(&lease).await.unwrap());
    assert!(read(&store, &lease, 0).await.is_empty());
}
