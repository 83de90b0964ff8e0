//! What the compiler says of a handler that is none: FEATURES.md section 6 promises errors that help.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What stands behind `//!` is to be said of the line before it.
const WRONG: &str = r##"
use mqttd::hook::{event, extract::FromEvent, handler::IntoAnswer};
use mqttd::{Message, Node, Payload, Reason, Topic};

async fn answers_a_message(message: Message) -> Message { message }
async fn answers_a_number() -> u32 { 7 }
async fn takes_a_number(_: u32) {}
fn is_not_async() {}
fn argument<E: event::Event, T: FromEvent<E>>() {}
fn answer<E: event::Event, T: IntoAnswer<E>>() {}

fn main() {
    Node::builder().on_connect(|_: Payload| async {});
    //! this is no handler of the event `Connecting`
    //! of `Connecting` also `Password`
    Node::builder().on_publish("#", takes_a_number);
    //! this is no handler of the event `Publishing`
    //! not an async function of extractors for `Publishing`
    //! of `Publishing` and `Delivering` also `Topic`, `Params`, `Message`, `Payload`, `Json<T>` and `Properties`
    Node::builder().on_publish("#", answers_a_number);
    //! this is no handler of the event `Publishing`
    //! answers: nothing, or a `Result` with a `Reason`; of `Publishing` and `Delivering` also a `Message`
    Node::builder().on_disconnect(|_: Topic| async {});
    //! this is no handler of the event
    //! of `Disconnected` also `Reason`
    Node::builder().on_subscribe("#", is_not_async);
    //! this is no handler of the event `Subscribing`
    //! a handler is an `async fn`, or a closure that returns a future
    Node::builder().on_publish("#", answers_a_message).on_publish("#", || async { Err::<(), _>(Reason::QUOTA_EXCEEDED) });
    argument::<event::Publishing, u32>();
    //! a handler of the event `Publishing` cannot take `u32` as an argument
    //! all events have `Client` and `State<T>`
    argument::<event::Connecting, Topic>();
    //! the event `Connecting` has no topic
    argument::<event::Subscribing, Payload>();
    //! the event `Subscribing` has no message
    answer::<event::Delivering, u32>();
    //! a handler of the event `Delivering` cannot answer with `u32`
    //! every handler may return `()` or `Result<(), Reason>`
}
"##;

#[test]
fn a_handler_that_is_none_is_told_what_would_be_one() {
    let mut rustc = Command::new("rustc")
        .args(["--edition", "2024", "--emit", "metadata", "--color", "never", "--out-dir", env!("CARGO_TARGET_TMPDIR")])
        .arg("--extern")
        .arg(format!("mqttd={}", library().display()))
        .arg("-L")
        .arg(format!("dependency={}", dependencies().display()))
        .arg("-")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("rustc starts");
    rustc.stdin.take().expect("its input").write_all(WRONG.replace("//!", "// ").as_bytes()).expect("rustc reads");
    let compiled = rustc.wait_with_output().expect("rustc ends");
    let said = String::from_utf8_lossy(&compiled.stderr);
    let errors: Vec<&str> = said.split("\nerror").collect();
    let mut wrong = 0;
    for (number, line) in WRONG.lines().enumerate() {
        let Some(expected) = line.trim().strip_prefix("//! ") else {
            wrong = number + 1;
            continue;
        };
        let place = format!("<anon>:{wrong}:");
        let about = errors.iter().filter(|error| error.contains(&place)).any(|error| error.contains(expected));
        assert!(about, "of line {wrong} it is not said {expected:?}:\n{said}");
    }
    let lines = WRONG.lines().zip(WRONG.lines().skip(1));
    let expected = lines.filter(|(line, next)| !line.contains("//!") && next.contains("//!")).count();
    assert!(said.contains(&format!("aborting due to {expected} previous errors")), "what is right is said to be wrong:\n{said}");
}

/// Where cargo has put what this test was linked with.
fn dependencies() -> PathBuf {
    std::env::current_exe().expect("this program").parent().expect("it is in a folder").to_owned()
}

/// The broker as this test was linked with it: the last that was built.
fn library() -> PathBuf {
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("libmqttd-") && name.ends_with(".rlib")
    };
    let age = |path: &PathBuf| path.metadata().and_then(|metadata| metadata.modified()).expect("a time");
    let built = std::fs::read_dir(dependencies()).expect("a folder").map(|entry| entry.expect("an entry").path());
    built.filter(is_ours).max_by_key(age).expect("the library of the broker is there")
}
