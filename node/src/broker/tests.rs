//! The broker over the embedded store, without sockets.

use std::sync::Arc;

use super::mailbox::Bounds;
use super::{Broker, Limits, Member, Rates, life};
use crate::clock::Clock;
use crate::hook::client::{Client, Peer, Proof};
use crate::hook::{Admitted, Answer, Exchange, Guard, Recipient};
use crate::message::{Message, Permit, Run};
use crate::packet::connect::{ClientId, Connect, ConnectProperties};
use crate::packet::reason::Reason;
use crate::packet::subscribe::{Subscribe, SubscriptionOptions};
use crate::packet::{Packet, PacketId, QoS, Version};
use crate::session::connect::Request;
use crate::session::settings::Settings;
use crate::session::state::State;
use crate::session::{Command, Outcome, Session, Subscribed};
use crate::store::memory::{self, Memory};
use crate::store::{Open, Store};
use crate::subscription::{Selector, Subscription};
use crate::topic::name::TopicName;

/// Lets everybody do everything.
#[derive(Debug)]
struct Open24Hours;

impl Guard for Open24Hours {
    fn connect<'a>(&'a self, _: &'a Connect, _: &'a ClientId, _: &'a Peer) -> Answer<'a, Result<Admitted, Reason>> {
        Box::pin(std::future::ready(Ok(Admitted::default())))
    }

    fn shut_out(&self, _: &Client) -> Option<Reason> {
        None
    }

    fn authentication(&self, _: &str, _: &Peer) -> Option<Box<dyn Exchange>> {
        None
    }

    fn publish(&self, _: &Client, _: &TopicName) -> Result<Permit, Reason> {
        Ok(Permit::ALL)
    }

    fn receive(&self, _: Recipient<'_>, _: &TopicName) -> bool {
        true
    }

    fn subscribe(&self, _: &Client, _: &Selector) -> Result<QoS, Reason> {
        Ok(QoS::ExactlyOnce)
    }
}

pub(crate) fn broker(store: memory::Limits) -> Broker {
    let limits = Limits {
        mailbox: Bounds { messages_max: 1000, bytes_max: 1 << 24 },
        subscriptions_per_client_max: 2,
        connect_bytes_max: 1 << 20,
        rates: Rates::default(),
        addresses: Default::default(),
        drain: crate::broker::life::Settings::default(),
    };
    Broker::new(Arc::default(), Arc::new(Open24Hours), Store::Memory(Memory::new(store)), limits, Clock::start())
}

pub(crate) fn is_online(broker: &Broker, client_id: &str) -> bool {
    broker.roster.get(&ClientId::new(client_id)).is_some_and(|subscriber| subscriber.mailbox.is_online())
}

fn client(request: &Request) -> Arc<Client> {
    Arc::new(Client {
        id: request.client_id.clone(),
        user: None,
        peer: Arc::new(Peer::tcp(([127, 0, 0, 1], 1).into())),
        version: Version::V5,
        proof: Proof::default(),
        keep_alive_s: 0,
        clean_start: request.clean_start,
    })
}

async fn connect(broker: &Broker, client_id: &str, expiry_s: u32) -> (Member, Session, Option<State>) {
    let connect = Connect {
        version: Version::V5,
        clean_start: false,
        keep_alive_s: 0,
        client_id: client_id.to_owned().into(),
        will: None,
        user_name: None,
        password: None,
        properties: ConnectProperties { session_expiry_s: Some(expiry_s), ..ConnectProperties::default() },
    };
    let request = Request::new(&connect, &broker.settings, || unreachable!("it has one")).unwrap();
    let open = Open { clean_start: request.clean_start, expiry: request.expiry, will: None };
    let (member, state) = broker.open(&client(&request), &request.client_id, open, broker.clock.now()).await.unwrap();
    let member = member.expect("nobody was faster");
    let session = request.accept(state.clone(), None, &Arc::new(Settings::default()), broker.clock.now());
    (member, session, state)
}

