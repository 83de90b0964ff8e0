//! A connection over a pipe, with a Client that takes its time.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::places::Places;
use super::{Patience, serve};
use crate::broker::tests::{broker, is_online, message};
use crate::hook::client::Peer;
use crate::packet::QoS;
use crate::store::memory::Limits;

const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c";
const SUBSCRIBE: &[u8] = b"\x82\x06\x00\x01\x00\x01a\x00";

/// It takes a little again and again, and asks while much still waits for it: it is neither given up nor unheard.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_neither_stalled_nor_unheard() {
    let broker = std::sync::Arc::new(broker(Limits::default()));
    let (connect, write) = (Duration::from_secs(5), Duration::from_millis(300));
    let patience = Patience { connect, write, connections_max: 0, places: Places::new(0), beyond: None };
    let (mut client, server) = tokio::io::duplex(4096);
    let served = tokio::spawn(serve(server, Peer::tcp(([127, 0, 0, 1], 1).into()), broker.clone(), patience, |_| ()));
    client.write_all(CONNECT).await.unwrap();
    client.write_all(SUBSCRIBE).await.unwrap();
    let mut answers = [0; 9];
    client.read_exact(&mut answers).await.unwrap();
    for _ in 0..40 {
        broker.publish(message("a", QoS::AtMostOnce, 50_000), broker.clock.now()).await.unwrap();
    }
    let mut taken = vec![0; 4096];
    for _ in 0..20 {
        tokio::time::advance(Duration::from_millis(40)).await;
        client.read_exact(&mut taken).await.expect("it is not given up");
    }
    assert!(is_online(&broker, "c"));
    // While most of it waits in the mailbox: what is read before DISCONNECT is heard is less than all.
    client.write_all(b"\xe0\x00").await.unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() < 1_500_000, "{} bytes came after DISCONNECT", rest.len());
    drop(client);
    served.await.unwrap();
}
