//! What MQTT 5.0 adds: Reason Codes that a function chooses, properties, JSON, and messages for one client.
//!
//! `cargo run -p mqttd --example mqtt5`, then
//! `mosquitto_pub -V 5 -q 1 -t devices/7/reading -m '{"celsius": 400}'` is refused with "Quota exceeded".

use mqttd::{Builder, Client, Json, Message, Node, Params, Properties, PublishProperties, QoS, Reason};

#[derive(serde::Deserialize)]
pub(crate) struct Reading {
    celsius: f64,
}

/// What is no such JSON is refused with "Payload format invalid" before this is called.
async fn check(Json(reading): Json<Reading>) -> Result<(), Reason> {
    if reading.celsius > 200.0 { Err(Reason::QUOTA_EXCEEDED) } else { Ok(()) }
}

/// Adds a User Property to what goes on.
async fn stamp(client: Client, mut message: Message, properties: Properties) -> Message {
    let mut properties = properties.0;
    properties.user_properties.push(("from".into(), client.id().into()));
    message.properties = Some(properties);
    message
}

/// A subscriber of `devices/7/#` is told something first, at QoS 1 and with a content type.
async fn greet(params: Params) -> Result<Message, Reason> {
    let properties = PublishProperties { content_type: Some("application/json".into()), ..PublishProperties::default() };
    let topic = format!("devices/{}/state", params.parse::<u32>("id")?);
    Ok(Message::new(&topic, r#"{"online":true}"#)?.qos(QoS::AtLeastOnce).properties(properties))
}

pub(crate) fn app() -> Builder {
    Node::builder().on_publish("devices/+/reading", check).on_publish("devices/#", stamp).on_subscribe("devices/{id}/#", greet)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    app().listen("tcp://127.0.0.1:1883").run_until(std::future::pending()).await?;
    Ok(())
}
