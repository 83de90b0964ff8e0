//! What may go wrong with an MCP server behind streamable HTTP, and how its answers may come.

use mcp_worker_sdk::mcp;
use mqttd_tests::redis::free_port;
use mqttd_tests::*;
use rmcp::transport::streamable_http_server::StreamableHttpServerConfig;
use serde_json::{Value, json};

use super::calculator::*;
use super::kit::*;

#[test]
fn a_client_of_either_era_calls_tools_however_the_server_answers() {
    for is_json in [false, true] {
        let Some(house) = house() else { return };
        let config = StreamableHttpServerConfig::default().with_json_response(is_json);
        let server = house.runtime.block_on(Server::start(0, Some("Bearer secret"), config, Calculator::new()));
        let upstream = mcp::http(&server.url()).unwrap().with_header("Authorization", "Bearer secret");
        let _worker = house.start(house.worker().route("mcp", upstream));
        for mode in modes() {
            let name = format!("{mode:?}");
            house.runtime.block_on(async { check_calculator(transport(house.broker.client(V5), "mcp"), mode, &name).await });
        }
        assert_eq!(house.runtime.block_on(server.sessions.sessions.read()).len(), 1, "those of the older era share one");
    }
}

#[test]
fn a_session_that_the_server_has_forgotten_is_begun_again() {
    let Some(house) = house() else { return };
    let server = house.runtime.block_on(Server::start(0, None, StreamableHttpServerConfig::default(), Calculator::new()));
    let _worker = house.start(house.worker().route("mcp", mcp::http(&server.url()).unwrap()));
    let (mut client, replies) = house.requester();
    for id in 1..=3 {
        client.ask(request("mcp", call_of(id, "add", json!({})), &replies, "d"));
        let came = hear_rpc(&mut client);
        assert_eq!((&came["id"], &came["result"]["content"][0]["text"]), (&json!(id), &json!("42")), "{came}");
        house.runtime.block_on(server.sessions.sessions.write()).clear();
    }
}

#[test]
fn a_server_that_is_not_there_or_lets_nobody_in_is_an_error_until_it_does() {
    let Some(house) = house() else { return };
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/mcp");
    let stranger = house.worker().route("stranger", mcp::http(&url).unwrap());
    let _worker = house.start(stranger.route("mcp", mcp::http(&url).unwrap().with_header("authorization", "secret")));
    let (mut client, replies) = house.requester();
    let ask = |client: &mut Client, topic: &str, meta: Value| {
        client.ask(request(topic, call_of(1, "add", meta), &replies, "d"));
        hear_rpc(client)
    };
    for meta in metas(&json!({})) {
        let came = ask(&mut client, "mcp", meta);
        assert_eq!((&came["id"], &came["error"]["code"]), (&json!(1), &json!(-32000)), "{came}");
    }
    let config = StreamableHttpServerConfig::default();
    let _server = house.runtime.block_on(Server::start(port, Some("secret"), config, Calculator::new()));
    for meta in metas(&json!({})) {
        assert_eq!(ask(&mut client, "mcp", meta.clone())["result"]["content"][0]["text"], "42");
        let came = ask(&mut client, "stranger", meta);
        assert_eq!(came["error"]["code"], -32000);
        assert!(came["error"]["message"].as_str().unwrap().contains("401"), "{came}");
    }
}

/// It takes connections and says nothing. Those who wait for the same attempt to begin a session share its end.
#[test]
fn nobody_waits_for_the_attempts_of_others() {
    let Some(house) = house() else { return };
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", silent.local_addr().unwrap());
    let _worker = house.start(house.worker().route("mcp", mcp::http(&url).unwrap()));
    let (mut client, replies) = house.requester();
    for id in 0..20 {
        client.ask(request("mcp", call(id), &replies, "d").expiry(60));
    }
    // One after the other they would need 200 s, and after 60 s nodes would say -32001.
    for _ in 0..20 {
        let came = hear_rpc(&mut client);
        assert_eq!(came["error"]["code"], -32000, "{came}");
        assert_eq!(came["error"]["message"], "the MCP server does not begin a session");
    }
}
