//! The frames of a WebSocket (RFC 6455 section 5), from the Server's side. Pure.
//!
//! An MQTT stream does not care where frames begin and end (MQTT 5.0 section 6), so nothing is ever put together: payloads are unmasked
//! where they lie and moved over the heads between them.

/// A head is 2 bytes, up to 8 of length and 4 of the mask.
const HEAD_BYTES_MAX: usize = 14;

/// Longest payload of a control frame (section 5.5).
const CONTROL_BYTES_MAX: u64 = 125;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// Status codes of a Close frame (section 7.4.1).
pub const NORMAL: u16 = 1000;
pub const PROTOCOL_ERROR: u16 = 1002;
pub const UNSUPPORTED: u16 = 1003;

/// Why a WebSocket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub status: u16,
    pub text: &'static str,
}

const fn fault(text: &'static str) -> Fault {
    Fault { status: PROTOCOL_ERROR, text }
}

/// The Client's stream, as far as it was read.
#[derive(Debug, Default)]
pub struct Decoder {
    head: [u8; HEAD_BYTES_MAX],
    head_len: u8,
    /// Payload of the current frame that has not come.
    left: u64,
    mask: [u8; 4],
    /// Which byte of the mask is next.
    mask_at: u8,
    /// The current frame is a control frame, of this kind, with what has come of its payload.
    control: Option<Box<(u8, Vec<u8>)>>,
    /// A message has begun and its last frame has not come.
    in_message: bool,
    /// The payload of the last PING that was not answered yet: only the last one must be (section 5.5.3).
    pub ping: Option<Vec<u8>>,
    /// The Client has said Close.
    pub closed: bool,
    /// What broke the rules behind payload that was good and had to be heard first.
    pub fault: Option<Fault>,
}

impl Decoder {
    /// Takes what was read and leaves the payload of data frames at the beginning of `bytes`: so many. What comes before a fault counts,
    /// however the bytes are cut; the fault is in its field then.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Result<usize, Fault> {
        let (mut at, mut end) = (0, 0);
        while at < bytes.len() && !self.closed {
            if self.left == 0 {
                match self.take_head(bytes, &mut at) {
                    Ok(()) => continue,
                    Err(fault) if end == 0 => return Err(fault),
                    Err(fault) => {
                        self.fault = Some(fault);
                        break;
                    }
                }
            }
            let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
            self.unmask(&mut bytes[at..at + count]);
            match &mut self.control {
                Some(control) => control.1.extend_from_slice(&bytes[at..at + count]),
                None => {
                    bytes.copy_within(at..at + count, end);
                    end += count;
                }
            }
            at += count;
            self.left -= count as u64;
            if self.left == 0 {
                self.end_control();
            }
        }
        Ok(end)
    }

    /// One more byte of a head, until it is whole.
    fn take_head(&mut self, bytes: &[u8], at: &mut usize) -> Result<(), Fault> {
        while *at < bytes.len() {
            self.head[usize::from(self.head_len)] = bytes[*at];
            self.head_len += 1;
            *at += 1;
            if usize::from(self.head_len) == 2 {
                self.check_head()?;
            }
            if self.head_len >= 2 && usize::from(self.head_len) == head_bytes(self.head[1]) {
                return self.begin_frame();
            }
        }
        Ok(())
    }

    /// The first two bytes say what is wrong before any more are taken.
    fn check_head(&self) -> Result<(), Fault> {
        let (first, second) = (self.head[0], self.head[1]);
        let opcode = first & 0x0f;
        match opcode {
            _ if first & RESERVED != 0 => Err(fault("reserved bits, without an extension")),
            _ if second & MASKED == 0 => Err(fault("a frame of a client without a mask")),
            TEXT => Err(Fault { status: UNSUPPORTED, text: "a text frame: MQTT is binary" }), // [MQTT-6.0.0-1]
            BINARY if self.in_message => Err(fault("a new message within another")),
            CONTINUATION if !self.in_message => Err(fault("a continuation of nothing")),
            CONTINUATION | BINARY => Ok(()),
            CLOSE | PING | PONG if first & FINAL == 0 => Err(fault("a control frame in pieces")),
            CLOSE | PING | PONG if u64::from(second & 0x7f) > CONTROL_BYTES_MAX => Err(fault("a control frame that is too long")),
            CLOSE | PING | PONG => Ok(()),
            _ => Err(fault("an opcode that is not known")),
        }
    }

    fn begin_frame(&mut self) -> Result<(), Fault> {
        let head = &self.head[..usize::from(self.head_len)];
        let (length, mask) = head[2..].split_at(head.len() - 6);
        self.left = match length.len() {
            0 => u64::from(head[1] & 0x7f),
            _ => length.iter().fold(0, |left, byte| left << 8 | u64::from(*byte)),
        };
        if self.left >> 63 != 0 {
            return Err(fault("a frame of more than 2^63 bytes"));
        }
        self.mask.copy_from_slice(mask);
        (self.mask_at, self.head_len) = (0, 0);
        let opcode = self.head[0] & 0x0f;
        if opcode >= CLOSE {
            self.control = Some(Box::new((opcode, Vec::new())));
            if self.left == 0 {
                self.end_control();
            }
        } else {
            self.in_message = self.head[0] & FINAL == 0;
        }
        Ok(())
    }

    fn end_control(&mut self) {
        match self.control.take().map(|control| *control) {
            Some((PING, payload)) => self.ping = Some(payload),
            Some((CLOSE, _)) => self.closed = true,
            _ => {}
        }
    }

    /// Eight bytes at a time where it can: this is done to every byte that a Client sends.
    fn unmask(&mut self, bytes: &mut [u8]) {
        let mut mask = self.mask;
        mask.rotate_left(usize::from(self.mask_at));
        let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
        let (chunks, rest) = bytes.as_chunks_mut::<8>();
        for chunk in chunks {
            *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
        }
        for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        self.mask_at = ((usize::from(self.mask_at) + bytes.len()) % 4) as u8;
    }
}

