//! MCP over MQTT without workers, as EMQX draws it: servers are clients too, and topics begin with `$mcp-`. What that asks of a broker, on two nodes.

use mqttd_tests::cluster::Cluster;
use mqttd_tests::*;

use super::kit::*;

const PRESENCE: &str = "$mcp-server/presence/s1/tools/calc";
const CONTROL: &str = "$mcp-server/s1/tools/calc";
const RPC: &str = "$mcp-rpc/c1/s1/tools/calc";

#[test]
fn a_server_and_a_client_that_are_both_clients_find_each_other() {
    let Some(cluster) = Cluster::start(2) else { return };
    let mut everybody = cluster.client(1, V5).connect();
    everybody.subscribe("#", 1);
    everybody.subscribe("+/presence/#", 1);

    // The server says that it is there, and its Will takes that back with an empty payload.
    let mut server = cluster.client(0, V5).id("s1").will(message(PRESENCE, "").qos(1).retain()).connect();
    server.subscribe(&format!("$share/group/{CONTROL}"), 1);
    let online = message(PRESENCE, r#"{"jsonrpc":"2.0","method":"notifications/server/online"}"#).qos(1).retain();
    let named = |message: Message| message.user("MCP-COMPONENT-TYPE", "mcp-server").user("MCP-META", "{}").user("MCP-META", "twice");
    server.publish(named(online.clone()));

    // A client on another node finds it, asks it, and hears nothing of its own words.
    let mut client = cluster.client(1, V5).id("c1").connect();
    client.subscribe("$mcp-server/presence/+/tools/#", 1);
    client.receive(named(online));
    client.subscribe(RPC, options(1).no_local());
    let initialize = message(CONTROL, call(1)).qos(1).user("MCP-MQTT-CLIENT-ID", "c1");
    client.publish(initialize.clone());
    server.receive(initialize);
    server.subscribe(RPC, options(1).no_local());
    client.publish(message(RPC, call(2)).qos(1));
    server.receive(message(RPC, call(2)).qos(1));
    server.publish(message(RPC, "{}").qos(1));
    client.receive(message(RPC, "{}").qos(1));
    client.expect_nothing();
    server.expect_nothing();

    // It dies: whoever is there is told, and who comes later finds nothing.
    server.cut();
    client.expect_within(PATIENCE, message(PRESENCE, "").qos(1));
    let mut late = cluster.client(0, V5).connect();
    late.subscribe("$mcp-server/presence/#", 1);
    late.expect_nothing();
    everybody.expect_nothing();
}
