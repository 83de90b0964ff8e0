//! Those who guess passwords, and those beside them.

use std::time::{Duration, Instant};

use mqttd::hook::client::Transport;
use mqttd_tests::auth::Scratch;
use mqttd_tests::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::passwords::line;

/// CONNECT of 3.1.1 with a User Name and a Password.
fn guess(user: &str, password: &str) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
    let body = [&b"\x00\x04MQTT\x04\xc2\x00\x00"[..], &text("guess"), &text(user), &text(password)].concat();
    [&[0x10, body.len() as u8][..], &body].concat()
}

/// Guesses from another address than everybody else comes from; what each is answered.
fn attack(broker: &Broker, guesses: usize, at_once: usize, user: &'static str) -> std::thread::JoinHandle<Vec<u8>> {
    let address = broker.address();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        runtime.block_on(async move {
            let mut answers = Vec::with_capacity(guesses);
            let mut running = tokio::task::JoinSet::new();
            for number in 0..guesses {
                if running.len() >= at_once {
                    answers.extend(running.join_next().await.and_then(Result::ok).flatten());
                }
                running.spawn(async move {
                    let socket = tokio::net::TcpSocket::new_v4().ok()?;
                    socket.bind(([127, 0, 0, 2], 0).into()).ok()?;
                    let mut stream = socket.connect(address).await.ok()?;
                    stream.write_all(&guess(user, &format!("wrong{number}"))).await.ok()?;
                    let mut connack = [0; 4];
                    stream.read_exact(&mut connack).await.ok()?;
                    Some(connack[3])
                });
            }
            while let Some(answer) = running.join_next().await {
                answers.extend(answer.ok().flatten());
            }
            answers
        })
    })
}

/// Ten thousand wrong passwords: only the first few are hashed, and who comes from elsewhere gets in as quickly as ever.
#[test]
fn ten_thousand_wrong_passwords_cost_no_more_than_a_few() {
    let file = Scratch::new(line("ann", "pencil"));
    // Who guesses needs an address of its own, and so a socket of its own.
    let broker = Broker::over(&[Transport::Tcp], |config| {
        config.auth.password_file = Some(file.path());
        config.auth.failures_per_address_max = 20;
        config.limits.connect_timeout_s = 600; // two hundred at a time, on a machine that has much else to do
    });
    let mut bystander = broker.client(V5).user("ann", "pencil").connect();
    let attack = attack(&broker, 10_000, 200, "ann");
    for _ in 0..5 {
        let begun = Instant::now();
        broker.client(V5).user("ann", "pencil").connect();
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        bystander.send(Packet::Pingreq);
        bystander.expect_pingresp();
    }
    let answers = attack.join().expect("it comes to an end");
    assert_eq!(answers.len(), 10_000);
    assert!(answers.iter().all(|answer| [3, 4].contains(answer)), "nobody guessed right");
    let wrong = answers.iter().filter(|answer| **answer == 4).count();
    let failed = broker.auth().count(|metrics| &metrics.auth_failed) as usize;
    // Those that were being hashed when the bound was reached are answered too.
    assert!((20..=40).contains(&wrong) && failed == wrong, "{wrong} were looked at, {failed} were counted");
    assert_eq!(broker.auth().count(|metrics| &metrics.auth_held) as usize + failed, 10_000);
    drop(bystander);
    broker.auth().until_empty();
}

/// Who does not exist takes as long as who does: one hash, whoever is asked for.
#[test]
fn unknown_users_cost_a_hash_like_known_ones() {
    let file = Scratch::new(line("ann", "pencil"));
    let broker = Broker::with(|config| {
        config.auth.password_file = Some(file.path());
        config.auth.failures_per_address_max = 0;
    });
    let once = |user: &str| {
        let begun = Instant::now();
        broker.client(V5).user(user, "guess").refused(Reason::BAD_USER_NAME_OR_PASSWORD);
        begun.elapsed()
    };
    // By turns, and the quickest of each: what else the machine does makes an answer later, never earlier.
    let both = (0..9).map(|_| (once("ann"), once("nobody")));
    let (known, unknown) = both.reduce(|best, next| (best.0.min(next.0), best.1.min(next.1))).expect("nine of each");
    assert!(unknown > known / 3 && known > unknown / 3, "{known:?} and {unknown:?}");
}
