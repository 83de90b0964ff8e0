//! No log shows a secret, at whatever level, and nothing else does.

use std::process::Stdio;

use mqttd::config::ListenUrl;
use mqttd_tests::auth::Scratch;
use mqttd_tests::certificates::{Folder, localhost};
use mqttd_tests::cluster::command;
use mqttd_tests::http::Admin;
use mqttd_tests::redis::Redis;
use mqttd_tests::scram::{METHOD, Scram};
use mqttd_tests::*;

use super::passwords::line;
use super::tokens::{seconds_from_now, signed};

const SECRET: &str = "geheimnis";

#[test]
fn nothing_shows_a_secret() {
    together(["text", "json"].map(|log| Box::new(move || shows_no_secret(log)) as Box<dyn FnOnce() + Send>).into());
}

/// A program of its own at the level trace, told every kind of secret, in its configuration and by its clients: it shows none of them in its log, in
/// its metrics, in what its administration answers, in `$SYS`, or when it is asked for its configuration.
fn shows_no_secret(log_format: &str) {
    let Some(redis) = Redis::start() else { return };
    let folder = Folder::new("secrets");
    let (certificate, key) = localhost(folder.path());
    // Of its lines the second is what makes it a key.
    let key_text = std::fs::read_to_string(&key).expect("it is there").lines().nth(1).expect("PEM").to_owned();
    // It answers, and is told the password for that.
    let hook = super::hook::server(|question| {
        let result = if question["password"] == "geheimnis-hook" { "allow" } else { "ignore" };
        Some((200, format!("{{\"result\": \"{result}\"}}")))
    });
    let (passwords, users) = (Scratch::new(line("ann", SECRET)), Scratch::new(format!("[{{ name = \"bob\", password = \"{SECRET}\" }}]")));
    let hash = passwords.text();
    let hash = hash.trim_end().rsplit('$').next().expect("a hash").to_owned();
    let jwt = Scratch::new(format!("{SECRET}{SECRET}{SECRET}{SECRET}"));
    let _: i64 = redis.query(&["HSET", "mqttd:{auth}:users", "carl", passwords.text().trim_end().split_once(':').expect("a line").1]);
    let _: String = redis.query(&["ACL", "SETUSER", "node", "on", &format!(">{SECRET}"), "~*", "&*", "+@all"]);
    let url = redis.url().replace("redis://", &format!("redis://node:{SECRET}@"));
    let port = ListenUrl::tcp("127.0.0.1", 0).to_string();
    let told = [
        ("MQTTD_CONFIG", "/dev/null".to_owned()),
        ("MQTTD_ADMIN", "127.0.0.1:0".to_owned()),
        ("MQTTD_API__TOKEN", format!("{SECRET} of the administration")),
        ("MQTTD_STORE__URL", url.clone()),
        ("MQTTD_AUTH__PASSWORD_FILE", passwords.path()),
        ("MQTTD_AUTH__USERS_FILE", users.path()),
        ("MQTTD_AUTH__JWT_KEY_FILE", jwt.path()),
        ("MQTTD_AUTH__REDIS_URL", url),
        ("MQTTD_AUTH__HTTP_URL", format!("{}?key={SECRET}", hook.replace("http://", &format!("http://user:{SECRET}@")))),
        ("MQTTD_AUTH__HTTP_TIMEOUT_MS", "1000".to_owned()),
        ("MQTTD_LISTENER", r#"[{ url = "tls://127.0.0.1:0" }]"#.to_owned()),
        ("MQTTD_TLS__CERTIFICATES", format!("[{certificate:?}]")),
        ("MQTTD_TLS__KEYS", format!("[{key:?}]")),
        ("NO_COLOR", "1".to_owned()),
    ];
    let checked = command().arg("check").envs(told.clone()).output().expect("mqttd runs");
    let mut process = command()
        .args(["--listen", &port, "-vv", "--log-format", log_format])
        .envs(told)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("mqttd runs");
    let (told, log) = std::sync::mpsc::channel();
    let output = process.stderr.take().expect("its log");
    let reader = std::thread::spawn(move || {
        let mut all = String::new();
        for line in std::io::BufRead::lines(std::io::BufReader::new(output)).map_while(Result::ok) {
            for begin in ["listening on tcp://", "the administration answers on http://"] {
                if let Some((_, address)) = line.split_once(begin) {
                    let end = address.find(|c: char| !c.is_ascii_digit() && !".:".contains(c)).unwrap_or(address.len());
                    let _ = told.send(address[..end].parse::<std::net::SocketAddr>());
                }
            }
            all += &(line + "\n");
        }
        all
    });
    let next = || log.recv().expect("it listens").expect("an address");
    let (address, admin) = (next(), Admin::new(next()).with_token(&format!("{SECRET} of the administration")));
    let client = |version| connecting::Connecting::new(address, version);
    for (name, password) in [("ann", SECRET), ("bob", SECRET), ("carl", SECRET), ("ann", "geheimnis-wrong"), ("bob", "geheimnis-wrong")] {
        drop(client(V5).user(name, password).send().expect_connack());
        drop(client(V3_1_1).user(name, password).send().expect_connack());
    }
    client(V5).user("dora", "geheimnis-hook").connect();
    let claims = serde_json::json!({ "sub": "dora", "exp": seconds_from_now(600), "note": SECRET });
    let token = signed(jwt.text().as_bytes(), &claims);
    client(V5).user("dora", &token).connect();
    drop(client(V5).user("dora", "eyJhbGciOiJIUzI1NiJ9.geheimnis.geheimnis").send().expect_connack());
    let mut observer = client(V5).user("ann", SECRET).connect();
    observer.subscribe("$SYS/#", 0);
    observer.fence();
    let sys: Vec<_> =
        std::iter::from_fn(|| observer.take_early_publish()).map(|told| format!("{} {:?}\n", told.topic, told.payload)).collect();
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
    let paths = [
        "/metrics",
        "/healthz",
        "/api/v1/nodes",
        "/api/v1/clients",
        "/api/v1/metrics",
        "/api/v1/limits",
        "/dashboard",
        "/api-docs/openapi.json",
    ];
    let answers = paths.map(|path| admin.get(path).text);
    assert!(answers[0].contains("mqttd_auth_failed_total") && answers[2].contains("node_status"), "{answers:#?}");
    drop(Admin::new(admin.address()).with_token("geheimnis-wrong").get("/api/v1/nodes"));
    process.kill().expect("it runs");
    let _ = process.wait();
    let all = reader.join().expect("its log is read");
    assert!(all.contains("TRACE") || all.contains("DEBUG"), "{all}");
    assert!(sys.len() > 10, "{sys:?}");
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert!(checked.contains("redis_url") && checked.contains("http_url"), "{checked}");
    let all = [&answers.concat(), &checked, &sys.concat(), &all].map(String::as_str).join("\n");
    for secret in [SECRET, &hash, &key_text, token.rsplit('.').next().expect("a signature"), token.split('.').nth(1).expect("claims")] {
        let shown: Vec<_> = all.lines().filter(|line| line.contains(secret)).collect();
        assert!(shown.is_empty(), "{shown:#?}");
    }
}

fn open_at(address: std::net::SocketAddr) -> Client {
    Client::open(address, V5)
}
