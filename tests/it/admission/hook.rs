//! Another server says who comes in; when it does not, nobody does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use mqttd_tests::bridge::asked_for;
use mqttd_tests::*;
use serde_json::Value;

/// Answers each question with what `answer` makes of it: a status and a body; `None`: with nothing, until the end of the test.
pub(super) fn server(answer: impl Fn(&Value) -> Option<(u16, String)> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/auth", listener.local_addr().expect("an address"));
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            std::thread::spawn(move || while one(&stream, &*answer).is_some() {});
        }
    });
    url
}

fn one(stream: &TcpStream, answer: &(impl Fn(&Value) -> Option<(u16, String)> + ?Sized)) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    match answer(&serde_json::from_slice(&body).ok()?) {
        Some((status, body)) => {
            let head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
            (&*stream).write_all((head + &body).as_bytes()).ok()
        }
        None => {
            // Until the broker gives up.
            let _ = reader.read(&mut [0]);
            None
        }
    }
}

fn asking(url: &str) -> Broker {
    Broker::with(|config| {
        config.auth.http_url = Some(url.to_owned());
        config.auth.http_timeout_ms = 500;
        config.auth.failures_per_address_max = 0;
        config.access.deny_publish = vec!["never".into()];
    })
}

#[test]
fn what_it_says_holds() {
    let url = server(|question| {
        let result = match (question["user"].as_str(), question["password"].as_str(), question["client_id"].as_str()) {
            (Some("ann"), Some("pencil"), Some(_)) => "allow",
            (Some("unknown") | None, ..) => "ignore",
            _ => "deny",
        };
        assert_eq!((question["address"].as_str(), question["transport"].as_str()), (Some("127.0.0.1"), Some(asked_for().scheme())));
        Some((200, format!("{{\"result\": \"{result}\"}}")))
    });
    let broker = asking(&url);
    for version in VERSIONS {
        broker.client(version).user("ann", "pencil").connect();
        broker.client(version).user("ann", "stone").refused(Reason::BAD_USER_NAME_OR_PASSWORD);
        broker.client(version).user("unknown", "").refused(Reason::BAD_USER_NAME_OR_PASSWORD);
        broker.client(version).refused(Reason::NOT_AUTHORIZED);
    }
}

/// And another user's name can be given to a Client: bans and rules hold for it.
#[test]
fn it_can_say_who_it_is() {
    let broker = asking(&server(|_| Some((200, "{\"result\": \"allow\", \"user\": \"somebody\"}".to_owned()))));
    let mut client = broker.client(V5).user("ann", "").connect();
    broker.auth().ban("user:somebody", None);
    client.expect_disconnect(Reason::NOT_AUTHORIZED);
    broker.client(V5).user("ann", "").refused(Reason::BANNED);
}

#[test]
fn without_an_answer_nobody_comes_in() {
    type Answer = fn(&Value) -> Option<(u16, String)>;
    let answers: [Answer; 6] = [
        |_| None,
        |_| Some((500, "{\"result\": \"allow\"}".to_owned())),
        |_| Some((204, String::new())),
        |_| Some((200, "{\"result\": \"perhaps\"}".to_owned())),
        |_| Some((200, "yes".to_owned())),
        |_| Some((200, format!("{{\"result\": \"allow\", \"user\": \"{}\"}}", "x".repeat(100_000)))),
    ];
    for answer in answers {
        let broker = asking(&server(answer));
        broker.client(V5).user("ann", "pencil").refused(Reason::SERVER_UNAVAILABLE);
        assert_eq!(broker.auth().count(|metrics| &metrics.auth_unanswered), 1);
    }
    let broker = asking("http://127.0.0.1:1/");
    broker.client(V3_1_1).user("ann", "pencil").refused(Reason::SERVER_UNAVAILABLE);
    asking(&server(|_| Some((403, String::new())))).client(V5).user("ann", "x").refused(Reason::BAD_USER_NAME_OR_PASSWORD);
}
