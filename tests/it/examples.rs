//! The examples of `node/examples`, each as it stands there.

#![allow(dead_code, unused_imports, reason = "their main functions are for people")]

use std::path::PathBuf;
use std::sync::Arc;

use bytes::BytesMut;
use mqttd::packet::connack::Connack;
use mqttd_tests::redis::Redis;
use mqttd_tests::*;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

#[path = "../../node/examples/basic.rs"]
mod basic;
#[path = "../../node/examples/configuration.rs"]
mod configuration;
#[path = "../../node/examples/direct.rs"]
mod direct;
#[path = "../../node/examples/mqtt5.rs"]
mod mqtt5;
#[path = "../../node/examples/quic.rs"]
mod quic;
#[path = "../../node/examples/redis.rs"]
mod redis_example;
#[path = "../../node/examples/secure.rs"]
mod secure;

/// The twenty lines with which a newcomer begins.
mod readme {
    include!("../../node/examples/readme.rs");

    pub(super) fn app() -> mqttd::Builder {
        Node::builder().on_publish("sensors/{id}", check)
    }
}

#[test]
fn readme() {
    let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = std::fs::read_to_string(top.join("node/examples/readme.rs")).unwrap();
    let (_, program) = text.split_once("\n\n").expect("a line that says what it is");
    assert!(std::fs::read_to_string(top.join("README.md")).unwrap().contains(program), "the README has what is tried here");
    assert!(program.lines().count() <= 20, "{} lines are many for a beginning", program.lines().count());
    let (broker, _) = Broker::embed(readme::app());
    let (mut publisher, mut subscriber) = broker.pair(V5);
    subscriber.subscribe("sensors/#", 1);
    let refused = message("sensors/oven", r#"{"celsius":400}"#).qos(1).id(1);
    publisher.send(refused);
    publisher.expect_ack(Kind::Puback, 1, Reason::QUOTA_EXCEEDED);
    publisher.publish(message("sensors/oven", r#"{"celsius":180}"#).qos(1));
    subscriber.receive(message("sensors/oven", r#"{"celsius":180}"#).qos(1));
}

#[test]
fn basic() {
    let (broker, _) = Broker::embed(basic::app());
    let (mut publisher, mut subscriber) = broker.pair(V3_1_1);
    subscriber.subscribe("sensors/temperature", 0);
    subscriber.receive(message("sensors/temperature", "welcome"));
    publisher.publish(message("sensors/temperature", "21.5"));
    publisher.publish(message("sensors/temperature", [0xFF]));
    subscriber.expect_publish(message("sensors/temperature", "21.5"));
    subscriber.expect_nothing();
}

#[test]
fn mqtt5() {
    let (broker, _) = Broker::embed(mqtt5::app());
    let (mut publisher, mut subscriber) = (broker.client(V5).id("thermometer").connect(), broker.client(V5).connect());
    subscriber.subscribe("devices/7/#", 1);
    let state = message("devices/7/state", r#"{"online":true}"#).qos(1);
    subscriber.receive(state.with(|properties| properties.content_type = Some("application/json".into())));
    for (id, payload, reason) in [(1, r#"{"celsius":400}"#, Reason::QUOTA_EXCEEDED), (2, "hot", Reason::PAYLOAD_FORMAT_INVALID)] {
        publisher.send(message("devices/7/reading", payload).qos(1).id(id));
        publisher.expect_ack(Kind::Puback, id, reason);
    }
    publisher.publish(message("devices/7/reading", r#"{"celsius":20}"#));
    subscriber.receive(message("devices/7/reading", r#"{"celsius":20}"#).user("from", "thermometer"));
}

#[test]
fn direct() {
    let (broker, handle) = Broker::embed(direct::app());
    let mut client = broker.client(V5).connect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
    runtime.block_on(direct::tell(&handle)).unwrap();
    client.subscribe("clients", 0);
    client.receive(message("clients", "1").retain());
}

#[test]
fn redis() {
    let Some(redis) = Redis::shared() else { return };
    let app = || redis_example::app(&redis.url()).set("store.prefix", "example");
    let ((one, _), (two, _)) = (Broker::embed(app().set("node.id", "one")), Broker::embed(app().set("node.id", "two")));
    let (mut publisher, mut subscriber) = (one.client(V5).connect(), two.client(V5).connect());
    subscriber.subscribe("sensors/#", 1);
    publisher.publish(message("sensors/a", "x").qos(1));
    subscriber.receive(message("sensors/a", "x").qos(1));
}

#[test]
fn configuration() {
    let file = file("mqttd.toml", "[protocol]\nmaximum_qos = 1\n");
    let (broker, _) = Broker::embed(configuration::app(&file));
    let connack = broker.client(V5).connect().connack.unwrap();
    assert_eq!((connack.properties.maximum_qos, connack.properties.maximum_packet_size), (Some(QoS::AtLeastOnce), Some(65_536)));
}

#[test]
fn secure() {
    let (certificate, certificates, keys) = certificate("secure");
    let (broker, _) = Broker::embed_at("tls://127.0.0.1:0", secure::app(&certificates, &keys));
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls(certificate, &[])));
    let ask = |password: &'static str| {
        runtime().block_on(async {
            let stream = tokio::net::TcpStream::connect(broker.address()).await.unwrap();
            let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
            enter(stream, broker.client(V5).user("ann", password).packet()).await.reason
        })
    };
    assert_eq!(ask("pencil"), Reason::SUCCESS);
    assert_eq!(ask("pen"), Reason::BAD_USER_NAME_OR_PASSWORD);
}

#[test]
fn quic() {
    let (certificate, certificates, keys) = certificate("quic");
    let (broker, _) = Broker::embed_at("quic://127.0.0.1:0", quic::app(&certificates, &keys));
    let connack = runtime().block_on(async {
        let settings = quinn::crypto::rustls::QuicClientConfig::try_from(tls(certificate, &[b"mqtt"])).unwrap();
        let endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
        let settings = quinn::ClientConfig::new(Arc::new(settings));
        let connection = endpoint.connect_with(settings, broker.address(), "localhost").unwrap().await.unwrap();
        let (send, receive) = connection.open_bi().await.unwrap();
        enter(tokio::io::join(receive, send), broker.client(V5).packet()).await
    });
    assert_eq!(connack.reason, Reason::SUCCESS);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts")
}

/// Sends CONNECT over any stream and takes CONNACK.
async fn enter(mut stream: impl AsyncRead + AsyncWrite + Unpin, connect: Packet) -> Connack {
    let mut bytes = BytesMut::new();
    connect.encode(V5, &mut bytes);
    stream.write_all(&bytes).await.unwrap();
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.unwrap();
    let mut rest = vec![0; head[1].into()];
    stream.read_exact(&mut rest).await.unwrap();
    match Packet::decode(V5, [&head[..], &rest].concat().into()).unwrap() {
        Packet::Connack(connack) => *connack,
        other => panic!("{other:?}"),
    }
}

/// What trusts this certificate.
fn tls(certificate: CertificateDer<'static>, protocols: &[&[u8]]) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

/// A certificate for localhost, and the files of it and of its key.
fn certificate(name: &str) -> (CertificateDer<'static>, String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = (file(&format!("{name}.pem"), &made.cert.pem()), file(&format!("{name}.key"), &made.signing_key.serialize_pem()));
    (made.cert.der().clone(), files.0, files.1)
}

fn file(name: &str, text: &str) -> String {
    let path: PathBuf = std::env::temp_dir().join(format!("{}-{name}", unique("example")));
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}
