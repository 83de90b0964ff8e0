//! Those who guess passwords, and those beside them.

use std::time::{Duration, Instant};

use mqttd::config::Config;
use mqttd::config::user::{Secret, User};
use mqttd::hook::client::Transport;
use mqttd_tests::auth::Scratch;
use mqttd_tests::bridge::Wire;
use mqttd_tests::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::hook::server;
use super::passwords::{line, scram};

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

/// The same where another server says who comes in: it is asked about the first few, however many wait.
#[test]
fn guesses_do_not_reach_the_hook_by_the_thousand() {
    let (asked, questions) = std::sync::mpsc::channel();
    let url = server(move |question| {
        asked.send(question["address"].to_string()).ok()?;
        Some((200, "{\"result\": \"deny\"}".to_owned()))
    });
    let broker = Broker::over(&[Transport::Tcp], |config| {
        config.auth.http_url = Some(url);
        config.auth.failures_per_address_max = 20;
        config.limits.connect_timeout_s = 600;
    });
    let answers = attack(&broker, 1000, 200, "ann").join().expect("it comes to an end");
    assert_eq!(answers.len(), 1000);
    // Those of them who were being asked about when the bound was reached: an eighth of the 64 places.
    let asked = questions.try_iter().count();
    assert!((20..=40).contains(&asked), "{asked} were asked about");
    assert_eq!(broker.auth().count(|metrics| &metrics.auth_failed) as usize, asked);
    broker.auth().until_empty();
}

/// And by SCRAM: the twenty-first proof is not looked at, nor any password after it.
#[test]
fn guesses_by_scram_are_held() {
    let broker = Broker::over(&[Transport::Tcp], |config| {
        config.auth.users.0 = vec![User { name: "ann".into(), password: Secret::new("pencil") }];
        config.auth.failures_per_address_max = 20;
    });
    let prove = |password: &str| scram(&broker, Wire::connect(broker.address()).expect("it listens"), "ann", password);
    for number in 0..20 {
        assert_eq!(prove(&format!("wrong{number}")), Reason::NOT_AUTHORIZED);
    }
    assert_eq!(prove("pencil"), Reason::CONNECTION_RATE_EXCEEDED);
    broker.client(V5).user("ann", "pencil").refused(Reason::CONNECTION_RATE_EXCEEDED);
    assert_eq!(broker.auth().count(|metrics| &metrics.auth_failed), 20);
    broker.auth().until_empty();
}

/// Who does not exist takes as long as who does, wherever it is looked for: of several mechanisms each hashes once.
#[test]
fn unknown_users_cost_a_hash_like_known_ones() {
    let file = Scratch::new(line("ann", "pencil"));
    type Set = fn(&mut Config, &Scratch);
    let in_file: Set = |config, file| config.auth.password_file = Some(file.path());
    let in_users: Set = |config, _| config.auth.users.0 = vec![User { name: "bob".into(), password: Secret::new("stone") }];
    for (sets, known) in [(&[in_file][..], &["ann"][..]), (&[in_users], &["bob"]), (&[in_file, in_users], &["ann", "bob"])] {
        let broker = Broker::with(|config| {
            sets.iter().for_each(|set| set(config, &file));
            config.auth.failures_per_address_max = 0;
        });
        let once = |user: &str| {
            let begun = Instant::now();
            broker.client(V5).user(user, "guess").refused(Reason::BAD_USER_NAME_OR_PASSWORD);
            begun.elapsed()
        };
        // By turns, and the quickest of each: what else the machine does makes an answer later, never earlier.
        let mut quickest = vec![Duration::MAX; known.len() + 1];
        for _ in 0..9 {
            for (quickest, user) in quickest.iter_mut().zip(known.iter().chain(&["nobody"])) {
                *quickest = once(user).min(*quickest);
            }
        }
        let (least, most) = (quickest.iter().min().expect("some"), quickest.iter().max().expect("some"));
        assert!(*most < *least * 3, "{known:?} and nobody: {quickest:?}");
    }
}
