//! A WebSocket as a byte stream: however what comes is cut, the same payload comes out of it, or the same fault; and however little the socket
//! takes, what goes in is framed so that the same comes out at the other end.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use mqttd::listener::websocket::WebSocket;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The first byte says how what follows is cut; what follows is what a Client sends.
pub fn hold(input: &[u8]) {
    let Some((cut, sent)) = input.split_first() else { return };
    let piece = usize::from(*cut) + 1;
    let at_once = read(sent, sent.len().max(1));
    assert_eq!(read(sent, piece), at_once, "in pieces of {piece}");
    assert_eq!(read(sent, 1), at_once, "byte by byte");
    assert!(at_once.0.len() <= sent.len());
    written(sent, piece);
}

/// What comes out of the stream, and whether it ended with a fault.
fn read(sent: &[u8], piece: usize) -> (Vec<u8>, bool) {
    let mut socket = WebSocket::new(Socket { sent, piece, took: Vec::new() });
    let mut came = Vec::new();
    let mut room = [0; 64];
    loop {
        let mut buffer = ReadBuf::new(&mut room);
        match Pin::new(&mut socket).poll_read(&mut context(), &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => return (came, false),
            Poll::Ready(Ok(())) => came.extend_from_slice(buffer.filled()),
            Poll::Ready(Err(_)) => return (came, true),
            Poll::Pending => panic!("it waits for more than all"),
        }
    }
}

/// Sends `payload` in two slices through a socket that takes so many bytes at a time, then reads what it took with another decoder: a frame of
/// a Server is one of a Client but for the mask.
fn written(payload: &[u8], piece: usize) {
    let mut socket = WebSocket::new(Socket { sent: &[], piece, took: Vec::new() });
    let mut left = payload;
    while !left.is_empty() {
        let (one, two) = left.split_at(left.len() / 2);
        match Pin::new(&mut socket).poll_write_vectored(&mut context(), &[IoSlice::new(one), IoSlice::new(two)]) {
            Poll::Ready(Ok(count)) if count > 0 => left = &left[count..],
            other => panic!("{other:?} with {} bytes left", left.len()),
        }
    }
    assert!(matches!(Pin::new(&mut socket).poll_shutdown(&mut context()), Poll::Ready(Ok(()))));
    let took = socket.into_inner().took;
    assert_eq!(unframed(&took), payload);
}

/// The payloads of binary frames of a Server, up to its Close frame.
fn unframed(mut bytes: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    loop {
        let [first, second, rest @ ..] = bytes else { panic!("no Close frame") };
        let (length, rest) = match second {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (u64::from_be_bytes(rest[..8].try_into().expect("eight bytes")) as usize, &rest[8..]),
            length => (usize::from(*length), rest),
        };
        if *first == 0x88 {
            assert_eq!(rest.len(), length, "nothing behind the Close frame");
            return payload;
        }
        assert_eq!(*first, 0x82);
        payload.extend_from_slice(&rest[..length]);
        bytes = &rest[length..];
    }
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Gives and takes so many bytes at a time.
struct Socket<'a> {
    sent: &'a [u8],
    piece: usize,
    took: Vec<u8>,
}

impl AsyncRead for Socket<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let count = self.piece.min(self.sent.len()).min(buffer.remaining());
        let (now, later) = self.sent.split_at(count);
        buffer.put_slice(now);
        self.sent = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = self.piece.min(bytes.len());
        self.took.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
