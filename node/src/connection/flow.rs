//! How fast a Client may send: messages and bytes in a second. Over the rate it is read no further for a while, or, where the
//! configuration says so, what cannot be had is dropped and refused.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;
use crate::broker::allowance::Allowance;
use crate::packet::{QoS, Version};
use crate::time::Time;

/// The packet type of PUBLISH, as it stands in the first byte.
const PUBLISH: u8 = 3;

#[derive(Debug)]
pub(super) struct Flow {
    /// Of the Client, which may send on several streams.
    allowance: Arc<Allowance>,
    drops: bool,
    /// Nothing is read before.
    paused: Option<Time>,
}

/// What is to be done with the next packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Take,
    /// A PUBLISH that is over the rate: Quota exceeded, and at QoS 0 it is dropped.
    Refuse,
    Wait,
}

impl Flow {
    /// `None`: nothing is bounded.
    pub(super) fn new(allowance: Option<&Arc<Allowance>>, drops: bool) -> Option<Box<Flow>> {
        let allowance = allowance?.clone();
        let is_bounded = {
            let buckets = allowance.buckets();
            buckets.messages.is_some() || buckets.bytes.is_some()
        };
        is_bounded.then(|| Box::new(Flow { allowance, drops, paused: None }))
    }

    /// Looks at the first byte of a packet, before it is taken.
    pub(super) fn next(&mut self, first_byte: u8, version: Version, now: Time) -> Next {
        let mut buckets = self.allowance.buckets();
        if let Some(bytes) = &mut buckets.bytes
            && !bytes.has_some(now)
        {
            self.paused = Some(bytes.has_at(1.0));
            return Next::Wait;
        }
        let Some(messages) = buckets.messages.as_mut().filter(|_| first_byte >> 4 == PUBLISH) else { return Next::Take };
        if messages.take(now) {
            return Next::Take;
        }
        // 3.1.1 has no word for a refusal: to acknowledge what was dropped would be a lie.
        let at_most_once = first_byte >> 1 & 0b11 == QoS::AtMostOnce as u8;
        if self.drops && (at_most_once || version == Version::V5) {
            return Next::Refuse;
        }
        self.paused = Some(messages.has_at(1.0));
        Next::Wait
    }

    /// A packet of so many bytes was taken.
    pub(super) fn took(&mut self, bytes: usize) {
        if let Some(bucket) = &mut self.allowance.buckets().bytes {
            bucket.charge(bytes as u64);
        }
    }

    /// Until when nothing is read; `None`: reading goes on.
    pub(super) fn pause(&mut self, now: Time) -> Option<Time> {
        self.paused = self.paused.filter(|until| now < *until);
        self.paused
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Until when nothing is read, because the Client sends too fast.
    pub(super) fn paused(&mut self) -> Option<Time> {
        let flow = self.flow.as_mut()?;
        flow.pause(self.broker.clock.now())
    }

    /// What its rate says to the next packet, if there is one. A Client that is not listened to is not silent.
    pub(super) fn next_of_flow(&mut self, now: Time) -> Next {
        let Some(flow) = &mut self.flow else { return Next::Take };
        if flow.pause(now).is_some() {
            self.session.excuse(now);
            return Next::Wait;
        }
        let Some(first_byte) = self.framing.first_byte_of_batch() else { return Next::Take };
        let next = flow.next(first_byte, self.session.version(), now);
        if next == Next::Wait {
            self.session.excuse(now);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Rates;

    const QOS_0: u8 = 0x30;
    const QOS_1: u8 = 0x32;
    const PINGREQ: u8 = 0xC0;

    fn flow(messages: u32, bytes: u64, drops: bool) -> Flow {
        let rates = Rates { messages_per_second_max: messages, bytes_per_second_max: bytes, subscriptions_per_minute_max: 0, drops };
        *Flow::new(Some(&Arc::new(Allowance::new(&rates, Time(0)))), drops).unwrap()
    }

    #[test]
    fn over_the_rate_it_waits_or_refuses() {
        let mut delays = flow(2, 0, false);
        let ask = |flow: &mut Flow, first, version, now| flow.next(first, version, Time(now));
        assert_eq!(ask(&mut delays, QOS_0, Version::V5, 0), Next::Take);
        assert_eq!(ask(&mut delays, QOS_1, Version::V5, 0), Next::Take);
        assert_eq!(ask(&mut delays, QOS_0, Version::V5, 0), Next::Wait);
        assert_eq!(delays.pause(Time(0)), Some(Time(500)));
        assert_eq!(delays.pause(Time(500)), None);
        assert_eq!(ask(&mut delays, QOS_0, Version::V5, 500), Next::Take);
        assert_eq!(ask(&mut delays, PINGREQ, Version::V5, 500), Next::Take);

        let mut drops = flow(1, 0, true);
        assert_eq!(ask(&mut drops, QOS_1, Version::V3_1_1, 0), Next::Take);
        assert_eq!(ask(&mut drops, QOS_0, Version::V3_1_1, 0), Next::Refuse);
        assert_eq!(ask(&mut drops, QOS_1, Version::V5, 0), Next::Refuse);
        assert_eq!(ask(&mut drops, QOS_1, Version::V3_1_1, 0), Next::Wait);
    }

    #[test]
    fn a_large_packet_is_paid_for_later() {
        let mut flow = flow(0, 1000, false);
        assert_eq!(flow.next(PINGREQ, Version::V5, Time(0)), Next::Take);
        flow.took(3000);
        assert_eq!(flow.next(PINGREQ, Version::V5, Time(0)), Next::Wait);
        assert_eq!(flow.pause(Time(0)), Some(Time(2001)));
        assert_eq!(flow.next(PINGREQ, Version::V5, Time(2001)), Next::Take);
    }

    /// What is sent on one stream is not there for another.
    #[test]
    fn the_streams_of_a_client_share_what_it_may_send() {
        let rates = Rates { messages_per_second_max: 3, bytes_per_second_max: 1000, ..Rates::default() };
        let allowance = Arc::new(Allowance::new(&rates, Time(0)));
        let mut streams: Vec<_> = (0..4).map(|_| Flow::new(Some(&allowance), false).unwrap()).collect();
        let next: Vec<_> = streams.iter_mut().map(|stream| stream.next(QOS_0, Version::V5, Time(0))).collect();
        assert_eq!(next, [Next::Take, Next::Take, Next::Take, Next::Wait]);
        streams[0].took(2000);
        assert_eq!(streams[1].next(PINGREQ, Version::V5, Time(0)), Next::Wait);
        assert!(
            Flow::new(Some(&Arc::new(Allowance::new(&Rates::default(), Time(0)))), false).is_none() && Flow::new(None, false).is_none()
        );
    }
}