pub(crate) fn message(topic: &str, qos: QoS, size: usize) -> Message {
    let topic = TopicName::new(topic.to_owned().into()).unwrap();
    Message { topic, payload: vec![b'x'; size].into(), qos, retain: false, properties: None, expires_at: None }
}

async fn subscribe(broker: &Broker, member: &mut Member, filter: &str) -> Result<bool, Reason> {
    let options = SubscriptionOptions { qos: QoS::ExactlyOnce, ..Default::default() };
    let subscription = Subscription { selector: Selector::parse(filter).unwrap(), options, id: None };
    let committed = broker.commit(member, vec![Command::Subscribe(vec![Ok(subscription)])], broker.clock.now()).await.unwrap();
    let Some(Outcome::Subscribed(mut all)) = committed.outcomes.into_iter().next() else { panic!("it subscribes") };
    let Subscribed { subscription, existed } = all.remove(0);
    subscription.map(|_| existed)
}

/// Or the message would be lost: sent again, it would pass for a duplicate.
#[tokio::test]
async fn what_is_refused_at_qos_2_is_not_on_record() {
    let broker = broker(memory::Limits { messages_max: 0, ..memory::Limits::default() });
    let (mut reader, ..) = connect(&broker, "reader", 60).await;
    subscribe(&broker, &mut reader, "a").await.unwrap();
    let (mut writer, ..) = connect(&broker, "writer", 60).await;
    let publish = |topic, id| {
        let (run, received) = (Arc::new(Run::from(message(topic, QoS::ExactlyOnce, 1))), vec![PacketId::new(id).unwrap()]);
        Command::Publish { run, received }
    };
    let commands = vec![publish("a", 1), publish("nobody", 2)];
    let committed = broker.commit(&mut writer, commands, broker.clock.now()).await.unwrap();
    assert_eq!(committed.outcomes, [Outcome::Refused(Reason::QUOTA_EXCEEDED), Outcome::Published { matched: false }]);
    let (_, _, state) = connect(&broker, "writer", 60).await;
    assert_eq!(state.unwrap().received, [PacketId::new(2).unwrap()]);
}

#[tokio::test]
async fn at_the_bound_a_subscription_can_still_be_replaced() {
    let broker = broker(memory::Limits::default());
    let (mut member, ..) = connect(&broker, "c", 0).await;
    assert_eq!(subscribe(&broker, &mut member, "a").await, Ok(false));
    assert_eq!(subscribe(&broker, &mut member, "b").await, Ok(false));
    assert_eq!(subscribe(&broker, &mut member, "c").await, Err(Reason::QUOTA_EXCEEDED));
    assert_eq!(subscribe(&broker, &mut member, "a").await, Ok(true));
}

/// Its key in the routing table is the next Client's, who would get what it never asked for.
#[tokio::test]
async fn a_connection_whose_session_has_ended_subscribes_to_nothing() {
    let broker = broker(memory::Limits::default());
    let (mut old, mut old_session, _) = connect(&broker, "c", 0).await;
    let (new, ..) = connect(&broker, "c", 0).await;
    let (other, ..) = connect(&broker, "other", 0).await;
    assert_eq!(other.subscriber.key, old.subscriber.key, "the key is used again");
    subscribe(&broker, &mut old, "a").await.unwrap();
    assert_eq!(broker.subscriptions(), 0);
    broker.close(&mut old, &mut old_session, Default::default(), false, broker.clock.now()).await.unwrap();
    assert!(new.subscriber.mailbox.is_online() && other.subscriber.mailbox.is_online());
    assert!(broker.roster.get(&new.subscriber.client_id).is_some_and(|subscriber| Arc::ptr_eq(&subscriber, &new.subscriber)));
}

