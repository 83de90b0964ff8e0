//! The PROXY header: it is read or refused, within its bound, and not a byte of what comes behind it is taken.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use mqttd::listener::proxy_protocol::{read, told};

/// 16 bytes of a head of version 2, and the most that may follow it.
const HEADER_BYTES_MAX: usize = 16 + 4096;

pub fn hold(input: &[u8]) {
    let mut rest = input;
    let found = at_once(read(&mut rest));
    let header = &input[..input.len() - rest.len()];
    assert!(header.len() <= HEADER_BYTES_MAX);
    match found {
        Ok(found) => {
            assert_eq!(told(header).expect("what was read is a header"), found);
            assert!(header.starts_with(b"\r\n\r\n\0\r\nQUIT\n") || header.ends_with(b"\r\n"));
            assert!(found.certificate_name.is_none_or(|name| !name.is_empty()));
        }
        // Nobody reads on.
        Err(_) => drop(told(input)),
    }
}

/// A slice has all its bytes.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits for more than all"),
    }
}
