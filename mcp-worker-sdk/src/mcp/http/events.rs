//! Server-sent events (WHATWG HTML 9.2.6), as far as streamable HTTP has a use for them. No I/O.

/// Takes bytes as they come, and gives the data of whole events.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// A line that has not ended yet.
    line: Vec<u8>,
    /// The data of an event that has not ended yet.
    data: Vec<u8>,
    /// The last byte was the first half of a line's end.
    is_after_return: bool,
}

impl Events {
    /// What is kept of events that are not whole yet.
    pub(super) fn len(&self) -> usize {
        self.line.len() + self.data.len()
    }

    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut events = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' if self.is_after_return => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                byte => self.line.push(*byte),
            }
            self.is_after_return = *byte == b'\r';
        }
        events
    }

    /// An event, if this line was an empty one and there was data before it.
    fn end_line(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return Some(std::mem::take(&mut self.data)).filter(|data| !data.is_empty());
        }
        // What else a server says of an event (its id, its name, when to come again) is of no use here.
        if let Some(value) = line.strip_prefix(b"data") {
            let value = value.strip_prefix(b":").unwrap_or(value);
            if !self.data.is_empty() {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_comes_whole_however_it_is_cut() {
        let text = ": hello\nid: 7\nretry: 1\ndata:\n\ndata: {\"a\":\r\ndata:1}\r\n\r\nevent: message\rdata: é\r\rdata: half";
        let expected = ["{\"a\":\n1}".as_bytes().to_vec(), "é".as_bytes().to_vec()];
        for size in 1..=text.len() {
            let mut events = Events::default();
            let came: Vec<_> = text.as_bytes().chunks(size).flat_map(|chunk| events.take(chunk)).collect();
            assert_eq!(came, expected, "in pieces of {size}");
            assert_eq!(events.len(), "data: half".len());
        }
    }
}
