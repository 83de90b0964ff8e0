// The program of the README, as it stands there.

use mqttd::{Client, Json, Node, Params, Reason};

#[derive(serde::Deserialize)]
struct Reading {
    celsius: f64,
}

/// Called before the message goes anywhere; returns nothing, a `Message` to go on in its place, or a Reason Code that refuses it.
async fn check(params: Params, client: Client, Json(reading): Json<Reading>) -> Result<(), Reason> {
    println!("{} says that {} has {} °C", client.id(), &params["id"], reading.celsius);
    if reading.celsius > 200.0 { Err(Reason::QUOTA_EXCEEDED) } else { Ok(()) }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    Node::builder().listen("tcp://127.0.0.1:1883").on_publish("sensors/{id}", check).run_until(std::future::pending()).await
}
