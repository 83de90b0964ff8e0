//! One client that publishes as fast as its gate and its window let it.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::AsyncReadExt;

use crate::gate::Gate;
use crate::wire::{self, Came, Input, Stamp, Template, Wire};

/// Messages of one write.
const BATCH_MAX: u64 = 512;

pub(crate) struct Publisher {
    pub(crate) index: u32,
    pub(crate) template: Template,
    pub(crate) qos: u8,
    /// Messages without their last acknowledgement.
    pub(crate) window: u64,
    pub(crate) gate: Arc<Gate>,
    pub(crate) clock: Instant,
}

/// What a publisher did.
#[derive(Default)]
pub(crate) struct Published {
    pub(crate) sent: u64,
    pub(crate) in_flight: u64,
    /// Why it ended before it was told to.
    pub(crate) fault: Option<String>,
}

impl Publisher {
    /// Publishes until the gate stops it and everything is acknowledged, or the connection ends.
    pub(crate) async fn run(self, stream: Wire) -> Published {
        let mut published = Published::default();
        let ended = tokio::select! {
            biased;
            ended = self.publish(stream, &mut published) => ended,
            () = self.gate.over() => Err(io::Error::other("it still waited for acknowledgements at the end")),
        };
        published.fault = ended.err().map(|error| format!("publisher {}: {error}", self.index));
        published
    }

    async fn publish(&self, mut stream: Wire, published: &mut Published) -> io::Result<()> {
        let (mut input, mut out) = (Input::new(), Vec::new());
        loop {
            let changed = self.gate.changed();
            let more = self.encode(published, &mut out);
            if !out.is_empty() {
                wire::write(&mut stream, &out).await?;
                out.clear();
            }
            if more {
                continue;
            }
            if self.gate.is_stopped() && published.in_flight == 0 {
                return Ok(());
            }
            tokio::select! {
                read = stream.read(input.room()) => match read? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    bytes => input.filled(bytes),
                },
                () = changed => {}
            }
            self.take_acknowledgements(&mut input, published, &mut out)?;
        }
    }

    /// A batch of what may be sent now; whether there is more.
    fn encode(&self, published: &mut Published, out: &mut Vec<u8>) -> bool {
        let due = self.gate.limit().saturating_sub(published.sent).min(self.window - published.in_flight);
        let at_ns = self.clock.elapsed().as_nanos() as u64;
        for _ in 0..due.min(BATCH_MAX) {
            let packet_id = (published.sent % u64::from(u16::MAX)) as u16 + 1;
            self.template.write(out, packet_id, &Stamp { publisher: self.index, sequence: published.sent, at_ns });
            published.sent += 1;
            published.in_flight += u64::from(self.qos > 0);
        }
        due > BATCH_MAX
    }

    fn take_acknowledgements(&self, input: &mut Input, published: &mut Published, out: &mut Vec<u8>) -> io::Result<()> {
        while let Some(came) = input.next()? {
            match came {
                Came::Acknowledgement { kind: wire::PUBREC, packet_id } => wire::acknowledge(out, wire::PUBREL, packet_id),
                Came::Acknowledgement { kind: wire::PUBACK | wire::PUBCOMP, .. } if published.in_flight > 0 => published.in_flight -= 1,
                _ => return Err(io::Error::other("the broker sent what a publisher does not wait for")),
            }
        }
        Ok(())
    }
}
