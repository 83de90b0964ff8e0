use proptest::prelude::*;

use super::*;
use crate::packet::subscribe::RetainHandling;

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn text() -> impl Strategy<Value = ByteString> {
    "[^\0]{0,12}".prop_map(ByteString::from)
}

fn data() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn topic() -> impl Strategy<Value = TopicName> {
    "[^\0+#]{1,12}".prop_map(|text| TopicName::new(text.into()).unwrap())
}

fn filter() -> impl Strategy<Value = TopicFilter> {
    "([^\0+#/]{0,4}|\\+)(/([^\0+#/]{0,4}|\\+)){1,3}(/#)?".prop_map(|text| TopicFilter::new(&text).unwrap())
}

fn share() -> impl Strategy<Value = ShareName> {
    "[^\0+#/]{1,6}".prop_map(|text| ShareName::new(&text).unwrap())
}

/// Only what a stored message can have; never all absent, for that is `None`.
fn properties() -> impl Strategy<Value = Box<PublishProperties>> {
    use proptest::option::of;
    let pairs = proptest::collection::vec((text(), text()), 1..3);
    (of(any::<bool>()), of(text()), of(data()), of(text()), pairs).prop_map(
        |(payload_is_utf8, response_topic, correlation_data, content_type, user_properties)| {
            Box::new(PublishProperties {
                payload_is_utf8,
                response_topic,
                correlation_data,
                content_type,
                user_properties,
                ..PublishProperties::default()
            })
        },
    )
}

prop_compose! {
    fn message()(
        topic in topic(),
        payload in data(),
        qos in qos(),
        retain: bool,
        properties in proptest::option::of(properties()),
        expires_at in proptest::option::of(any::<u64>().prop_map(Time)),
    ) -> Message {
        Message { topic, payload, qos, retain, properties, expires_at }
    }
}

prop_compose! {
    fn grant()(
        qos in qos(),
        retain_as_published: bool,
        ids in proptest::option::of(proptest::collection::vec(any::<u32>(), 0..5)),
        group in proptest::option::of((share(), filter())),
    ) -> Grant {
        let group = group.map(|(share, filter)| Arc::new(ShareGroup { share, filter }));
        Grant { qos, retain_as_published, ids: ids.map(Into::into), group }
    }
}

prop_compose! {
    fn any_subscription()(
        share in proptest::option::of(share()),
        filter in filter(),
        qos in qos(),
        no_local: bool,
        retain_as_published: bool,
        handling in 0..3,
        id in proptest::option::of(1..268_435_456u32),
    ) -> Subscription {
        let retain_handling = [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend][handling as usize];
        let options = SubscriptionOptions { qos, no_local, retain_as_published, retain_handling };
        Subscription { selector: Selector { share, filter }, options, id }
    }
}

proptest! {
    #[test]
    fn a_queued_message_comes_back(grant in grant(), message in message()) {
        let mut out = BytesMut::new();
        put_head(&grant, &mut out);
        put_message(&message, &mut out);
        prop_assert_eq!(take_queued(out.freeze()), Some((grant, message)));
    }

    #[test]
    fn a_retained_message_comes_back(message in message()) {
        prop_assert_eq!(take_retained(retained(&message).freeze()), Some(message));
    }

    #[test]
    fn a_will_comes_back(message in message(), expiry_s: Option<u32>, delay_ms: u64) {
        let one = Will { message, expiry_s, delay: Span(delay_ms) };
        prop_assert_eq!(take_will(will(&one).freeze()), Some(one));
    }

    #[test]
    fn a_subscription_comes_back(one in any_subscription()) {
        prop_assert_eq!(take_subscription(selector(&one.selector).as_bytes(), &subscription(&one)), Some(one));
    }

    /// With the right version in front, so that more than the version is looked at.
    #[test]
    fn garbage_is_refused_without_panic(mut garbage in proptest::collection::vec(any::<u8>(), 1..60), is_versioned: bool) {
        if is_versioned {
            garbage[0] = VERSION;
        }
        let bytes = Bytes::from(garbage.clone());
        let _ = (take_queued(bytes.clone()), take_retained(bytes.clone()), take_will(bytes));
        let _ = (take_selector(&garbage), take_subscription(b"\0a", &garbage));
    }

    #[test]
    fn another_version_is_not_read(message in message(), version in 2..=u8::MAX) {
        let mut bytes = retained(&message);
        bytes[0] = version;
        prop_assert_eq!(take_retained(bytes.freeze()), None);
    }
}
