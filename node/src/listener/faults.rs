//! What a Server must never do, done on purpose, for those who test clients. It is done to the bytes at the edge; the broker behind it does
//! everything right and knows nothing of it.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::stream::Stream;

/// How long a SUBACK waits for a PUBLISH to go before it.
const SUBACK_WAITS: Duration = Duration::from_millis(250);

/// Enough of a CONNECT to see its Protocol Level.
const HEAD_BYTES: usize = 14;

/// Which faults are done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Clients of any other Protocol Level are refused.
    pub version: Option<u8>,
    /// The first PUBLISH that a subscription brings goes before its SUBACK, if it comes within a quarter of a second.
    pub publish_before_suback: bool,
    /// A PUBLISH lacks its last two bytes; its Remaining Length counts them.
    pub short_publish: bool,
    /// CONNACK says this, and the connection ends. For a 5.0 client 1 to 5 become the Reason Codes that they were before.
    pub error_connack: Option<u8>,
    /// The Remaining Length of a PUBLISH has five bytes, one more than there may be.
    pub excessive_remaining: bool,
    /// A number for the log, to find the test again.
    pub testnum: Option<u32>,
}

/// Where faults are said: the file is read again for every connection, so that what it does not say any more is off again.
#[derive(Clone, Debug, Default)]
pub struct Source {
    pub fixed: Faults,
    pub file: Option<PathBuf>,
}

impl Faults {
    /// Reads the format of curl's test server and of the Python package `mqttd`: a line for each fault, `#` begins a comment.
    ///
    /// # Errors
    /// What is wrong with which line.
    pub fn parse(mut self, text: &str) -> Result<Faults, String> {
        for (number, line) in (1..).zip(text.lines()) {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(name) = words.next() else { continue };
            let value = words.next();
            let wrong = |what: &str| format!("line {number}: {name} {what}");
            let count = |most: u32| match value.map(str::parse::<u32>) {
                Some(Ok(count)) if count <= most => Ok(count),
                _ => Err(wrong(&format!("takes a number from 0 to {most}"))),
            };
            match name {
                "version" => self.version = Some(count(255)? as u8),
                "error-CONNACK" => self.error_connack = Some(count(255)? as u8),
                "Testnum" => self.testnum = Some(count(u32::MAX)?),
                "PUBLISH-before-SUBACK" => self.publish_before_suback = true,
                "short-PUBLISH" => self.short_publish = true,
                "excessive-remaining" => self.excessive_remaining = true,
                _ => {
                    let known = "version, PUBLISH-before-SUBACK, short-PUBLISH, error-CONNACK, excessive-remaining, Testnum";
                    return Err(wrong(&format!("is no fault; there are {known}")));
                }
            }
        }
        Ok(self)
    }

    /// A Testnum alone does nothing.
    fn is_off(&self) -> bool {
        Faults { testnum: None, ..self.clone() } == Faults::default()
    }
}

impl Source {
    /// # Errors
    /// The file cannot be read, or what is wrong with it.
    pub fn read(&self) -> io::Result<Faults> {
        let Some(file) = &self.file else { return Ok(self.fixed.clone()) };
        let at = |error: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|error| at(error.to_string()))?;
        self.fixed.clone().parse(&text).map_err(at)
    }

    /// The stream with what is to be done to it now.
    pub fn onto(&self, stream: Stream) -> Stream {
        match self.read() {
            Ok(faults) if faults.is_off() => stream,
            Ok(faults) => {
                tracing::warn!(?faults, "this connection has faults, on purpose");
                Stream::Faulty(Box::new(Faulty::new(stream, faults)))
            }
            Err(error) => {
                tracing::error!(%error, "no faults are done, for their file is wrong");
                stream
            }
        }
    }
}

/// A stream whose outgoing packets have faults.
pub struct Faulty {
    inner: Stream,
    faults: Faults,
    /// The beginning of what came, until the Protocol Level is known.
    head: Vec<u8>,
    /// Of an outgoing packet that is not whole yet.
    partial: BytesMut,
    out: BytesMut,
    /// A SUBACK, and how long it waits.
    held: Option<(Bytes, Pin<Box<Sleep>>)>,
    /// A CONNACK refused the client: as soon as it has left, nothing more is heard of it.
    refused: bool,
}

impl Faulty {
    fn new(inner: Stream, faults: Faults) -> Faulty {
        let (head, partial, out) = Default::default();
        Faulty { inner, faults, head, partial, out, held: None, refused: false }
    }

