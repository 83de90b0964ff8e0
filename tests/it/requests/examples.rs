//! The examples of the SDK, each as a program of its own, with a Redis that wants a password.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use mqttd::config::StoreUrl;
use mqttd_tests::cluster::until;
use mqttd_tests::redis::Redis;
use mqttd_tests::*;
use rmcp::transport::streamable_http_server::StreamableHttpServerConfig;
use serde_json::{Value, json};

use super::calculator::{Calculator, Server, check_calculator, modes, transport};
use super::kit::*;
use super::mcp::PYTHON_SERVER;

const PASSWORD: &str = "p@ss/wörd";

/// Where they are. Cargo does not build the examples of another package for a test; when they are up to date this takes no time.
fn build() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "-p", "mcp-worker-sdk", "--all-features", "--examples", "--target-dir"]);
    cargo.arg(profile.parent().expect("target")).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().is_ok_and(|status| status.success()), "the examples cannot be built");
    profile.join("examples")
}

struct Example(Child);

impl Example {
    fn start(command: &mut Command) -> Example {
        Example(command.spawn().expect("it runs"))
    }

    /// SIGTERM ends it as one that has done its work.
    fn end(mut self) {
        let asked = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", self.0.id())).status();
        assert!(asked.expect("sh runs").success());
        assert!(self.0.wait().expect("a child can be waited for").success());
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

#[test]
fn the_examples_answer() {
    let Some(redis) = Redis::with(&["--requirepass", PASSWORD]) else { return };
    let address = redis.url();
    let with_password = address.replace("redis://", "redis://:p%40ss%2Fw%C3%B6rd@");
    let broker = Broker::with(|config| config.store.url = StoreUrl::Redis(with_password.clone()));
    let secret = file("redis-password", &format!("{PASSWORD}\n"));
    let programs = build();
    let example = |name: &str| {
        let mut command = Command::new(programs.join(name));
        command.env("REDIS_PASSWORD_FILE", &secret).env_remove("REDIS_URL");
        command
    };
    let mut examples = vec![
        Example::start(example("echo").env("REDIS_URL", &address)),
        Example::start(example("typed_json").arg(&address)),
        Example::start(example("mcp_calculator").arg(&address)),
    ];
    examples.push(Example::start(example("mcp_child_process").args([&address, "python3", PYTHON_SERVER])));
    let runtime = runtime();
    let behind_http = runtime.block_on(Server::start(0, None, StreamableHttpServerConfig::default(), Calculator::new()));
    examples.push(Example::start(example("mcp_http").args([&address, &behind_http.url()])));
    let mut connection = ::redis::Client::open(with_password).unwrap().get_connection().unwrap();
    until("they work", || ::redis::cmd("ZCARD").arg("mqttd:{mcp}:workers").query::<usize>(&mut connection).unwrap() == examples.len());

    let mut client = broker.client(V5).connect();
    client.subscribe("replies", 1);
    client.ask(request("devices/7/echo", "hi", "replies", "d"));
    client.expect_within(PATIENCE, answer("replies", "hi", "d"));
    client.ask(request("calc/divide", r#"{"dividend":7,"divisor":2}"#, "replies", "d"));
    assert_eq!(serde_json::from_slice::<Value>(&client.hear().payload).unwrap(), json!({ "quotient": 3, "rest": 1 }));
    client.ask(request("calc/divide", r#"{"dividend":7,"divisor":0}"#, "replies", "d"));
    client.expect_within(PATIENCE, trouble("replies", "nothing can be divided by zero", "worker-failed", "d"));
    for (mode, topic) in modes().into_iter().flat_map(|mode| [(mode.clone(), "agents/calculator/mcp"), (mode, "agents/http/mcp")]) {
        let name = format!("{topic} {mode:?}");
        runtime.block_on(async { check_calculator(transport(broker.client(V5), topic), mode, &name).await });
    }
    let params = json!({ "name": "shout", "arguments": { "text": "hello" } });
    let asked = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params }).to_string();
    client.ask(request("agents/program/mcp", asked, "replies", "d"));
    let came: Value = serde_json::from_slice(&client.hear().payload).unwrap();
    assert_eq!((&came["id"], &came["result"]["content"][0]["text"]), (&json!(7), &json!("HELLO")), "{came}");
    examples.into_iter().for_each(Example::end);
}
