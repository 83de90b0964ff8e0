//! Random packets: whatever a version can say, in the form in which decode gives it back.

use bytes::Bytes;
use bytestring::ByteString;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::acknowledge::{Acknowledge, AcknowledgeProperties, Kind};
use super::super::auth::Auth;
use super::super::connack::{Connack, ConnackProperties};
use super::super::connect::{Connect, ConnectProperties, Will};
use super::super::disconnect::Disconnect;
use super::super::property::UserProperties;
use super::super::publish::{Publish, PublishProperties};
use super::super::reason::Reason;
use super::super::subscribe::{RetainHandling, Suback, Subscribe, SubscriptionOptions};
use super::super::unsubscribe::{Unsuback, Unsubscribe};
use super::super::{Packet, PacketId, QoS, Version};

pub(super) fn packet(version: Version) -> BoxedStrategy<Packet> {
    let both = prop_oneof![
        3 => connect(version).prop_map(|connect| Packet::Connect(Box::new(connect))),
        2 => connack(version).prop_map(|connack| Packet::Connack(Box::new(connack))),
        4 => publish(version).prop_map(Packet::Publish),
        3 => acknowledge(version).prop_map(Packet::Acknowledge),
        3 => subscribe(version).prop_map(|subscribe| Packet::Subscribe(Box::new(subscribe))),
        1 => suback(version).prop_map(|suback| Packet::Suback(Box::new(suback))),
        1 => unsubscribe(version).prop_map(|unsubscribe| Packet::Unsubscribe(Box::new(unsubscribe))),
        1 => unsuback(version).prop_map(|unsuback| Packet::Unsuback(Box::new(unsuback))),
        1 => select(vec![Packet::Pingreq, Packet::Pingresp]),
        1 => disconnect(version).prop_map(|disconnect| Packet::Disconnect(Box::new(disconnect))),
    ];
    if version == Version::V5 {
        prop_oneof![12 => both, 1 => auth().prop_map(|auth| Packet::Auth(Box::new(auth)))].boxed()
    } else {
        both.boxed()
    }
}

/// Any characters but U+0000 and the wildcards.
fn text(length: std::ops::Range<usize>) -> BoxedStrategy<ByteString> {
    let character = any::<char>().prop_filter("not allowed", |character| !"\0+#".contains(*character));
    vec(prop_oneof![4 => prop::char::range('a', 'z'), 1 => Just('/'), 2 => character], length)
        .prop_map(|characters| characters.into_iter().collect::<String>().into())
        .boxed()
}

fn string() -> BoxedStrategy<ByteString> {
    prop_oneof![20 => text(0..12), 1 => text(100..300)].boxed()
}

fn topic() -> BoxedStrategy<ByteString> {
    prop_oneof![20 => text(1..12), 1 => text(100..300)].boxed()
}

fn filter() -> BoxedStrategy<ByteString> {
    (prop::bool::ANY, topic(), prop::bool::ANY)
        .prop_map(|(plus, topic, hash)| format!("{}{topic}{}", if plus { "+/" } else { "" }, if hash { "/#" } else { "" }).into())
        .boxed()
}

fn binary() -> BoxedStrategy<Bytes> {
    prop_oneof![20 => vec(any::<u8>(), 0..12), 1 => vec(any::<u8>(), 100..300)].prop_map(Bytes::from).boxed()
}

fn user_properties() -> BoxedStrategy<UserProperties> {
    prop_oneof![2 => Just(vec![]), 1 => vec((string(), string()), 0..4)].boxed()
}

fn qos() -> impl Strategy<Value = QoS> {
    select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|value| PacketId::new(value).unwrap())
}

fn subscription_id() -> impl Strategy<Value = u32> {
    prop_oneof![1_u32..300, 1_u32..=super::super::REMAINING_LENGTH_MAX]
}

fn reason(version: Version, codes: &[u8], codes_v3: &[u8]) -> impl Strategy<Value = Reason> + use<> {
    select(if version == Version::V5 { codes.to_vec() } else { codes_v3.to_vec() }).prop_map(Reason)
}

fn connect(version: Version) -> BoxedStrategy<Connect> {
    let head = (any::<bool>(), any::<u16>(), string(), of(will(version)), of(string()), of(binary()));
    (head, connect_properties(version))
        .prop_map(move |((clean_start, keep_alive_s, client_id, will, user_name, password), properties)| {
            let password = password.filter(|_| version == Version::V5 || user_name.is_some());
            Connect { version, clean_start, keep_alive_s, client_id, will, user_name, password, properties }
        })
        .boxed()
}

