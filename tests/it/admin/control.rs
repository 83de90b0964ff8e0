//! The command line asks a node over its API.

use std::process::Output;

use mqttd_tests::cluster;
use mqttd_tests::*;

fn program(broker: &Broker, arguments: &[&str]) -> Output {
    let url = format!("http://{}", broker.admin().address());
    cluster::command().args(arguments).args(["--url", &url]).env("MQTTD_CONFIG", "/dev/null").output().expect("mqttd runs")
}

#[track_caller]
fn says(broker: &Broker, arguments: &[&str]) -> String {
    let output = program(broker, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_command_line_shows_and_kicks_and_drains() {
    let broker = Broker::administered(|_| {});
    let mut client = broker.client(V5).id("a client").connect();
    let status = says(&broker, &["status"]);
    assert!(status.starts_with("NODE") && status.contains("ready") && status.lines().count() == 2, "{status}");
    let clients = says(&broker, &["clients", "a c"]);
    assert!(clients.contains("a client") && clients.contains("127.0.0.1:"), "{clients}");
    assert_eq!(says(&broker, &["clients", "nobody"]).lines().count(), 1);
    assert!(says(&broker, &["status", "--json"]).contains("\"node_status\": \"running\""));
    says(&broker, &["kick", "a client"]);
    client.expect_disconnect(Reason::ADMINISTRATIVE_ACTION);
    drop(client);
    let again = program(&broker, &["kick", "nobody"]);
    assert_eq!(
        (again.status.code(), String::from_utf8_lossy(&again.stderr).contains("no client \"nobody\"")),
        (Some(1), true),
        "{again:?}"
    );
    let mut client = broker.client(V5).connect();
    let waits = std::thread::scope(|scope| {
        let drains = scope.spawn(|| says(&broker, &["drain"]));
        client.expect_disconnect(Reason::SERVER_SHUTTING_DOWN);
        drop(client);
        drains.join().is_ok()
    });
    assert!(waits && broker.admin().get("/readyz").code == 503);
    says(&broker, &["drain", "--off"]);
    assert_eq!(broker.admin().get("/readyz").code, 200);
}

#[test]
fn the_command_line_shuts_out_and_lets_in() {
    let broker = Broker::administered(|_| {});
    let mut client = broker.client(V5).id("a client").connect();
    says(&broker, &["ban", "client:a client", "--reason", "noise"]);
    client.expect_disconnect(Reason::NOT_AUTHORIZED);
    says(&broker, &["ban", "address:10.0.0.0/8", "--seconds", "60"]);
    let bans = says(&broker, &["bans"]);
    assert!(bans.contains("a client") && bans.contains("noise") && bans.contains("10.0.0.0/8") && bans.lines().count() == 3, "{bans}");
    says(&broker, &["unban", "client:a client"]);
    says(&broker, &["unban", "address:10.0.0.0/8"]);
    broker.client(V5).id("a client").connect();
    for wrong in [&["ban", "a client"][..], &["unban", "client:a client"]] {
        assert!(!program(&broker, wrong).status.success(), "{wrong:?}");
    }
}

#[test]
fn a_token_is_shown_from_a_file() {
    let broker = Broker::administered(|config| config.api.token = Some(mqttd::config::user::Secret::new("abc")));
    let file = std::env::temp_dir().join(unique("token"));
    std::fs::write(&file, "abc\n").expect("a file");
    let refused = program(&broker, &["status"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    says(&broker, &["status", "--token-file", file.to_str().expect("text")]);
    let _ = std::fs::remove_file(&file);
}
