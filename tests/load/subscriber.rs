//! One client that receives, acknowledges, and keeps the books.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::io::AsyncReadExt;

use crate::gate::Gate;
use crate::scenario::{Pace, Traffic};
use crate::sequence::Sequence;
use crate::wire::{self, Came, Input, Wire};

pub(crate) struct Subscriber {
    pub(crate) traffic: Traffic,
    /// Of all subscribers together, each message once for each of them.
    pub(crate) delivered: Arc<AtomicU64>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) clock: Instant,
    pub(crate) received: Received,
}

/// What a subscriber got.
#[derive(Default)]
pub(crate) struct Received {
    /// By publisher.
    pub(crate) sequences: Vec<Sequence>,
    /// When each message was published, and how long it took; of paced traffic only.
    pub(crate) delays_ns: Vec<(u64, u64)>,
    /// Why it ended before it was told to.
    pub(crate) fault: Option<String>,
}

impl Subscriber {
    /// Receives until all is over.
    pub(crate) async fn run(mut self, stream: Wire) -> Received {
        self.received.sequences.resize_with(self.traffic.publishers, Sequence::default);
        let gate = self.gate.clone();
        let ended = tokio::select! {
            biased;
            ended = self.receive(stream) => ended,
            () = gate.over() => Ok(()),
        };
        // The broker ends before those who are told so.
        self.received.fault = ended.err().filter(|_| !gate.is_stopped()).map(|error| format!("subscriber: {error}"));
        self.received
    }

    async fn receive(&mut self, mut stream: Wire) -> io::Result<()> {
        let (mut input, mut out) = (Input::new(), Vec::new());
        loop {
            match stream.read(input.room()).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                bytes => input.filled(bytes),
            }
            let fresh = self.take(&mut input, &mut out)?;
            let delivered = self.delivered.fetch_add(fresh, Ordering::Relaxed) + fresh;
            if let Pace::Undelivered(messages) = self.traffic.pace {
                self.gate.raise(delivered / self.traffic.copies() + messages, messages.div_ceil(4));
            }
            if !out.is_empty() {
                wire::write(&mut stream, &out).await?;
                out.clear();
            }
        }
    }

    /// Everything that came whole; how many messages came for the first time.
    fn take(&mut self, input: &mut Input, out: &mut Vec<u8>) -> io::Result<u64> {
        let mut fresh = 0;
        while let Some(came) = input.next()? {
            match came {
                Came::Publish { packet_id, stamp } => {
                    let sequence = self.received.sequences.get_mut(stamp.publisher as usize);
                    fresh += u64::from(sequence.ok_or_else(|| io::Error::other("a publisher that is none"))?.came(stamp.sequence));
                    if self.traffic.is_paced() {
                        let now_ns = self.clock.elapsed().as_nanos() as u64;
                        self.received.delays_ns.push((stamp.at_ns, now_ns.saturating_sub(stamp.at_ns)));
                    }
                    let answer = if self.traffic.qos == 2 { wire::PUBREC } else { wire::PUBACK };
                    packet_id.into_iter().for_each(|packet_id| wire::acknowledge(out, answer, packet_id));
                }
                Came::Acknowledgement { kind: wire::PUBREL, packet_id } => wire::acknowledge(out, wire::PUBCOMP, packet_id),
                Came::Acknowledgement { .. } => return Err(io::Error::other("the broker sent what a subscriber does not wait for")),
            }
        }
        Ok(fresh)
    }
}