fn will(version: Version) -> BoxedStrategy<Will> {
    (qos(), any::<bool>(), topic(), binary(), any::<u32>(), publish_properties())
        .prop_map(move |(qos, retain, topic, payload, delay_s, properties)| {
            let will = Will { qos, retain, topic, payload, delay_s: 0, properties: None };
            if version != Version::V5 {
                return will;
            }
            Will { delay_s, properties: boxed(PublishProperties { topic_alias: None, subscription_ids: vec![], ..properties }), ..will }
        })
        .boxed()
}

fn boxed<T: Default + PartialEq>(properties: T) -> Option<Box<T>> {
    (properties != T::default()).then(|| Box::new(properties))
}

fn authentication() -> impl Strategy<Value = (Option<ByteString>, Option<Bytes>)> {
    of((string(), of(binary()))).prop_map(|both| both.map_or((None, None), |(method, data)| (Some(method), data)))
}

fn connect_properties(version: Version) -> BoxedStrategy<ConnectProperties> {
    if version != Version::V5 {
        return Just(ConnectProperties::default()).boxed();
    }
    let numbers = (of(any::<u32>()), of(1..=u16::MAX), of(1..=u32::MAX), of(any::<u16>()));
    let flags = (of(any::<bool>()), of(any::<bool>()));
    (numbers, flags, authentication(), user_properties())
        .prop_map(|(numbers, flags, (authentication_method, authentication_data), user_properties)| ConnectProperties {
            session_expiry_s: numbers.0,
            receive_maximum: numbers.1,
            maximum_packet_size: numbers.2,
            topic_alias_maximum: numbers.3,
            request_response_information: flags.0,
            request_problem_information: flags.1,
            authentication_method,
            authentication_data,
            user_properties,
        })
        .boxed()
}

fn connack(version: Version) -> BoxedStrategy<Connack> {
    let codes = [
        0x00, 0x00, 0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C,
        0x9D, 0x9F,
    ];
    (any::<bool>(), reason(version, &codes, &[0, 0, 0x84, 0x85, 0x86, 0x87, 0x88]), connack_properties(version))
        .prop_map(move |(session_present, reason, properties)| {
            let session_present = session_present && reason == Reason::SUCCESS && version != Version::V3_1;
            Connack { session_present, reason, properties }
        })
        .boxed()
}

fn connack_properties(version: Version) -> BoxedStrategy<ConnackProperties> {
    if version != Version::V5 {
        return Just(ConnackProperties::default()).boxed();
    }
    let flag = || of(any::<bool>());
    let numbers = (of(any::<u32>()), of(1..=u16::MAX), of(1..=u32::MAX), of(any::<u16>()), of(any::<u16>()));
    let maximum_qos = of(select(vec![QoS::AtMostOnce, QoS::AtLeastOnce]));
    let texts = (of(string()), of(string()), of(string()), of(string()));
    (numbers, maximum_qos, (flag(), flag(), flag(), flag()), texts, authentication(), user_properties())
        .prop_map(|(numbers, maximum_qos, flags, texts, authentication, user_properties)| ConnackProperties {
            session_expiry_s: numbers.0,
            receive_maximum: numbers.1,
            maximum_packet_size: numbers.2,
            topic_alias_maximum: numbers.3,
            server_keep_alive_s: numbers.4,
            maximum_qos,
            retain_available: flags.0,
            wildcard_subscription_available: flags.1,
            subscription_ids_available: flags.2,
            shared_subscription_available: flags.3,
            assigned_client_id: texts.0,
            reason_string: texts.1,
            response_information: texts.2,
            server_reference: texts.3,
            authentication_method: authentication.0,
            authentication_data: authentication.1,
            user_properties,
        })
        .boxed()
}

pub(super) fn publish(version: Version) -> BoxedStrategy<Publish> {
    (qos(), any::<bool>(), any::<bool>(), id(), topic(), publish_properties(), binary())
        .prop_map(move |(qos, dup, retain, id, topic, properties, payload)| {
            let dup = dup && qos != QoS::AtMostOnce;
            let packet_id = (qos != QoS::AtMostOnce).then_some(id);
            let properties = if version == Version::V5 { boxed(properties) } else { None };
            Publish { dup, qos, retain, topic, packet_id, properties, payload }
        })
        .boxed()
}

