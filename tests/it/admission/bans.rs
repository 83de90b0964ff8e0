//! Clients, users and addresses that are shut out.

use mqttd_tests::*;

#[test]
fn a_ban_ends_connections_and_keeps_out() {
    let broker = Broker::start();
    let (id, other) = (unique("c"), unique("c"));
    for version in [V5, V3_1_1] {
        let mut banned = broker.client(version).id(&id).connect();
        let mut bystander = broker.client(version).id(&other).connect();
        broker.auth().ban(&format!("client:{id}"), None);
        if version == V5 {
            banned.expect_disconnect(Reason::NOT_AUTHORIZED);
        }
        banned.expect_closed();
        broker.client(version).id(&id).refused(if version == V5 { Reason::BANNED } else { Reason::NOT_AUTHORIZED });
        bystander.expect_nothing();
        assert_eq!(broker.auth().bans(), [format!("client:{id}")]);
        assert!(broker.auth().unban(&format!("client:{id}")) && !broker.auth().unban(&format!("client:{id}")));
        broker.client(version).id(&id).connect();
    }
    assert!(broker.auth().count(|metrics| &metrics.auth_banned) >= 4);
}

#[test]
fn users_and_addresses_can_be_banned_too() {
    let broker = Broker::start();
    let mut ann = broker.client(V5).user("ann", "").connect();
    let mut bob = broker.client(V5).user("bob", "").connect();
    broker.auth().ban("user:ann", None);
    ann.expect_disconnect(Reason::NOT_AUTHORIZED);
    broker.client(V5).user("ann", "").refused(Reason::BANNED);
    broker.auth().ban("address:10.0.0.0/8", None);
    bob.expect_nothing();
    broker.auth().ban("address:127.0.0.0/8", None);
    bob.expect_disconnect(Reason::NOT_AUTHORIZED);
    broker.client(V5).refused(Reason::BANNED);
    assert_eq!(broker.auth().bans().len(), 3);
}

/// By the broker's own clock.
#[test]
fn a_ban_ends_when_its_time_is_over() {
    let broker = Broker::start();
    let id = unique("c");
    broker.auth().ban(&format!("client:{id}"), Some(1500));
    broker.client(V5).id(&id).refused(Reason::BANNED);
    pass(&broker, 2);
    broker.client(V5).id(&id).connect();
    assert!(broker.auth().bans().is_empty());
}
