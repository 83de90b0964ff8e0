//! MQTT over WebSocket (RFC 6455; MQTT 5.0 section 6): a byte stream made of frames.
//!
//! The handshake is tungstenite's. The frames are our own: they are unmasked where the connection reads them and written around the
//! slices that it has, so that a WebSocket needs no buffer and no copy that a plain socket does not.

pub mod frame;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use frame::{Decoder, Fault, Head};

/// What a Client may ask for; the first of its own that is here is taken. `mqttv3.1` is what 3.1 was called.
const PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// Slices of one write, with the head.
const SLICES_MAX: usize = 64;

/// Who may come in.
#[derive(Clone, Debug)]
pub struct Settings {
    pub path: String,
    /// The pages that may; empty is all. What is no browser sends no Origin, and may.
    pub origins: Vec<String>,
}

/// Does the handshake. Its request has bounds of its own in bytes, headers and reads.
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(stream: S, settings: &Settings) -> io::Result<WebSocket<S>> {
    let config = WebSocketConfig::default().read_buffer_size(0).write_buffer_size(0);
    #[allow(clippy::result_large_err, reason = "the callback's type is the library's")]
    let answer = |request: &Request, response: Response| answer(request, response, settings);
    let accepted = tokio_tungstenite::accept_hdr_async_with_config(stream, answer, Some(config)).await;
    // A Client sends nothing between its request and the answer, or the handshake has failed: no byte is lost here.
    accepted.map(|websocket| WebSocket::new(websocket.into_inner())).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[allow(clippy::result_large_err, reason = "the type is the library's")]
fn answer(request: &Request, mut response: Response, settings: &Settings) -> Result<Response, ErrorResponse> {
    if request.uri().path() != settings.path {
        return Err(refuse(StatusCode::NOT_FOUND, &format!("MQTT is at {}", settings.path)));
    }
    let origin = request.headers().get(header::ORIGIN).map(HeaderValue::as_bytes);
    let is_listed = |origin: &[u8]| settings.origins.iter().any(|listed| listed.as_bytes().eq_ignore_ascii_case(origin));
    if !settings.origins.is_empty() && origin.is_some_and(|origin| !is_listed(origin)) {
        return Err(refuse(StatusCode::FORBIDDEN, "this Origin may not connect"));
    }
    // The Client must offer it, and the Server must choose it [MQTT-6.0.0-3], [MQTT-6.0.0-4].
    let offers = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut offers = offers.flat_map(|value| value.split(',')).map(str::trim);
    let Some(protocol) = offers.find_map(|offer| PROTOCOLS.into_iter().find(|known| *known == offer)) else {
        return Err(refuse(StatusCode::BAD_REQUEST, "the subprotocol mqtt must be offered"));
    };
    response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    Ok(response)
}

fn refuse(status: StatusCode, text: &str) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(format!("{text}\n")));
    *response.status_mut() = status;
    response
}

/// The byte stream within a WebSocket.
#[derive(Debug)]
pub struct WebSocket<S> {
    stream: S,
    decoder: Decoder,
    /// Of the frame that is being written, with how much of its payload is still to come.
    head: Head,
    left: usize,
    /// Control frames that wait for the end of that frame.
    control: Vec<u8>,
    /// The status of our Close frame, once it is known.
    status: u16,
    close_sent: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    pub fn new(stream: S) -> WebSocket<S> {
        let (decoder, head, left, control) = Default::default();
        WebSocket { stream, decoder, head, left, control, status: frame::NORMAL, close_sent: false }
    }

    /// What carried it.
    pub fn into_inner(self) -> S {
        self.stream
    }

    fn is_between_frames(&self) -> bool {
        self.left == 0 && self.head.rest().is_empty()
    }

    /// Writes the control frames that wait, if this is the place for them.
    fn poll_control(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.is_between_frames() && !self.control.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.control))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.control.drain(..written);
        }
        if self.control.is_empty() {
            self.control = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Our Close frame will say so.
    fn broken(&mut self, fault: Fault) -> io::Error {
        self.status = fault.status;
        io::Error::new(io::ErrorKind::InvalidData, fault.text)
    }

    /// Answers the last PING, unless an earlier answer still waits: a Client that does not read gets no more than that one.
    fn answer_ping(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.control.is_empty()
            && let Some(payload) = self.decoder.ping.take()
        {
            self.control = frame::pong(&payload);
            // What does not leave now leaves with the next flush, which the connection does in every turn.
            if let Poll::Ready(written) = self.poll_control(context) {
                written?;
            }
            let _ = Pin::new(&mut self.stream).poll_flush(context)?;
        }
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(fault) = this.decoder.fault {
            return Poll::Ready(Err(this.broken(fault)));
        }
        // Until there is payload: no bytes would be the end of the stream.
        while !this.decoder.closed && buffer.remaining() > 0 {
            let start = buffer.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
            let came = &mut buffer.filled_mut()[start..];
            if came.is_empty() {
                break;
            }
            let decoded = this.decoder.decode(came);
            let count = *decoded.as_ref().unwrap_or(&0);
            buffer.set_filled(start + count);
            if let Err(fault) = decoded {
                return Poll::Ready(Err(this.broken(fault)));
            }
            this.answer_ping(context)?;
            if count > 0 {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    /// All slices are one frame. What the socket does not take of it is taken from the slices of the next call, which are the same bytes.
    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let slices = &slices[..slices.len().min(SLICES_MAX - 1)];
        if this.is_between_frames() {
            ready!(this.poll_control(context))?;
            this.left = slices.iter().map(|slice| slice.len()).sum();
            if this.left == 0 {
                return Poll::Ready(Ok(0));
            }
            this.head = Head::binary(this.left);
        }
        loop {
            let mut all = [IoSlice::new(&[]); SLICES_MAX];
            all[0] = IoSlice::new(this.head.rest());
            let (mut count, mut left) = (1, this.left);
            for slice in slices {
                all[count] = IoSlice::new(&slice[..slice.len().min(left)]);
                left -= all[count].len();
                count += 1;
            }
            let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(context, &all[..count]))?;
            if written == 0 {
                return Poll::Ready(Ok(0));
            }
            let payload = this.head.advance(written);
            this.left -= payload;
            if payload > 0 {
                return Poll::Ready(Ok(payload));
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_control(context))?;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    /// Says Close, then ends the stream below. In the middle of a frame there is nothing that could be said.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.close_sent && this.is_between_frames() {
            this.close_sent = true;
            this.control.extend(frame::close(this.status));
        }
        ready!(this.poll_control(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}
