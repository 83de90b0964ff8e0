//! No log shows a secret, at whatever level.

use std::process::Stdio;

use mqttd::config::ListenUrl;
use mqttd_tests::auth::Scratch;
use mqttd_tests::cluster::command;
use mqttd_tests::redis::Redis;
use mqttd_tests::scram::{METHOD, Scram};
use mqttd_tests::*;

use super::passwords::line;

/// A program of its own at the level trace, told every kind of secret, in its configuration and by its clients.
#[test]
fn no_log_shows_a_secret() {
    const SECRET: &str = "geheimnis";
    let Some(redis) = Redis::start() else { return };
    let (passwords, users) = (Scratch::new(line("ann", SECRET)), Scratch::new(format!("[{{ name = \"bob\", password = \"{SECRET}\" }}]")));
    let hash = passwords.text();
    let hash = hash.trim_end().rsplit('$').next().expect("a hash").to_owned();
    let jwt = Scratch::new(format!("{SECRET}{SECRET}{SECRET}{SECRET}"));
    let _: i64 = redis.query(&["HSET", "mqttd:{auth}:users", "carl", passwords.text().trim_end().split_once(':').expect("a line").1]);
    let port = ListenUrl::tcp("127.0.0.1", 0).to_string();
    let hook = format!("http://user:{SECRET}@127.0.0.1:1/?key={SECRET}");
    let mut process = command()
        .args(["--listen", &port, "--admin", "off", "-vv", "--log-format", "text"])
        .env("MQTTD_CONFIG", "/dev/null")
        .env("MQTTD_AUTH__PASSWORD_FILE", passwords.path())
        .env("MQTTD_AUTH__USERS_FILE", users.path())
        .env("MQTTD_AUTH__JWT_KEY_FILE", jwt.path())
        .env("MQTTD_AUTH__REDIS_URL", redis.url())
        .env("MQTTD_AUTH__HTTP_URL", hook)
        .env("MQTTD_AUTH__HTTP_TIMEOUT_MS", "1000")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("mqttd runs");
    let (told, log) = std::sync::mpsc::channel();
    let output = process.stderr.take().expect("its log");
    let reader = std::thread::spawn(move || {
        let mut all = String::new();
        for line in std::io::BufRead::lines(std::io::BufReader::new(output)).map_while(Result::ok) {
            if let Some((_, address)) = line.split_once("listening on tcp://") {
                let _ = told.send(address.trim().parse::<std::net::SocketAddr>());
            }
            all += &(line + "\n");
        }
        all
    });
    let address = log.recv().expect("it listens").expect("an address");
    let client = |version| connecting::Connecting::new(address, version);
    for (name, password) in [("ann", SECRET), ("bob", SECRET), ("carl", SECRET), ("ann", "geheimnis-wrong"), ("bob", "geheimnis-wrong")] {
        drop(client(V5).user(name, password).send().expect_connack());
        drop(client(V3_1_1).user(name, password).send().expect_connack());
    }
    drop(client(V5).user("dora", "geheimnis-hook").send().expect_connack());
    drop(client(V5).user("dora", "eyJhbGciOiJIUzI1NiJ9.geheimnis.geheimnis").send().expect_connack());
    let mut scram = Scram::new("bob", SECRET, "geheimnisnonce");
    let mut talking = client(V5).authenticate(METHOD, &scram.client_first()).send();
    let mqttd_tests::client::Came::Packet(Packet::Auth(auth)) = talking.next_event() else { panic!("a challenge") };
    let (method, data) = (Some(METHOD.into()), Some(scram.client_final(&auth.data.expect("data")).into()));
    let answer = mqttd::packet::auth::Auth {
        reason: Reason::CONTINUE_AUTHENTICATION,
        method,
        data,
        reason_string: None,
        user_properties: Vec::new(),
    };
    talking.send(Packet::Auth(Box::new(answer)));
    assert_eq!(talking.expect_connack().reason, Reason::SUCCESS);
    // A CONNECT that is broken after its password.
    open_at(address).send_hex("10 1d 0004 'MQTT' 04 c2 0000 0001 'a' 0003 'ann' 0009 'geheimnis'");
    process.kill().expect("it runs");
    let _ = process.wait();
    let all = reader.join().expect("its log is read");
    assert!(all.contains("TRACE") || all.contains("DEBUG"), "{all}");
    for secret in [SECRET, &hash] {
        let shown: Vec<_> = all.lines().filter(|line| line.contains(secret)).collect();
        assert!(shown.is_empty(), "{shown:#?}");
    }
}

fn open_at(address: std::net::SocketAddr) -> Client {
    Client::open(address, V5)
}
