//! Packets as one reads them in the standard: `30{'a/b' 0001 {26 'k''v'} 68 69}`.
//!
//! Pairs of hexadecimal digits are bytes, `'text'` is a UTF-8 Encoded String with its two bytes of length, and `{…}` is preceded by
//! its length as a Variable Byte Integer: a Remaining Length or a Property Length.

use std::iter::Peekable;
use std::str::Chars;

pub(super) fn bytes(notation: &str) -> Vec<u8> {
    let mut rest = notation.chars().peekable();
    let bytes = group(&mut rest);
    assert_eq!(rest.next(), None, "a brace too many in {notation}");
    bytes
}

fn group(rest: &mut Peekable<Chars<'_>>) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(character) = rest.next_if(|&character| character != '}') {
        match character {
            ' ' => {}
            '\'' => {
                let text: String = rest.by_ref().take_while(|&character| character != '\'').collect();
                out.extend((text.len() as u16).to_be_bytes());
                out.extend(text.bytes());
            }
            '{' => {
                let inner = group(rest);
                assert_eq!(rest.next(), Some('}'));
                let mut length = inner.len();
                while length > 127 {
                    out.push((length % 128) as u8 | 128);
                    length /= 128;
                }
                out.push(length as u8);
                out.extend(inner);
            }
            high => {
                let digit = |character: char| character.to_digit(16).expect("a hexadecimal digit") as u8;
                let low = rest.next().expect("digits come in pairs");
                out.push(digit(high) << 4 | digit(low));
            }
        }
    }
    out
}

#[test]
fn reads_as_described() {
    assert_eq!(bytes("30{'ab' 01 {}}"), [0x30, 6, 0, 2, b'a', b'b', 1, 0]);
}
