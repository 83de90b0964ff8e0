//! From bytes to frames and back, on one Network Connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::metrics::Metrics;
use crate::packet::outgoing::Outgoing;
use crate::packet::primitive::DecodeError;
use crate::packet::{Packet, Version};

/// One read takes at most this much: the buffer is one of the thread, not of the connection.
const READ_MAX: usize = 64 * 1024;

/// Slices of one vectored write.
const SLICES_MAX: usize = 64;

/// Memory for a packet that comes in pieces grows with what has come, at least by this much.
const PARTIAL_GROWTH_MIN: usize = 4 * 1024;

thread_local! {
    static READ_BUFFER: std::cell::RefCell<Box<[u8]>> = std::cell::RefCell::new(vec![0; READ_MAX].into_boxed_slice());
}

#[derive(Debug)]
pub struct Framing<S> {
    stream: S,
    /// Bytes that were read and not yet taken as frames.
    batch: Bytes,
    /// The beginning of a packet whose rest has not come.
    partial: BytesMut,
    /// Maximum Packet Size of the Server.
    packet_bytes_max: u32,
    counts: Counts,
}

/// What came and went since it was last counted.
#[derive(Debug, Default)]
struct Counts {
    packets_received: u64,
    bytes_received: u64,
    bytes_sent: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Framing<S> {
    pub fn new(stream: S, packet_bytes_max: u32) -> Framing<S> {
        Framing { stream, batch: Bytes::new(), partial: BytesMut::new(), packet_bytes_max, counts: Counts::default() }
    }

    /// From now on packets of so many bytes are taken.
    pub fn take_up_to(&mut self, packet_bytes_max: u32) {
        self.packet_bytes_max = packet_bytes_max;
    }

    /// The next complete Control Packet among what was read; `topic` is the Topic Name that a PUBLISH most likely has.
    #[inline]
    pub fn packet(&mut self, version: Version, topic: Option<&ByteString>) -> Result<Option<Packet>, DecodeError> {
        let Some(sizes) = self.find()? else { return Ok(None) };
        let packet = Packet::decode_first(version, &self.batch, sizes, topic)?;
        self.batch.advance(sizes.1);
        Ok(Some(packet))
    }

    /// Where the next complete Control Packet is among what was read: the sizes of its Fixed Header and of all of it. Of a packet whose end is
    /// missing the beginning is kept for the next read.
    #[inline]
    fn find(&mut self) -> Result<Option<(usize, usize)>, DecodeError> {
        let found = crate::packet::frame(&self.batch, self.packet_bytes_max)?;
        if found.is_some() {
            self.counts.packets_received += 1;
        } else if !self.batch.is_empty() {
            self.partial = BytesMut::from(std::mem::take(&mut self.batch));
        } else if self.batch.as_ptr() != Bytes::new().as_ptr() {
            self.batch = Bytes::new();
        }
        Ok(found)
    }

    /// Bytes that were read and are no packet yet.
    pub fn batch_len(&self) -> usize {
        self.batch.len()
    }

    /// The first byte of what was read and is no frame yet.
    pub fn first_byte(&self) -> Option<u8> {
        self.batch.first().or(self.partial.first()).copied()
    }

    /// The first byte of the next frame, unless only its beginning has come.
    pub fn first_byte_of_batch(&self) -> Option<u8> {
        matches!(crate::packet::frame(&self.batch, self.packet_bytes_max), Ok(Some(_))).then(|| self.batch[0])
    }

    /// Whether a frame may be there without reading.
    pub fn has_batch(&self) -> bool {
        self.batch_len() > 0
    }

    /// Reads once; `Ok(false)` is the end of the stream. What came is copied out of the thread's buffer in its exact size, so that a
    /// quiet connection has no buffer and a small message does not hold a large one.
    pub fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
            let bytes = read.filled();
            self.counts.bytes_received += bytes.len() as u64;
            if self.partial.is_empty() {
                self.batch = Bytes::copy_from_slice(bytes);
            } else {
                self.continue_partial(bytes);
            }
            Poll::Ready(Ok(!bytes.is_empty()))
        })
    }

    /// The batch stays empty until the packet that has begun is whole.
    fn continue_partial(&mut self, bytes: &[u8]) {
        if self.partial.capacity() - self.partial.len() < bytes.len() {
            self.partial.reserve(bytes.len().max(self.partial.len()).max(PARTIAL_GROWTH_MIN));
        }
        self.partial.extend_from_slice(bytes);
        // A fault in the frame is found again by `frame`, which reports it.
        if !matches!(crate::packet::frame(&self.partial, self.packet_bytes_max), Ok(None)) {
            self.batch = std::mem::take(&mut self.partial).freeze();
        }
    }

    /// Writes as much as the socket takes. Ready when nothing is left.
    pub fn poll_flush(&mut self, outgoing: &mut Outgoing, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !outgoing.is_empty() {
            let mut slices = [io::IoSlice::new(&[]); SLICES_MAX];
            let count = outgoing.slices(&mut slices);
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, &slices[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.counts.bytes_sent += written as u64;
            outgoing.advance(written);
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Reads until a whole packet is there; `None` is the end of the stream.
    pub async fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        loop {
            if let Some((_, total)) = self.find().map_err(FrameError::Decode)? {
                return Ok(Some(self.batch.split_to(total)));
            }
            if !std::future::poll_fn(|context| self.poll_fill(context)).await.map_err(FrameError::Io)? {
                return Ok(None);
            }
        }
    }

    pub async fn flush(&mut self, outgoing: &mut Outgoing) -> io::Result<()> {
        std::future::poll_fn(|context| self.poll_flush(outgoing, context)).await
    }

    /// Adds to the metrics what came and went since the last call.
    pub fn count(&mut self, metrics: &Metrics) {
        let Counts { packets_received, bytes_received, bytes_sent } = std::mem::take(&mut self.counts);
        Metrics::add(&metrics.packets_received, packets_received);
        Metrics::add(&metrics.bytes_received, bytes_received);
        Metrics::add(&metrics.bytes_sent, bytes_sent);
    }

    /// Ends our side of the stream, so that the Client sees everything that was written before it sees the end.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        std::future::poll_fn(|context| Pin::new(&mut self.stream).poll_shutdown(context)).await
    }

    /// Reads and forgets: a socket that is closed with bytes unread is reset, and the reset can overtake what was written.
    pub async fn drain(&mut self) {
        while matches!(std::future::poll_fn(|context| self.poll_fill(context)).await, Ok(true)) {
            (self.batch, self.partial) = Default::default();
        }
    }
}

#[derive(Debug)]
pub enum FrameError {
    Io(io::Error),
    Decode(DecodeError),
}
