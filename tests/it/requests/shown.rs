//! What the administration shows of requests and workers.

use mcp_worker_sdk::Request;
use mqttd::config;
use mqttd_tests::cluster::until;
use mqttd_tests::*;
use serde_json::json;

use super::kit::*;

#[test]
fn requests_that_wait_and_workers_are_listed() {
    let settings = |config: &mut config::Config| {
        config.admin = config::Admin::at("127.0.0.1", 0);
        config.node.id = Some("node".to_owned());
    };
    let Some(house) = house_with(settings) else { return };
    let admin = house.broker.admin();
    let page = |path: &str| admin.get(&format!("/api/v1/{path}")).json(200);
    assert_eq!((&page("requests")["meta"]["count"], &page("workers")["data"]), (&json!(0), &json!([])));
    let worker = house.worker().route("slow/+", |_: Request| std::future::pending::<String>());
    let worker = house.start(worker);
    until("the worker is known", || page("workers")["meta"]["count"] == 1);
    let shown = &page("workers")["data"][0];
    assert_eq!((&shown["filters"], &shown["failed"]), (&json!(["slow/+"]), &json!(0)));
    let (mut client, replies) = house.requester();
    for name in ["slow/1", "slow/2"] {
        client.ask(request(name, "", &replies, name));
    }
    let waiting = page("requests?limit=1");
    let first = &waiting["data"][0];
    assert_eq!((&waiting["meta"]["count"], &first["topic"], &first["clientid"]), (&json!(2), &json!("slow/1"), &json!(client.id.as_str())));
    assert_eq!((&first["answered_by"], &first["node"]), (&json!("worker"), &json!("node")));
    assert_eq!(page("requests?topic=slow/2")["meta"]["count"], 1);
    assert_eq!(page("requests?clientid=nobody")["meta"]["count"], 0);
    client.ask(message("slow/1", "").qos(1).user("mqttd-cancel", "1").with(|it| it.correlation_data = Some("slow/1".into())));
    until("it is taken back", || page("requests")["meta"]["count"] == 1);
    drop(worker);
}
