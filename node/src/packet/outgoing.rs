//! Bytes that wait to be written to one Network Connection. No I/O.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// Shared bytes shorter than this are copied: one more slice in a vectored write costs more than the copy.
const COPY_MAX: usize = 2048;

/// An ordered queue of bytes, partly of its own and partly shared with other connections.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Sealed pieces, oldest first.
    pieces: VecDeque<Bytes>,
    /// What is being encoded now; it goes after the pieces.
    tail: BytesMut,
    pieces_len: usize,
}

impl Outgoing {
    pub fn len(&self) -> usize {
        self.pieces_len + self.tail.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the next packet is encoded.
    pub fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Adds bytes that others send too, by reference when they are many.
    pub fn share(&mut self, bytes: &Bytes) {
        if bytes.len() < COPY_MAX {
            self.tail.extend_from_slice(bytes);
            return;
        }
        self.seal();
        self.pieces_len += bytes.len();
        self.pieces.push_back(bytes.clone());
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.pieces_len += self.tail.len();
            self.pieces.push_back(self.tail.split().freeze());
        }
    }

    /// Fills `slices` with the oldest bytes and returns how many slices were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let all = self.pieces.iter().map(|piece| &piece[..]).chain(std::iter::once(&self.tail[..]));
        let mut filled = 0;
        for (slot, bytes) in slices.iter_mut().zip(all.filter(|bytes| !bytes.is_empty())) {
            *slot = IoSlice::new(bytes);
            filled += 1;
        }
        filled
    }

    /// Forgets the `count` oldest bytes: they are written. When nothing is left the memory is given back, so that an idle connection has none.
    pub fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let Some(piece) = self.pieces.front_mut() else { break };
            let step = count.min(piece.len());
            piece.advance(step);
            self.pieces_len -= step;
            count -= step;
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        self.tail.advance(count);
        if self.is_empty() {
            *self = Outgoing::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_order_of_own_and_shared_bytes() {
        let mut outgoing = Outgoing::default();
        outgoing.tail().extend_from_slice(b"ab");
        outgoing.share(&Bytes::from(vec![b'x'; COPY_MAX]));
        outgoing.share(&Bytes::from_static(b"cd"));
        outgoing.tail().extend_from_slice(b"ef");
        assert_eq!(outgoing.len(), COPY_MAX + 6);
        outgoing.advance(1);
        outgoing.advance(COPY_MAX + 2);
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(outgoing.slices(&mut slices), 1);
        assert_eq!(&slices[0][..], b"def");
        outgoing.advance(3);
        assert!(outgoing.is_empty());
    }
}