fn head_bytes(second: u8) -> usize {
    match second & 0x7f {
        126 => 2 + 2 + 4,
        127 => 2 + 8 + 4,
        _ => 2 + 4,
    }
}

/// The head of a frame that we send, unmasked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    bytes: [u8; 10],
    len: u8,
    at: u8,
}

impl Head {
    pub fn binary(length: usize) -> Head {
        Head::new(BINARY, length as u64)
    }

    fn new(opcode: u8, length: u64) -> Head {
        let mut bytes = [0; 10];
        bytes[0] = FINAL | opcode;
        let len = match length {
            0..=125 => {
                bytes[1] = length as u8;
                2
            }
            126..=0xffff => {
                bytes[1] = 126;
                bytes[2..4].copy_from_slice(&(length as u16).to_be_bytes());
                4
            }
            _ => {
                bytes[1] = 127;
                bytes[2..].copy_from_slice(&length.to_be_bytes());
                10
            }
        };
        Head { bytes, len, at: 0 }
    }

    /// What has not been written of it.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[usize::from(self.at)..usize::from(self.len)]
    }

    /// Of `written` bytes, those that are not of this head.
    pub fn advance(&mut self, written: usize) -> usize {
        let own = written.min(self.rest().len());
        self.at += own as u8;
        written - own
    }
}

/// A whole Pong frame. The payload is that of a Ping, and so short enough.
pub fn pong(payload: &[u8]) -> Vec<u8> {
    [Head::new(PONG, payload.len() as u64).rest(), payload].concat()
}

/// A whole Close frame.
pub fn close(status: u16) -> Vec<u8> {
    [Head::new(CLOSE, 2).rest(), &status.to_be_bytes()].concat()
}

/// A whole frame as a Client sends it, for tests and fuzzing.
pub fn masked(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let head = Head::new(first & 0x0f, payload.len() as u64);
    let mut frame = head.rest().to_vec();
    (frame[0], frame[1]) = (first, frame[1] | MASKED);
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    /// However the bytes are cut, the payload is the same.
    #[test]
    fn the_payload_is_the_same_however_the_bytes_are_cut() {
        let payloads: [Vec<u8>; 6] = [vec![1], vec![], (0..125).collect(), vec![7; 126], vec![8; 65_535], vec![9; 65_536]];
        let mut stream = Vec::new();
        for payload in &payloads {
            let (half, rest) = payload.split_at(payload.len() / 2);
            stream.extend(masked(BINARY, MASK, half));
            stream.extend(masked(FINAL | PING, MASK, b"there?"));
            stream.extend(masked(FINAL, [1, 2, 3, 4], rest));
        }
        stream.extend(masked(FINAL | CLOSE, MASK, &[3, 232]));
        stream.extend(b"what comes after it is not read");
        let expected = payloads.concat();
        for piece in [1, 2, 3, 5, 13, 1000, stream.len()] {
            let (mut decoder, mut came) = (Decoder::default(), Vec::new());
            for bytes in stream.chunks(piece) {
                let mut bytes = bytes.to_vec();
                let count = decoder.decode(&mut bytes).expect("it is good");
                came.extend_from_slice(&bytes[..count]);
            }
            assert!(came == expected, "cut in pieces of {piece}");
            assert_eq!((decoder.ping.as_deref(), decoder.closed), (Some(&b"there?"[..]), true));
        }
    }

    #[test]
    fn what_breaks_the_rules_is_refused_at_its_first_bytes() {
        let rows: [(&[u8], u16); 11] = [
            (&[0x81, 0x80], UNSUPPORTED),
            (&[0x01, 0x80], UNSUPPORTED),
            (&[0x82, 0x00], PROTOCOL_ERROR),
            (&[0xc2, 0x80], PROTOCOL_ERROR),
            (&[0x80, 0x80], PROTOCOL_ERROR),
            (&[0x02, 0x80, 0, 0, 0, 0, 0x82, 0x80], PROTOCOL_ERROR),
            (&[0x83, 0x80], PROTOCOL_ERROR),
            (&[0x8b, 0x80], PROTOCOL_ERROR),
            (&[0x09, 0x80], PROTOCOL_ERROR),
            (&[0x89, 0xfe], PROTOCOL_ERROR),
            (&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], PROTOCOL_ERROR),
        ];
        for (bytes, status) in rows {
            let refused = Decoder::default().decode(&mut bytes.to_vec()).map_err(|fault| fault.status);
            assert_eq!(refused, Err(status), "{bytes:02x?}");
        }
    }

    #[test]
    fn heads_have_the_shortest_length() {
        for (length, expected) in [(0usize, &[0x82, 0][..]), (125, &[0x82, 125]), (126, &[0x82, 126, 0, 126])] {
            assert_eq!(Head::binary(length).rest(), expected);
        }
        assert_eq!(Head::binary(65_535).rest(), [0x82, 126, 0xff, 0xff]);
        assert_eq!(Head::binary(65_536).rest(), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}
