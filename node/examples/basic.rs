//! A broker with two functions of its own: who subscribes, and what is published. Without Redis.
//!
//! `cargo run -p mqttd --example basic`, then `mqttd sub -t sensors/temperature -v` and `mqttd pub -t sensors/temperature -m 21.5`.

use mqttd::{Builder, Client, Message, Node, Params, Reason, Topic};

/// Called for each Topic Filter that has a topic in common with `sensors/temperature`. What it returns is for this subscriber alone.
async fn on_subscribe(topic: Topic, client: Client) -> &'static str {
    println!("{} subscribes to {topic}", client.id());
    "welcome"
}

/// Called before the message goes anywhere.
async fn on_publish(params: Params, message: Message, client: Client) -> Result<(), Reason> {
    let text = message.text()?;
    println!("{} says of {}: {text}", client.id(), &params["what"]);
    Ok(())
}

pub(crate) fn app() -> Builder {
    Node::builder().on_subscribe("sensors/temperature", on_subscribe).on_publish("sensors/{what}", on_publish)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    app().listen("tcp://127.0.0.1:1883").run_until(interrupted()).await?;
    Ok(())
}

/// Ready when somebody presses Ctrl-C.
async fn interrupted() {
    let _ = tokio::signal::ctrl_c().await;
}