/// A take-over ends a Session of one connection like any other end does.
#[tokio::test]
async fn a_member_that_is_taken_over_hands_over_what_it_has_not_acknowledged() {
    let broker = broker(memory::Limits::default());
    let (mut one, mut one_session, _) = connect(&broker, "one", 0).await;
    subscribe(&broker, &mut one, "$share/g/a").await.unwrap();
    broker.publish(message("a", QoS::AtLeastOnce, 1), broker.clock.now()).await.unwrap();
    for delivery in one.subscriber.mailbox.take(one.lease.epoch, true).deliveries {
        one_session.deliver(&delivery, broker.clock.now());
    }
    assert_eq!(one_session.in_flight(), 1);
    let (mut two, ..) = connect(&broker, "two", 0).await;
    subscribe(&broker, &mut two, "$share/g/a").await.unwrap();
    let _later = connect(&broker, "one", 0).await;
    broker.close(&mut one, &mut one_session, Default::default(), false, broker.clock.now()).await.unwrap();
    assert_eq!(two.subscriber.mailbox.take(two.lease.epoch, true).deliveries.len(), 1);
}

/// A page has up to 256 messages of any size: it must not all go into the memory of a socket that takes nothing.
#[tokio::test]
async fn large_retained_messages_come_as_the_socket_takes_them() {
    let broker = broker(memory::Limits::default());
    for number in 0..20 {
        let retained = Message { retain: true, ..message(&format!("a/{number}"), QoS::AtMostOnce, 200_000) };
        broker.publish(retained, broker.clock.now()).await.unwrap();
    }
    let (mut member, mut session, _) = connect(&broker, "c", 0).await;
    let filters = vec![("a/#".into(), SubscriptionOptions::default())];
    let subscribe = Subscribe { packet_id: PacketId::MIN, subscription_id: None, user_properties: Vec::new(), filters };
    session.handle(Packet::Subscribe(Box::new(subscribe)), |_| Ok(Permit::ALL), broker.clock.now()).unwrap();
    let committed = broker.commit(&mut member, session.commands(), broker.clock.now()).await.unwrap();
    let _refused = session.settle(committed.outcomes);
    let (mut written, mut pages) = (0, 0);
    while session.retained_read().is_some() {
        broker.read_retained(&member, &someone(), &mut session, broker.clock.now()).await.unwrap();
        let waiting = session.outgoing().len();
        assert!(waiting < 500_000, "{waiting} bytes wait");
        session.outgoing().advance(waiting);
        (written, pages) = (written + waiting, pages + 1);
    }
    assert!(written > 20 * 200_000 && written < 20 * 200_100 && pages == 10, "{written} bytes in {pages} pages");
}

fn someone() -> Arc<crate::hook::client::Client> {
    let peer = Arc::new(crate::hook::client::Peer::tcp(std::net::SocketAddr::from(([127, 0, 0, 1], 1))));
    let (id, version) = (ClientId::new("c"), crate::packet::Version::V5);
    Arc::new(crate::hook::client::Client { id, user: None, peer, version, proof: Default::default(), keep_alive_s: 0, clean_start: true })
}

/// However many there are, no tick sends away more than its part of them, and none is left when the time is over.
#[tokio::test(start_paused = true)]
async fn clients_are_sent_away_a_handful_at_a_time() {
    const CLIENTS: u64 = 3000;
    let mut broker = broker(memory::Limits::default());
    let time = std::time::Duration::from_secs(10);
    broker.life = life::Life::new(life::Settings { time, ..life::Settings::default() });
    let broker = Arc::new(broker);
    let mut members = Vec::new();
    for number in 0..CLIENTS {
        members.push(connect(&broker, &format!("c{number}"), 0).await);
    }
    let drain = tokio::spawn({
        let broker = broker.clone();
        async move { broker.drain().await }
    });
    let mut told = vec![0];
    for _ in 0..100 {
        tokio::time::advance(std::time::Duration::from_millis(100)).await;
        tokio::task::yield_now().await;
        told.push(broker.metrics.clients_sent_away.load(std::sync::atomic::Ordering::Relaxed));
    }
    assert!(told.windows(2).all(|two| two[1] - two[0] <= 60), "{told:?}"); // the first tick comes at once
    assert!(told[50] <= 1560 && told[100] == CLIENTS, "{told:?}");
    drain.abort();
}