fn publish_properties() -> BoxedStrategy<PublishProperties> {
    let some = (
        of(any::<bool>()),
        of(any::<u32>()),
        of(1..=u16::MAX),
        of(topic()),
        of(binary()),
        vec(subscription_id(), 0..3),
        of(string()),
        user_properties(),
    )
        .prop_map(|all| PublishProperties {
            payload_is_utf8: all.0,
            message_expiry_s: all.1,
            topic_alias: all.2,
            response_topic: all.3,
            correlation_data: all.4,
            subscription_ids: all.5,
            content_type: all.6,
            user_properties: all.7,
        });
    prop_oneof![Just(PublishProperties::default()), some].boxed()
}

fn acknowledge_properties(version: Version) -> BoxedStrategy<Option<Box<AcknowledgeProperties>>> {
    (of(string()), user_properties())
        .prop_map(
            move |(reason_string, user_properties)| {
                if version == Version::V5 { boxed(AcknowledgeProperties { reason_string, user_properties }) } else { None }
            },
        )
        .boxed()
}

fn acknowledge(version: Version) -> BoxedStrategy<Acknowledge> {
    let first = [0x00, 0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
    let first = (select(vec![Kind::Puback, Kind::Pubrec]), reason(version, &first, &[0]));
    let second = (select(vec![Kind::Pubrel, Kind::Pubcomp]), reason(version, &[0x00, 0x92], &[0]));
    (prop_oneof![first, second], id(), acknowledge_properties(version))
        .prop_map(|((kind, reason), packet_id, properties)| Acknowledge { kind, packet_id, reason, properties })
        .boxed()
}

fn subscribe(version: Version) -> BoxedStrategy<Subscribe> {
    let handling = select(vec![RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend]);
    let options = (qos(), any::<bool>(), any::<bool>(), handling).prop_map(move |(qos, no_local, retain_as_published, retain_handling)| {
        let all = SubscriptionOptions { qos, no_local, retain_as_published, retain_handling };
        if version == Version::V5 { all } else { SubscriptionOptions { qos, ..Default::default() } }
    });
    (id(), of(subscription_id()), user_properties(), vec((filter(), options), 1..4))
        .prop_map(move |(packet_id, subscription_id, user_properties, filters)| {
            if version == Version::V5 {
                return Subscribe { packet_id, subscription_id, user_properties, filters };
            }
            Subscribe { packet_id, subscription_id: None, user_properties: vec![], filters }
        })
        .boxed()
}

fn suback(version: Version) -> BoxedStrategy<Suback> {
    let codes = [0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
    (id(), acknowledge_properties(version), vec(reason(version, &codes, &[0, 1, 2, 0x80]), 1..5))
        .prop_map(|(packet_id, properties, reasons)| Suback { packet_id, properties, reasons })
        .boxed()
}

fn unsubscribe(version: Version) -> BoxedStrategy<Unsubscribe> {
    (id(), user_properties(), vec(filter(), 1..4))
        .prop_map(move |(packet_id, user_properties, filters)| {
            let user_properties = if version == Version::V5 { user_properties } else { vec![] };
            Unsubscribe { packet_id, user_properties, filters }
        })
        .boxed()
}

fn unsuback(version: Version) -> BoxedStrategy<Unsuback> {
    let codes = [0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
    (id(), acknowledge_properties(version), vec(reason(version, &codes, &[0]), 1..5))
        .prop_map(move |(packet_id, properties, reasons)| {
            let reasons = if version == Version::V5 { reasons } else { vec![] };
            Unsuback { packet_id, properties, reasons }
        })
        .boxed()
}

fn disconnect(version: Version) -> BoxedStrategy<Disconnect> {
    let codes = [0x00, 0x00, 0x04, 0x81, 0x82, 0x87, 0x8B, 0x8D, 0x8E, 0x93, 0x95, 0x97, 0x98, 0x9C, 0xA0];
    (reason(version, &codes, &[0]), of(any::<u32>()), of(string()), of(string()), user_properties())
        .prop_map(move |(reason, session_expiry_s, reason_string, server_reference, user_properties)| {
            if version != Version::V5 {
                return Disconnect::new(reason);
            }
            Disconnect { reason, session_expiry_s, reason_string, server_reference, user_properties }
        })
        .boxed()
}

fn auth() -> BoxedStrategy<Auth> {
    (select(vec![0x00, 0x18, 0x19]).prop_map(Reason), string(), of(binary()), of(string()), user_properties())
        .prop_map(|(reason, method, data, reason_string, user_properties)| Auth {
            reason,
            method: Some(method),
            data,
            reason_string,
            user_properties,
        })
        .boxed()
}
