//! Very many short texts in a few large pieces of memory. No I/O, reads no clock.
//!
//! A text costs its own bytes and five more, where a `Box<str>` costs up to 40: a broker holds millions of them. Texts are only ever added to
//! the last piece. A piece of which more than half is dead is given up, and what lives in it moves to the last one; so not much
//! memory is lost, and a removal moves no more than one piece.

/// A piece has room for the longest text of MQTT, 65,535 bytes.
const PIECE_BITS: u32 = 17;
const PIECE: usize = 1 << PIECE_BITS;

/// Before every text: its holder in four bytes, and its length in one, or in three that begin with `LONG`.
const HOLDER: usize = 4;
const HEAD_MAX: usize = HOLDER + 3;
const LONG: u8 = u8::MAX;

/// The holder of a text that was removed.
const NOBODY: u32 = u32::MAX;

/// Where a text lies. It is good until a removal says that the text has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

impl Place {
    /// Of no text.
    pub const NONE: Place = Place(u32::MAX);
}

/// Texts, each with a number that says who holds it.
#[derive(Default)]
pub struct Texts {
    pieces: Vec<Piece>,
    /// Pieces without memory, free for reuse.
    free: Vec<usize>,
    /// Where texts are added.
    last: usize,
}

#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    dead: usize,
}

impl Texts {
    /// Keeps a text for whoever has this number. At most 65,535 bytes.
    pub fn add(&mut self, holder: u32, text: &[u8]) -> Place {
        let has_room = |piece: &Piece| PIECE - piece.bytes.len() >= HEAD_MAX + text.len();
        if !self.pieces.get(self.last).is_some_and(has_room) {
            self.last = self.free.pop().unwrap_or(self.pieces.len());
            assert!(self.last < 1 << (u32::BITS - PIECE_BITS), "more than four gigabytes of text do not fit");
            let piece = Piece { bytes: Vec::with_capacity(PIECE), dead: 0 };
            if self.last == self.pieces.len() { self.pieces.push(piece) } else { self.pieces[self.last] = piece }
        }
        let bytes = &mut self.pieces[self.last].bytes;
        let place = Place((self.last << PIECE_BITS | bytes.len()) as u32);
        bytes.extend_from_slice(&holder.to_le_bytes());
        match u8::try_from(text.len()) {
            Ok(length) if length < LONG => bytes.push(length),
            _ => {
                bytes.push(LONG);
                bytes.extend_from_slice(&(text.len() as u16).to_le_bytes());
            }
        }
        bytes.extend_from_slice(text);
        place
    }

    pub fn get(&self, place: Place) -> &[u8] {
        let (piece, at) = split(place);
        let bytes = &self.pieces[piece].bytes;
        let (start, end) = bounds(bytes, at);
        &bytes[start..end]
    }

    /// Removes a text. `moved` hears of every holder whose text lies elsewhere now.
    pub fn remove(&mut self, place: Place, moved: impl FnMut(u32, Place)) {
        let (index, at) = split(place);
        let piece = &mut self.pieces[index];
        piece.bytes[at..at + HOLDER].copy_from_slice(&NOBODY.to_le_bytes());
        piece.dead += bounds(&piece.bytes, at).1 - at;
        if piece.dead == piece.bytes.len() && index == self.last {
            piece.bytes.clear();
            piece.dead = 0;
        } else if 2 * piece.dead > piece.bytes.len() && index != self.last {
            self.give_up(index, moved);
        }
    }

    fn give_up(&mut self, index: usize, mut moved: impl FnMut(u32, Place)) {
        let Piece { bytes, .. } = std::mem::take(&mut self.pieces[index]);
        let mut at = 0;
        while at < bytes.len() {
            let (start, end) = bounds(&bytes, at);
            let holder = u32::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
            if holder != NOBODY {
                moved(holder, self.add(holder, &bytes[start..end]));
            }
            at = end;
        }
        self.free.push(index);
    }

    /// Bytes of memory that are held for texts.
    #[cfg(test)]
    fn held(&self) -> usize {
        self.pieces.iter().map(|piece| piece.bytes.capacity()).sum()
    }
}

fn split(Place(place): Place) -> (usize, usize) {
    (place as usize >> PIECE_BITS, place as usize % PIECE)
}

/// From where to where the text goes whose head is here.
fn bounds(bytes: &[u8], at: usize) -> (usize, usize) {
    let (start, length) = match bytes[at + HOLDER] {
        LONG => (at + HEAD_MAX, usize::from(u16::from_le_bytes([bytes[at + HOLDER + 1], bytes[at + HOLDER + 2]]))),
        short => (at + HOLDER + 1, usize::from(short)),
    };
    (start, start + length)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Add(u32, Vec<u8>),
        Remove(u32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let lengths = prop_oneof![4 => 0..40_usize, 2 => 250..260_usize, 2 => 20_000..30_000_usize, 1 => Just(65_535)];
        let text = (lengths, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]);
        let step =
            prop_oneof![3 => (0..20_u32, text).prop_map(|(holder, text)| Step::Add(holder, text)), 2 => (0..20_u32).prop_map(Step::Remove)];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        #[test]
        fn every_holder_finds_its_text(steps in steps()) {
            let (mut texts, mut model) = (Texts::default(), BTreeMap::<u32, (Place, Vec<u8>)>::new());
            for step in steps {
                let (holder, text) = match step {
                    Step::Add(holder, text) => (holder, Some(text)),
                    Step::Remove(holder) => (holder, None),
                };
                if let Some((place, _)) = model.remove(&holder) {
                    texts.remove(place, |holder, place| model.get_mut(&holder).unwrap().0 = place);
                }
                if let Some(text) = text {
                    model.insert(holder, (texts.add(holder, &text), text));
                }
                for (place, text) in model.values() {
                    prop_assert_eq!(texts.get(*place), text);
                }
                let living: usize = model.values().map(|(_, text)| text.len()).sum();
                prop_assert!(texts.held() <= 4 * living + 3 * PIECE, "{} for {living}", texts.held());
            }
        }
    }
}
