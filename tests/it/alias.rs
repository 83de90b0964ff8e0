//! Topic Aliases (5.0 section 3.3.2.3.4), in both directions.

use mqttd_tests::*;

fn alias_maximum(client: &Client) -> u16 {
    client.connack.as_ref().expect("connected").properties.topic_alias_maximum.unwrap_or(0)
}

/// `[MQTT-3.3.2-12]` Every alias up to the announced maximum; subscribers see the Topic Name.
#[test]
fn an_alias_stands_for_its_topic() {
    let topic = unique("t");
    let (mut publisher, mut subscriber) = pair(V5);
    subscriber.subscribe(&format!("{topic}/#"), 2);
    let maximum = alias_maximum(&publisher);
    assert!(maximum > 0, "the default is to allow aliases");
    for alias in [1, maximum] {
        let topic = format!("{topic}/{alias}");
        for level in 0..=2u8 {
            publisher.publish(message(&topic, "named").qos(level).alias(alias));
            subscriber.receive(message(&topic, "named").qos(level));
            publisher.publish(message("", "aliased").qos(level).alias(alias));
            subscriber.receive(message(&topic, "aliased").qos(level));
        }
    }
}

/// Section 3.3.2.3.4: an alias may be given to another topic.
#[test]
fn an_alias_may_change_its_topic() {
    let topic = unique("t");
    let (mut publisher, mut subscriber) = pair(V5);
    subscriber.subscribe(&format!("{topic}/+"), 0);
    for name in ["a", "b", "a"] {
        let topic = format!("{topic}/{name}");
        publisher.publish(message(&topic, "1").alias(1));
        publisher.publish(message("", "2").alias(1));
        subscriber.expect_publish(message(&topic, "1"));
        subscriber.expect_publish(message(&topic, "2"));
    }
}

/// `[MQTT-3.3.2-8]`
#[test]
fn alias_zero_is_invalid() {
    let mut client = client(V5).connect();
    client.send(message("t", "x").alias(0));
    client.expect_disconnect(Reason::TOPIC_ALIAS_INVALID);
}

/// `[MQTT-3.3.2-9]` `[MQTT-3.2.2-17]`
#[test]
fn an_alias_above_the_maximum_is_invalid() {
    let mut client = client(V5).connect();
    let maximum = alias_maximum(&client);
    client.send(message("t", "x").alias(maximum + 1));
    client.expect_disconnect(Reason::TOPIC_ALIAS_INVALID);
}

/// Section 3.3.2.3.4: an alias that nobody has set stands for nothing.
#[test]
fn an_unknown_alias_is_a_protocol_error() {
    let mut client = client(V5).connect();
    client.send(message("", "x").alias(1));
    client.expect_disconnect(Reason::PROTOCOL_ERROR);
}

/// `[MQTT-3.3.2-7]` Aliases end with the connection, though the Session goes on.
#[test]
fn aliases_end_with_the_connection() {
    let (topic, id) = (unique("t"), unique("c"));
    let mut first = client(V5).id(&id).durable().connect();
    first.publish(message(&topic, "x").alias(1));
    first.disconnect();
    let mut second = client(V5).id(&id).durable().connect();
    second.send(message("", "x").alias(1));
    second.expect_disconnect(Reason::PROTOCOL_ERROR);
}

/// Section 3.3.2.3.4: the aliases of one client are not those of another.
#[test]
fn aliases_belong_to_one_connection() {
    let topic = unique("t");
    let (mut first, mut second) = pair(V5);
    first.publish(message(&topic, "x").alias(1));
    second.send(message("", "x").alias(1));
    second.expect_disconnect(Reason::PROTOCOL_ERROR);
}

/// `[MQTT-3.1.2-27]` Without a Topic Alias Maximum of the client the broker uses none.
#[test]
fn no_aliases_towards_a_client_that_allows_none() {
    for connecting in [client(V5), client(V5).topic_alias_maximum(0)] {
        let topic = unique("t");
        let mut subscriber = connecting.connect();
        subscriber.subscribe(&topic, 0);
        let mut publisher = client(V5).connect();
        for number in 0..20 {
            publisher.publish(message(&topic, format!("{number}")).alias(1));
            subscriber.expect_publish(message(&topic, format!("{number}")));
        }
    }
}

/// `[MQTT-3.1.2-26]` `[MQTT-3.3.2-11]` Towards a client that allows aliases: in its bounds, and each stands for the right topic.
#[test]
fn aliases_towards_a_client_that_allows_them() {
    let root = unique("t");
    let mut subscriber = client(V5).topic_alias_maximum(2).connect();
    subscriber.subscribe(&format!("{root}/+"), 1);
    let mut publisher = client(V5).connect();
    let mut known = std::collections::HashMap::new();
    let mut shortened = 0;
    for round in 0..10 {
        for name in ["a", "b", "c", "d"] {
            let topic = format!("{root}/{name}");
            publisher.publish(message(&topic, format!("{round}")).qos(round % 2));
            let came = subscriber.next_publish();
            if let Some(id) = came.packet_id {
                subscriber.send(puback(id.get()));
            }
            let alias = came.properties.as_ref().and_then(|properties| properties.topic_alias);
            assert!(alias.is_none_or(|alias| (1..=2).contains(&alias)), "{alias:?}");
            let told = came.topic.to_string();
            let meant = match (told.is_empty(), alias) {
                (true, alias) => known[&alias.expect("no topic, so an alias")],
                (false, Some(alias)) => {
                    known.insert(alias, name);
                    name
                }
                (false, None) => name,
            };
            assert!(told.is_empty() || told == topic);
            assert_eq!((meant, &came.payload[..]), (name, format!("{round}").as_bytes()));
            shortened += u32::from(told.is_empty());
        }
    }
    assert!(shortened > 0, "no topic was ever shortened");
}

/// `[MQTT-3.3.2-7]` What comes again after a reconnection names its topic, whatever alias it went out with.
#[test]
fn redelivery_names_the_topic() {
    let (topic, id) = (unique("t"), unique("c"));
    let mut publisher = client(V5).connect();
    let mut first = client(V5).id(&id).durable().topic_alias_maximum(10).connect();
    first.subscribe(&topic, 1);
    for number in 0..3 {
        publisher.publish(message(&topic, format!("{number}")).qos(1));
        first.next_publish();
    }
    first.cut();
    let mut second = client(V5).id(&id).durable().connect();
    for number in 0..3 {
        second.receive(message(&topic, format!("{number}")).qos(1).dup());
    }
}
