//! The data types of the wire (MQTT 5.0 section 1.5): read from a shared buffer without copying, written or merely measured.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use super::PacketId;
use super::reason::Reason;

/// Why bytes are no Control Packet. The session turns it into a CONNACK or DISCONNECT with this Reason Code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    pub reason: Reason,
    /// What is wrong, for the log and for the Reason String.
    pub text: &'static str,
}

impl DecodeError {
    /// The bytes cannot be parsed (section 1.2, Malformed Packet).
    #[cold]
    pub const fn malformed(text: &'static str) -> DecodeError {
        DecodeError { reason: Reason::MALFORMED_PACKET, text }
    }

    /// The bytes can be parsed, but say what the protocol does not allow (section 1.2, Protocol Error).
    #[cold]
    pub const fn protocol(text: &'static str) -> DecodeError {
        DecodeError { reason: Reason::PROTOCOL_ERROR, text }
    }
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.reason.name(), self.text)
    }
}

impl std::error::Error for DecodeError {}

const ENDS_EARLY: DecodeError = DecodeError::malformed("the packet ends inside a field");

/// What is left to decode of one packet. It is read where it lies; only what is taken out of it shares the memory of the whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    left: &'a [u8],
    whole: &'a Bytes,
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn new(whole: &'a Bytes) -> Reader<'a> {
        Reader { left: whole, whole }
    }

    /// Without so many bytes at the front, and with so many in all.
    #[inline]
    pub(super) fn within(whole: &'a Bytes, front: usize, total: usize) -> Reader<'a> {
        Reader { left: &whole[front..total], whole }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.left.len()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// All that is left.
    #[inline]
    pub(super) fn rest(self) -> Bytes {
        self.whole.slice_ref(self.left)
    }

    /// The packet must have been read to its end.
    #[inline]
    pub(super) fn finish(self) -> Result<(), DecodeError> {
        if self.is_empty() { Ok(()) } else { Err(DecodeError::malformed("bytes after the end of the packet")) }
    }

    /// The next bytes, as they lie there.
    #[inline]
    fn look(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, left) = self.left.split_at_checked(length).ok_or(ENDS_EARLY)?;
        self.left = left;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, left) = self.left.split_first_chunk().ok_or(ENDS_EARLY)?;
        self.left = left;
        Ok(*taken)
    }

    /// The next bytes, to be read by themselves.
    pub(super) fn part(&mut self, length: usize) -> Result<Reader<'a>, DecodeError> {
        Ok(Reader { left: self.look(length)?, whole: self.whole })
    }

    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        Ok(self.whole.slice_ref(self.look(length)?))
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A Variable Byte Integer (section 1.5.5).
    #[inline]
    pub(super) fn variable_byte_integer(&mut self) -> Result<u32, DecodeError> {
        let (value, length) = peek_variable_byte_integer(self.left)?.ok_or(ENDS_EARLY)?;
        self.look(length)?;
        Ok(value)
    }

    /// Takes one byte if it is zero: the Property Length of most packets, told without more ado.
    #[inline]
    pub(super) fn skip_zero(&mut self) -> bool {
        let Some(left) = self.left.strip_prefix(&[0]) else { return false };
        self.left = left;
        true
    }

    /// Binary Data (section 1.5.6).
    #[inline]
    pub(super) fn binary(&mut self) -> Result<Bytes, DecodeError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// A UTF-8 Encoded String (section 1.5.4). U+FEFF stays where it is [MQTT-1.5.4-3].
    #[inline]
    pub(super) fn string(&mut self) -> Result<ByteString, DecodeError> {
        let length = self.u16()?;
        let bytes = self.look(usize::from(length))?;
        // [MQTT-1.5.4-2] no U+0000. The other control characters and the non-characters are only discouraged.
        if bytes.contains(&0) {
            return Err(DecodeError::malformed("a string contains U+0000"));
        }
        // [MQTT-1.5.4-1] well-formed UTF-8, hence no surrogates.
        ByteString::try_from(self.whole.slice_ref(bytes)).map_err(|_| DecodeError::malformed("a string is not well-formed UTF-8"))
    }

    /// The same where it is most likely `known` once more, which was looked at then.
    #[inline]
    pub(super) fn string_again(&mut self, known: Option<&ByteString>) -> Result<ByteString, DecodeError> {
        let mut after = *self;
        let length = after.u16()?;
        match known {
            Some(known) if after.look(usize::from(length))? == known.as_bytes() => {
                *self = after;
                Ok(known.clone())
            }
            _ => self.string(),
        }
    }

    /// A UTF-8 String Pair (section 1.5.7).
    pub(super) fn pair(&mut self) -> Result<(ByteString, ByteString), DecodeError> {
        Ok((self.string()?, self.string()?))
    }

    /// A Packet Identifier, which is never zero [MQTT-2.2.1-3].
    #[inline]
    pub(super) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        PacketId::new(self.u16()?).ok_or(DecodeError::protocol("the Packet Identifier is zero"))
    }

    /// A Reason Code out of those that the packet may carry.
    pub(super) fn reason(&mut self, allowed: &[Reason]) -> Result<Reason, DecodeError> {
        let reason = Reason(self.u8()?);
        if allowed.contains(&reason) { Ok(reason) } else { Err(DecodeError::protocol("this packet cannot carry this Reason Code")) }
    }
}

/// The Variable Byte Integer at the front and its length in bytes, `None` when it is not complete. A form that is longer than
/// necessary is accepted: it can be read, and the standard binds only the sender to the shortest [MQTT-1.5.5-1].
#[inline]
pub(super) fn peek_variable_byte_integer(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(DecodeError::malformed("a Variable Byte Integer of more than four bytes")) }
}

/// The shortest form of a Variable Byte Integer: its bytes and how many of them count. Four bytes also for a value that is too
/// large: whoever measures a packet refuses it afterwards.
#[inline]
pub(super) fn variable_byte_integer(value: usize) -> ([u8; 4], usize) {
    let (mut bytes, mut rest, mut last) = ([0; 4], value, 0);
    while rest > 0x7F && last < 3 {
        bytes[last] = (rest & 0x7F) as u8 | 0x80;
        rest >>= 7;
        last += 1;
    }
    bytes[last] = (rest & 0x7F) as u8;
    (bytes, last + 1)
}

/// Where a packet is written to, or only measured: the length in front of it is found by the very code that writes it.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    out: Option<&'a mut BytesMut>,
    length: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut BytesMut) -> Writer<'a> {
        Writer { out: Some(out), length: 0 }
    }

    /// How many bytes `write` writes.
    pub(super) fn measure(write: impl FnOnce(&mut Writer<'_>)) -> usize {
        let mut writer = Writer { out: None, length: 0 };
        write(&mut writer);
        writer.length
    }

    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.length += bytes.len();
        if let Some(out) = &mut self.out {
            out.extend_from_slice(bytes);
        }
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn variable_byte_integer(&mut self, value: usize) {
        let (bytes, length) = variable_byte_integer(value);
        self.bytes(&bytes[..length]);
    }

    /// Binary Data. More than 65,535 bytes cannot be said; the rest is cut off, so that the stream stays whole. Decode never makes any.
    pub(super) fn binary(&mut self, data: &[u8]) {
        let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
        self.u16(length);
        self.bytes(&data[..usize::from(length)]);
    }

    /// A UTF-8 Encoded String, cut at a character's border when it is longer than 65,535 bytes.
    pub(super) fn string(&mut self, text: &str) {
        self.binary(&text.as_bytes()[..text.floor_char_boundary(usize::from(u16::MAX))]);
    }
}
