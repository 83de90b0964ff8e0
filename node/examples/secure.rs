//! MQTT over TLS, with users that the program knows.
//!
//! `cargo run -p mqttd --example secure -- server.pem server.key`, then `mosquitto_sub -p 8883 --cafile ca.pem -u ann -P pencil -t '#'`.

use std::collections::HashMap;
use std::sync::Arc;

use mqttd::{Builder, Client, Node, Password, Reason, State};

type Users = Arc<HashMap<&'static str, &'static [u8]>>;

/// The User Name is one of ours and the Password is right, or CONNACK says 0x86.
async fn admit(client: Client, Password(password): Password, State(users): State<Users>) -> Result<(), Reason> {
    let known = client.user().and_then(|user| users.get(user));
    match (known, password) {
        (Some(known), Some(password)) if password == *known => Ok(()),
        _ => Err(Reason::BAD_USER_NAME_OR_PASSWORD),
    }
}

pub(crate) fn app(certificates: &str, keys: &str) -> Builder {
    let users: Users = Arc::new(HashMap::from([("ann", &b"pencil"[..])]));
    Node::builder().set("tls.certificates", certificates).set("tls.keys", keys).state(users).on_connect(admit)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    let [certificates, keys] = &files[..] else { return Err(std::io::Error::other("usage: secure CERTIFICATES KEYS")) };
    app(certificates, keys).listen("tls://127.0.0.1:8883").run_until(std::future::pending()).await?;
    Ok(())
}
