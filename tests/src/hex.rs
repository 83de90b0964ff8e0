//! Bytes as tests write them: hexadecimal, with blanks where a reader wants them, text in quotes: `10 0d 0004 'MQTT' 05`.

pub fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, part) in text.split('\'').enumerate() {
        if index % 2 == 1 {
            out.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<u8> = part.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        assert!(digits.len().is_multiple_of(2), "an odd number of digits in {part:?}");
        out.extend(digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])));
    }
    out
}

fn digit(byte: u8) -> u8 {
    (byte as char).to_digit(16).unwrap_or_else(|| panic!("{:?} is no hexadecimal digit", byte as char)) as u8
}

/// A packet from its first byte and its content: the Remaining Length is filled in.
pub fn packet(first: u8, content: &str) -> Vec<u8> {
    let content = bytes(content);
    let mut out = vec![first];
    let mut rest = content.len();
    loop {
        let byte = (rest % 128) as u8;
        rest /= 128;
        out.push(if rest > 0 { byte | 0x80 } else { byte });
        if rest == 0 {
            break;
        }
    }
    out.extend(content);
    out
}

/// What a failure shows: the first bytes, two digits each.
pub fn show(bytes: &[u8]) -> String {
    let shown: Vec<String> = bytes.iter().take(64).map(|byte| format!("{byte:02x}")).collect();
    let more = if bytes.len() > 64 { format!(" and {} bytes more", bytes.len() - 64) } else { String::new() };
    shown.join(" ") + &more
}