    /// Takes whole packets out of what was written.
    fn take_packets(&mut self) {
        while let Some((header, length)) = whole(&self.partial) {
            let packet = self.partial.split_to(length).freeze();
            match packet[0] >> 4 {
                2 => self.connack(&packet, header),
                3 => {
                    self.publish(&packet, header);
                    self.release();
                }
                9 if self.faults.publish_before_suback => {
                    self.release();
                    let until = Instant::now() + SUBACK_WAITS;
                    self.held = Some((packet, Box::pin(tokio::time::sleep_until(until))));
                }
                _ => self.out.extend_from_slice(&packet),
            }
        }
    }

    fn release(&mut self) {
        if let Some((suback, _)) = self.held.take() {
            self.out.extend_from_slice(&suback);
        }
    }

    fn connack(&mut self, packet: &[u8], header: usize) {
        let is_v5 = packet.len() - header > 2;
        let other_level = self.faults.version.is_some_and(|version| level(&self.head).is_some_and(|level| level != version));
        let code = match self.faults.error_connack.filter(|code| *code > 0) {
            Some(code) if is_v5 => [0x80, 0x84, 0x85, 0x88, 0x86, 0x87].get(usize::from(code)).copied().unwrap_or(code.max(0x80)),
            Some(code) => code,
            None if other_level => {
                if is_v5 {
                    0x84
                } else {
                    1
                }
            }
            None => return self.out.extend_from_slice(packet),
        };
        self.refused = true;
        self.out.extend_from_slice(&packet[..header]);
        self.out.extend_from_slice(&[0, code]); // who is refused has no Session [MQTT-3.2.2-6]
        self.out.extend_from_slice(&packet[header + 2..]);
    }

    fn publish(&mut self, packet: &[u8], header: usize) {
        let mut body = &packet[header..];
        if self.faults.short_publish {
            body = &body[..body.len().saturating_sub(2)];
        }
        if self.faults.excessive_remaining {
            self.out.put_u8(packet[0]);
            let length = packet.len() - header;
            (0..4).for_each(|at| self.out.put_u8((length >> (7 * at)) as u8 | 0x80));
            self.out.put_u8(0);
        } else {
            self.out.extend_from_slice(&packet[..header]);
        }
        self.out.extend_from_slice(body);
    }

    fn poll_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.held.as_mut().is_some_and(|(_, timer)| timer.as_mut().poll(context).is_ready()) {
            self.release();
        }
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(context, &self.out))?;
            self.out.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

/// The bytes of the fixed header and of the packet, once it is whole.
fn whole(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for at in 1..5 {
        let byte = *bytes.get(at)?;
        length |= usize::from(byte & 0x7F) << (7 * (at - 1));
        if byte & 0x80 == 0 {
            let total = at + 1 + length;
            return (bytes.len() >= total).then_some((at + 1, total));
        }
    }
    None
}

/// The Protocol Level of a CONNECT.
fn level(head: &[u8]) -> Option<u8> {
    let header = 1 + head.get(1..5)?.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let name = usize::from(*head.get(header + 1)?);
    head.get(header + 2 + name).map(|level| level & 0x7F)
}

impl AsyncRead for Faulty {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // What has not left yet is tried here too: nobody flushes a stream that took everything.
        let left = this.poll_out(context);
        if this.refused {
            return left; // with no bytes: the end
        }
        if let Poll::Ready(Err(error)) = left {
            return Poll::Ready(Err(error));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
        let wanted = HEAD_BYTES - this.head.len();
        this.head.extend(buffer.filled()[before..].iter().take(wanted));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Faulty {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_out(context))?;
        this.partial.extend_from_slice(bytes);
        this.take_packets();
        match this.poll_out(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_out(context))?;
        Pin::new(&mut this.inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.release();
        ready!(this.poll_out(context))?;
        Pin::new(&mut this.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_of_the_seed_is_read() {
        let text = "# a comment\nversion 5\nPUBLISH-before-SUBACK\nshort-PUBLISH # and why\n\nerror-CONNACK 3\nexcessive-remaining\nTestnum 1190\n";
        let faults = Faults {
            version: Some(5),
            publish_before_suback: true,
            short_publish: true,
            error_connack: Some(3),
            excessive_remaining: true,
            testnum: Some(1190),
        };
        assert_eq!(Faults::default().parse(text), Ok(faults));
        assert!(Faults::default().parse("Testnum 7").unwrap().is_off());
        for (bad, said) in
            [("version x", "line 1: version takes"), ("\nshort", "line 2: short is no fault"), ("error-CONNACK 256", "0 to 255")]
        {
            let error = Faults::default().parse(bad).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn the_level_of_a_connect_is_found() {
        assert_eq!(level(&[0x10, 0x0C, 0, 4, b'M', b'Q', b'T', b'T', 5, 2]), Some(5));
        assert_eq!(level(&[0x10, 0x80, 0x01, 0, 6, b'M', b'Q', b'I', b's', b'd', b'p', 3, 2]), Some(3));
        assert_eq!(level(&[0x10, 0x0C, 0, 4]), None);
    }
}
