use super::*;
use crate::packet::QoS;
use crate::packet::publish::PublishProperties;
use crate::packet::subscribe::RetainHandling;
use crate::subscription::{Grant, ShareGroup};
use crate::time::Time;
use crate::topic::filter::TopicFilter;

fn message(payload: usize, qos: QoS) -> Message {
    Message {
        topic: TopicName::new("a/b".into()).unwrap(),
        payload: Bytes::from(vec![b'x'; payload]),
        qos,
        retain: false,
        properties: None,
        expires_at: None,
    }
}

fn full() -> Message {
    let properties = PublishProperties {
        response_topic: Some("r".into()),
        user_properties: vec![("a".into(), "b".into())],
        ..PublishProperties::default()
    };
    Message {
        retain: true,
        properties: Some(Box::new(properties)),
        expires_at: Some(Time(1_700_000_000_123)),
        ..message(5, QoS::ExactlyOnce)
    }
}

fn post(messages: Vec<Message>, to: Option<(ClientId, Grant)>, publisher: Option<&str>) -> Post {
    Post { run: Arc::new(Run::new(messages)), to, publisher: publisher.map(ClientId::new) }
}

fn share() -> Selector {
    Selector { share: ShareName::new("s"), filter: TopicFilter::new("a/+/#").unwrap() }
}

fn plain() -> Selector {
    Selector { share: None, filter: TopicFilter::new("$SYS/x").unwrap() }
}

fn subscriptions() -> Vec<Subscription> {
    let options = SubscriptionOptions {
        qos: QoS::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    vec![
        Subscription { selector: share(), options, id: Some(268_435_455) },
        Subscription { selector: plain(), options: SubscriptionOptions::default(), id: None },
    ]
}

#[test]
fn posts_come_back() {
    let group = ShareGroup { share: ShareName::new("s").unwrap(), filter: TopicFilter::new("a/#").unwrap() };
    let grant = Grant { qos: QoS::AtLeastOnce, retain_as_published: true, ids: Some([1, 7].into()), group: Some(Arc::new(group)) };
    let posts = [
        post(vec![message(0, QoS::AtMostOnce), full(), message(9, QoS::AtLeastOnce)], None, None),
        post(vec![full()], Some((ClientId::new("c}"), grant)), Some("")),
        post(vec![message(1, QoS::AtMostOnce)], Some((ClientId::new(""), Grant::default())), None),
    ];
    let batches = batches(&posts, 1 << 20);
    assert_eq!(batches.len(), 1);
    let back = take_posts(batches[0].clone()).unwrap();
    for (post, back) in posts.iter().zip(&back) {
        assert_eq!((post.run.messages(), &post.to, &post.publisher), (back.run.messages(), &back.to, &back.publisher));
    }
    assert_eq!(back.len(), posts.len());
    // Whatever is cut off, nothing is made up.
    for end in 1..batches[0].len() {
        assert!(take_posts(batches[0].slice(..end)).is_none_or(|some| some.len() < posts.len()), "{end}");
    }
}

#[test]
fn a_batch_keeps_to_its_size() {
    let posts: Vec<_> = [100, 100, 500, 10, 90].map(|size| post(vec![message(size, QoS::AtMostOnce)], None, None)).into();
    let batches = batches(&posts, 250);
    let sizes: Vec<_> = batches
        .iter()
        .map(|batch| take_posts(batch.clone()).unwrap().iter().map(|post| post.run.payload_bytes()).collect::<Vec<_>>())
        .collect();
    assert_eq!(sizes, [vec![100, 100], vec![500], vec![10, 90]]);
}

#[test]
fn changes_come_back() {
    let session = |node: Option<&str>| Who::Session { client_id: ClientId::new("a b"), node: node.map(NodeId::new) };
    let changes = [
        RouteChange::Set { who: session(None), subscriptions: subscriptions() },
        RouteChange::Set { who: Who::Node(NodeId::new("n.1")), subscriptions: Vec::new() },
        RouteChange::Unset { who: session(Some("n.2")), selectors: vec![plain(), share()] },
        RouteChange::End { who: session(Some("n.2")) },
    ];
    for expected in changes {
        assert_eq!(take_change(change(&expected, 7).freeze()), Some((7, expected)));
    }
    assert_eq!(take_change(Bytes::from_static(b"\x02E")), None);
}
