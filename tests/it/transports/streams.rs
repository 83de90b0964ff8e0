//! What one Client may take it may take once, however many streams it has.

use std::time::{Duration, Instant};

use mqttd::config::Config;
use mqttd::config::keys::OverRate;
use mqttd::hook::client::Transport;
use mqttd_tests::*;

use super::eventually;
use super::quic::{Stream, enter};

fn bounded(change: impl FnOnce(&mut Config)) -> Broker {
    Broker::over(&[Transport::Quic], change)
}

/// Subscribes to these, at QoS 0; what each is granted.
fn ask(stream: &mut Stream, filters: &[&str]) -> Vec<Reason> {
    let filters: Vec<_> = filters.iter().map(|filter| (*filter, 0)).collect();
    stream.send(Packet::Subscribe(Box::new(subscribe(1, &filters))));
    match stream.next() {
        Some(Packet::Suback(suback)) => suback.reasons.clone(),
        other => panic!("expected SUBACK, came {other:?}"),
    }
}

const YES: Reason = Reason(0);
const NO: Reason = Reason::QUOTA_EXCEEDED;

/// `limits.subscriptions_per_client_max`: those of all streams together, and a stream that ends gives its own back.
#[test]
fn the_subscriptions_of_all_streams_are_counted() {
    let broker = bounded(|config| config.limits.subscriptions_per_client_max = 3);
    let (_endpoint, connection, mut control) = enter(&broker);
    assert_eq!(ask(&mut control, &["a"]), [YES]);
    let (mut first, mut second) = (Stream::open(&connection), Stream::open(&connection));
    assert_eq!(ask(&mut first, &["b", "c"]), [YES, YES]);
    assert_eq!(ask(&mut second, &["d"]), [NO]);
    assert_eq!(ask(&mut first, &["b"]), [YES], "it has it already");
    assert_eq!(ask(&mut control, &["d"]), [NO]);
    drop(first);
    eventually("its places are free", || ask(&mut second, &["d"]) == [YES]);
    assert_eq!(ask(&mut control, &["e", "f"]), [YES, NO]);
}

/// `limits.subscriptions_per_minute_max`: a stream more gives none more.
#[test]
fn the_subscriptions_of_all_streams_have_one_rate() {
    let broker = bounded(|config| config.limits.subscriptions_per_minute_max = 3);
    let (_endpoint, connection, mut control) = enter(&broker);
    assert_eq!(ask(&mut control, &["a"]), [YES]);
    assert_eq!(ask(&mut Stream::open(&connection), &["b", "c", "d"]), [YES, YES, NO]);
    assert_eq!(ask(&mut Stream::open(&connection), &["e"]), [NO]);
}

/// `limits.messages_per_second_max`: neither more streams nor new ones give a full measure again.
#[test]
fn the_messages_of_all_streams_have_one_rate() {
    const RATE: usize = 4;
    let broker = bounded(|config| (config.limits.messages_per_second_max, config.limits.over_rate) = (RATE as u32, OverRate::Drop));
    let (_endpoint, connection, mut control) = enter(&broker);
    let (begun, mut taken) = (Instant::now(), 0);
    let mut publish = |stream: &mut Stream| {
        for id in 1..=RATE as u16 {
            stream.send(message(&unique("t"), "x").qos(1).id(id));
            match stream.next() {
                Some(Packet::Acknowledge(ack)) if ack.reason == Reason::NO_MATCHING_SUBSCRIBERS => taken += 1,
                Some(Packet::Acknowledge(ack)) if ack.reason == Reason::QUOTA_EXCEEDED => {}
                other => panic!("expected PUBACK, came {other:?}"),
            }
        }
    };
    publish(&mut control);
    let mut open: Vec<_> = (0..5).map(|_| Stream::open(&connection)).collect();
    open.iter_mut().for_each(&mut publish);
    drop(open);
    (0..5).for_each(|_| publish(&mut Stream::open(&connection)));
    let most = RATE + (begun.elapsed().as_secs_f64() * RATE as f64).ceil() as usize;
    assert!((RATE..=most).contains(&taken), "{taken} were taken, {most} might have been");
}

/// Each stream is a Session in the Store: 64 of them may come at once, and then 64 in a second.
#[test]
fn streams_are_opened_at_a_rate() {
    let broker = bounded(|_| {});
    let (_endpoint, connection, _control) = enter(&broker);
    let begun = Instant::now();
    for _ in 0..150 {
        let mut stream = Stream::open(&connection);
        stream.send(message(&unique("t"), "x").qos(1).id(1));
        assert!(matches!(stream.next(), Some(Packet::Acknowledge(_))));
    }
    assert!(begun.elapsed() >= Duration::from_millis(1300), "{:?}", begun.elapsed());
}
